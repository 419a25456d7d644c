"""A kept configuration of a cluster, what a call of Proxmox VE's API is to it, and how its files are
named.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~-]{0,79}")
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONGEST = 60  # characters of a name that is no plain one, as it stands in a file's name


@dataclass(frozen=True, slots=True)
class ConfigSet:
    """The configuration of one moment: ``files`` are texts by path. ``not_read`` says of paths why
    they were not read, ``in_part`` of which of them PVE may have told a part only; what ends in
    ``/`` speaks for all below it.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    not_read: Mapping[str, str] = field(default_factory=dict)
    in_part: Mapping[str, str] = field(default_factory=dict)

    def why_not_read(self, path: str) -> str | None:
        """Given a file's path, return why it was not read, None if it was."""
        return _said_of(path, self.not_read)

    def why_in_part(self, path: str) -> str | None:
        """Given a file's path, return why more may be there than was told, None if that is all."""
        return _said_of(path, self.in_part)


def _said_of(path: str, said: Mapping[str, str]) -> str | None:
    if path in said:
        return said[path]
    return next(
        (why for one, why in said.items() if one.endswith("/") and path.startswith(one)), None
    )


@dataclass(frozen=True, slots=True)
class SeesAll:
    """Who holds one of the privileges at an ACL path, and below it, is shown all there is; to
    others PVE leaves out rows, or keys, in silence.
    """

    path: str
    privileges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """One call of the API (GET) and the file that its answer becomes.

    A list becomes sections, as in PVE's own files: ``word: ID``, where a row's ``type`` stands in
    the word's place if there is one and ``typed``; ``id`` are the fields that name a row. Without
    ``id`` it is one object, of lines ``key: value``. ``fields`` are those whose values are kept.
    ``each`` is read once for each row.
    """

    path: str
    file: str
    fields: frozenset[str]
    id: tuple[str, ...] = ()
    word: str = ""
    typed: bool = False
    sees_all: SeesAll | None = None
    each: Source | None = None
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The folder of the file, with its slash: where those of all rows lie."""
        return self.file.rpartition("/")[0] + "/"

    def at(self, **names: str) -> Source:
        """Given what stands in the places of path and file (``{node}``), return the source there:
        quoted in the path, harmless in the file's name.
        """
        quoted = {key: quote(written(name), safe="@!:") for key, name in names.items()}
        return replace(
            self,
            path=_filled(self.path, quoted),
            file=_filled(self.file, {key: file_name(name) for key, name in names.items()}),
            params={key: _filled(value, names) for key, value in self.params.items()},
            each=self.each.at(**names) if self.each else None,
        )


def _filled(template: str, names: Mapping[str, str]) -> str:
    for key, name in names.items():
        template = template.replace("{" + key + "}", name)
    return template


def file_name(name: str) -> str:
    """Given any name, return one of its own for a file: no path, nothing hidden, not too long."""
    if _PLAIN.fullmatch(name):
        return name
    quoted = "%" + quote(written(name), safe="").replace(".", "%2E")
    if len(quoted) <= _LONGEST:
        return quoted
    return f"{quoted[:_LONGEST]}~{hashlib.sha256(quoted.encode()).hexdigest()[:12]}"


def written(text: str) -> str:
    """Given any text, return it as one line that UTF-8 can hold: what would end the line, acts on a
    terminal or is no character is written as ``%0A`` is.
    """
    return _NO_TEXT.sub(
        lambda found: "".join(
            f"%{byte:02X}" for byte in found[0].encode("utf-8", errors="surrogatepass")
        ),
        text,
    )


def words(text: str) -> frozenset[str]:
    """Given names with blanks between them, return them."""
    return frozenset(text.split())


def reads_all(source: SeesAll, held: Mapping[str, frozenset[str]]) -> bool:
    """Given a list's rule and what the token holds by ACL path (what does not propagate left out),
    return whether it is shown all rows.
    """
    wanted = frozenset(source.privileges)
    above = [one for one in held if source.path == one or source.path.startswith(_below(one))]
    # the nearest path speaks for what is below it, and one below may take it away again; of the
    # root itself nothing is listed row by row
    below = [one for one in held if source.path != "/" and one.startswith(_below(source.path))]
    return bool(above) and all(held[one] & wanted for one in (max(above, key=len), *below))


def _below(path: str) -> str:
    return path.rstrip("/") + "/"


def in_part(source: SeesAll) -> str:
    """Given a list's rule, return what is said of it where the token may not be shown all of it."""
    return (
        "Proxmox VE shows the token what it has rights on; it is sure to show all with "
        f"{source.privileges[0]} on {source.path}"
    )
