"""Requests and replies as PVE's API server reads and writes them (pve-http-server
PVE/APIServer/AnyEvent.pm; pve-facts 1).
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pvelab.errors import LabError
from pvelab.kernel import Answer, Raw
from pvelab.schema.endpoints import Schema
from pvelab.schema.validate import property_schema

JSON_TYPE = "application/json;charset=UTF-8"
_FORM_TYPE = "application/x-www-form-urlencoded"
_LARGEST_BODY = 512 * 1024
_METHODS = ("GET", "POST", "PUT", "DELETE")


class BodyUnreadable(Exception):
    """A JSON body that is none: Perl's own text with its line number, as plain text (pve-facts
    1.2).
    """

    def __init__(self, text: str, line: int) -> None:
        super().__init__(f"{text} at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line {line}.")

    def reply(self) -> Reply:
        """Return the 500 that it is answered with."""
        return Reply(500, str(self), f"{self}\n".encode(), "text/plain")


@dataclass(frozen=True)
class Request:
    """One HTTP request. ``path`` is still percent-encoded and holds ``/api2/<format>``; header
    names are lower case.

    ``node`` is the node at whose port it arrived, empty for the port of the whole cluster.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    node: str = ""

    @property
    def formatter(self) -> str:
        """``json`` or ``extjs``."""
        parts = self.path.split("/")
        return parts[2] if len(parts) > 2 else ""

    @property
    def call(self) -> str:
        """The decoded path behind the formatter."""
        rest = "/".join(self.path.split("/")[3:])
        return "/" + urllib.parse.unquote(rest).strip("/")


@dataclass(frozen=True)
class Reply:
    """One HTTP answer. ``delay`` is how many seconds the server lets its client wait for it; a
    ``dropped`` one never comes.
    """

    status: int
    reason: str = "OK"
    body: bytes = b""
    content_type: str | None = None
    delay: float = 0
    dropped: bool = False


def refuse_early(request: Request) -> Reply | None:
    """Return the answer to what PVE's server refuses before it looks at credentials, None for a
    request that it takes.
    """
    if request.method not in _METHODS:
        return Reply(501, f"method '{request.method}' not available")
    if not request.path.startswith("/api2/") or not request.formatter:
        return plain(501, "no such uri")
    if request.formatter not in ("json", "extjs"):
        return plain(501, f"no formatter for uri {request.call}, {request.formatter}")
    if "chunked" in request.headers.get("transfer-encoding", ""):
        return plain(501, "chunked transfer encoding not supported")
    length = int(request.headers.get("content-length") or 0)
    if length and request.method in ("GET", "DELETE"):
        return plain(501, f"Unexpected content for method '{request.method}'")
    if length > _LARGEST_BODY:
        return plain(501, "for data too large")
    kind = request.headers.get("content-type", "").partition(";")[0]
    if length and kind not in (_FORM_TYPE, "application/json"):
        return plain(506, f"upload 'Content-Type '{kind}' not implemented")
    return None


def parameters(request: Request, schema: Schema) -> dict[str, Any]:
    """Return what was sent: the query over the body, arrays as lists, repeated keys of other types
    joined.
    """
    given: dict[str, Any] = {}
    if request.headers.get("content-type", "").startswith("application/json") and request.body:
        text = request.body.decode("utf-8", "surrogateescape")
        try:
            parsed = json.loads(text)
        except json.JSONDecodeError as error:
            rest = f'(before "{text[error.pos :] or "(end of string)"}")'
            kinds = "neither tag, array, object, number, string or atom"
            raise BodyUnreadable(
                f"malformed JSON string, {kinds}, at character offset {error.pos} {rest}", 932
            ) from None
        if not isinstance(parsed, dict):
            raise BodyUnreadable("Not a HASH reference", 976)
        given |= parsed
    else:
        given |= _pairs(request.body.decode("utf-8", "surrogateescape"))
    given |= _pairs(request.query)
    # what PVE's web pages add so that no cache answers
    given.pop("_dc", None)
    for name, value in given.items():
        if (property_schema(schema, name) or {}).get("type") == "array":
            # a scalar stands for an array of one element
            if not isinstance(value, list):
                given[name] = [value]
            elif value == [""]:
                given[name] = ""
        elif isinstance(value, list):
            # several values of a list in one string are joined
            given[name] = value[0] if len(value) == 1 else ";".join(str(part) for part in value)
    return given


def _pairs(text: str) -> dict[str, list[str]]:
    """``;`` separates like ``&``, and a second raw ``=`` cuts the value there (pve-facts 1.2)."""
    found: dict[str, list[str]] = {}
    for pair in text.replace(";", "&").split("&"):
        name, _, rest = pair.partition("=")
        if name:
            found.setdefault(_decode(name), []).append(_decode(rest.partition("=")[0]))
    return found


def _decode(text: str) -> str:
    raw = urllib.parse.unquote_to_bytes(text.replace("+", " "))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def success(request: Request, result: Any) -> Reply:
    """Given what a handler returned, return the reply with its envelope."""
    if isinstance(result, Raw):
        return Reply(200, "OK", result.body, result.content_type)
    data, extras = (result.data, result.extras) if isinstance(result, Answer) else (result, {})
    envelope = {"data": data, **extras}
    if request.formatter == "extjs":
        envelope |= {"success": 1}
    return Reply(200, "OK", _encode(envelope), JSON_TYPE)


def failure(request: Request, error: LabError, *, pause: float) -> Reply:
    """Given an error, return its reply: its first line in the reason phrase, all of it in the body.

    A text with a character above U+00FF never arrives: 596 after ``pause`` seconds (pve-facts 1.7).
    """
    text = error.reason
    if any(ord(character) > 0xFF for character in text):
        return Reply(596, "Broken pipe", delay=pause)
    message = text if error.status == 501 or text.endswith("\n") else f"{text}\n"
    envelope: dict[str, Any] = {"data": None, "message": message}
    if error.errors:
        envelope["errors"] = error.errors
    if request.formatter == "extjs":
        # Perl keeps the status of parameter errors as a string (01_auth 42 and 43)
        status = str(error.status) if error.errors else error.status
        return Reply(200, "OK", _encode(envelope | {"success": 0, "status": status}), JSON_TYPE)
    return Reply(error.status, text.split("\n")[0], _encode(envelope), JSON_TYPE)


def plain(status: int, text: str) -> Reply:
    """Return a reply whose body is the bare text."""
    return Reply(status, text, text.encode(), "text/plain")


def _encode(envelope: dict[str, Any]) -> bytes:
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogateescape"
    )
