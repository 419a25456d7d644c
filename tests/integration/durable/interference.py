"""What befalls a process that drives an operation: it dies at a point, or one call to PVE goes
wrong.

A point is the moment after a committed write to the catalog, and the moments before and after each
HTTP call to PVE.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from backupsvc.catalog.database import Database

Say = Callable[[str], None]
Send = Callable[..., requests.Response]

FAULTS = ("error", "timeout-after", "drop-before", "drop-after", "garbage")
PAGE = b"<html><head><title>Welcome</title></head><body>this is no JSON</body></html>"


def watch_points(say: Say, die_at: int | str = 0) -> None:
    """Tell ``say`` of every point from now on; kill this process at one of them.

    ``die_at`` is its number (1 is the first, 0 none), or a pattern that its name fits.
    """
    passed = 0

    def point(name: str) -> None:
        nonlocal passed
        passed += 1
        say(name)
        if passed == die_at or (isinstance(die_at, str) and fnmatchcase(name, die_at)):
            os.kill(os.getpid(), signal.SIGKILL)

    write, send = Database.write, HTTPAdapter.send

    @contextmanager
    def written(self: Database) -> Iterator[Any]:
        with write(self) as connection:
            yield connection
        point("committed")

    def sent(
        self: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        point(f"before {_name(request)}")
        answer = send(self, request, *args, **kwargs)
        point(f"after {_name(request)}")
        return answer

    Database.write = written  # type: ignore[method-assign]
    HTTPAdapter.send = sent  # type: ignore[method-assign]


def break_call(say: Say, number: int = 0, fault: str = "") -> None:
    """Tell ``say`` of every HTTP call to PVE from now on; let the one with that number meet a
    fault.
    """
    send, calls = HTTPAdapter.send, 0

    def sent(
        self: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        nonlocal calls
        calls += 1
        say(_name(request))
        if calls == number:
            return _broken(fault, request, lambda: send(self, request, *args, **kwargs))
        return send(self, request, *args, **kwargs)

    HTTPAdapter.send = sent  # type: ignore[method-assign]


def _broken(
    fault: str, request: requests.PreparedRequest, carry_out: Callable[[], requests.Response]
) -> requests.Response:
    if fault == "drop-before":
        raise requests.exceptions.ConnectionError(
            "the connection was dropped before the server saw anything", request=request
        )
    if fault == "error":
        return _answer(
            request, 500, "can't lock file '/var/lock/something' - got timeout", b'{"data":null}'
        )
    answer = carry_out()
    answer.content  # noqa: B018 - the server has acted, to the last byte of its answer
    if fault == "timeout-after":
        raise requests.exceptions.ReadTimeout("the answer did not arrive in time", request=request)
    if fault == "drop-after":
        raise requests.exceptions.ConnectionError(
            "the connection was dropped before the answer", request=request
        )
    return _answer(request, 200, "OK", PAGE)


def _answer(
    request: requests.PreparedRequest, status: int, reason: str, body: bytes
) -> requests.Response:
    made = requests.Response()
    made.status_code, made.reason, made.request, made.url = (
        status,
        reason,
        request,
        str(request.url),
    )
    made._content = body
    made.headers["Content-Type"] = "application/json;charset=UTF-8"
    return made


def _name(request: requests.PreparedRequest) -> str:
    return f"{request.method} {str(request.url).partition('/api2/json/')[2].partition('?')[0]}"
