"""ULIDs: 48 bits of time and 80 of chance in 26 letters, so that ids sort by their time and need no
central counter.
"""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U


def new(at: float) -> str:
    """Given epoch seconds, return a new ULID of that time."""
    value = (int(at * 1000) & (1 << 48) - 1) << 80 | secrets.randbits(80)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def time_of(ulid: str) -> int:
    """Given a ULID, return its time in whole epoch seconds. Raise ValueError if it is none."""
    if len(ulid) != 26:
        raise ValueError(f"{ulid!r} is not a ULID: it has {len(ulid)} letters, not 26")
    value = 0
    # the first ten letters are the time
    for letter in ulid[:10].upper():
        value = value << 5 | _ALPHABET.index(letter)
    return value // 1000
