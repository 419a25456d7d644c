"""How the two sides talk: frames of one byte that says what follows, four bytes of length, and
that many bytes.

The parent asks with ASK (JSON). The child answers with ITEM frames (JSON), or with DATA and HOLE
frames after the START (JSON) of a file, and ends each answer with END; FAIL (JSON) ends it too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

ASK, ITEM, START, DATA, HOLE, END, FAIL = b"A", b"I", b"S", b"D", b"H", b"E", b"F"
HEAD = struct.Struct(">cI")
LENGTH = struct.Struct(">Q")  # what a HOLE holds: how many zeros
# no frame is longer: what the parent must hold at once, whatever the child says
MAX_FRAME = 1024 * 1024
PIECE = 512 * 1024  # a file's data go in pieces of so many bytes


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """Given a kind and its payload, return the frame."""
    return HEAD.pack(kind, len(payload)) + payload


def json_frame(kind: bytes, value: Any) -> bytes:
    """Given a kind and what is told, return the frame. Half surrogate pairs, which stand for bytes
    that are no UTF-8, go through as escapes.
    """
    return frame(kind, json.dumps(value).encode("ascii"))


def read_frame(take: Callable[[int], bytes]) -> tuple[bytes, bytes] | None:
    """Given what takes exactly so many bytes (fewer at the end), return the next frame's kind and
    payload, None at the end. Raise ValueError if it is too long or cut.
    """
    head = take(HEAD.size)
    if not head:
        return None
    if len(head) < HEAD.size:
        raise ValueError("a frame that is cut")
    kind, length = HEAD.unpack(head)
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length} bytes")
    payload = take(length)
    if len(payload) < length:
        raise ValueError("a frame that is cut")
    return kind, payload
