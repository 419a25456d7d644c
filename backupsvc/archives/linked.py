"""The names of an archive's files so far, to tell whether a hard link leads to one of them: in 16
MiB, however many there are.

Tar extracts a hard link only if its target is there by then, so the target must be an earlier
member. A name is kept as five bits of a keyed hash (a Bloom filter): a name that was seen is always
known, and one that was not is taken for a known one in a case of ten million (at a million files;
of three hundred at ten million). Nobody can choose such names: the key is new each time.
"""

from __future__ import annotations

import os
import struct
from hashlib import blake2b

_SLOTS = struct.Struct("<5I")
_BITS = 27  # 2**27 bits are 16 MiB; the memory is only taken where something is written


class Names:
    """Names of members, each known by the path that it is extracted to."""

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._bits = bytearray()

    def add(self, name: bytes) -> None:
        """Add a member's name."""
        if not self._bits:
            self._bits = bytearray(1 << (_BITS - 3))
        for slot in self._slots(name):
            self._bits[slot >> 3] |= 1 << (slot & 7)

    def __contains__(self, name: bytes) -> bool:
        return bool(self._bits) and all(
            self._bits[slot >> 3] & 1 << (slot & 7) for slot in self._slots(name)
        )

    def _slots(self, name: bytes) -> list[int]:
        digest = blake2b(path(name), digest_size=_SLOTS.size, key=self._key).digest()
        return [number >> (32 - _BITS) for number in _SLOTS.unpack(digest)]


def path(name: bytes) -> bytes:
    """Given a member's name or a hard link's target, return it as tar takes it: below the folder
    into which it extracts.
    """
    if b"//" in name or b"." in name or name[:1] == b"/" or name[-1:] == b"/":
        return b"/".join(part for part in name.split(b"/") if part not in (b"", b"."))
    return name
