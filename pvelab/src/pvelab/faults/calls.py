"""Faults of the API itself: at the Nth call that fits, or at every one, an error, a delay, a
dropped connection or garbage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase

from pvelab import wire
from pvelab.errors import LabError
from pvelab.faults.board import Board
from pvelab.wire import Reply, Request

_GARBAGE = b"<html><head><title>502 Bad Gateway</title></head><body>this is no JSON"


def around(board: Board, request: Request, carry_out: Callable[[], Reply]) -> Reply:
    """Given a request and what carries it out, return the reply that the faults leave.

    ``error`` and ``drop`` strike before the call is carried out, ``delay``, ``drop-after`` and
    ``garbage`` after it.
    """
    fault = None
    # each fault that fits sees the call, the first whose turn it is strikes
    for one in board.all():
        fits = (
            one.kind == "api"
            and fnmatchcase(request.method, one["method"])
            and fnmatchcase(request.call, one["path"])
        )
        seen = board.see(one) if fits else None
        if seen and fault is None and seen["call"] in (0, seen.seen):
            fault = board.count(seen)
    if fault is None:
        return carry_out()
    if fault["do"] == "drop":
        return Reply(500, dropped=True)
    if fault["do"] == "error":
        status, text = int(fault["status"]), str(fault["text"])
        # PVE's own 401 and 59x answers have no body
        if status == 401 or status >= 590:
            return Reply(status, text)
        return wire.failure(request, LabError(status, text), pause=0)
    reply = carry_out()
    if fault["do"] == "delay":
        return replace(reply, delay=reply.delay + fault["seconds"])
    if fault["do"] == "drop-after":
        return replace(reply, dropped=True)
    return Reply(200, "OK", _GARBAGE, wire.JSON_TYPE)
