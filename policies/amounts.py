"""Amounts of bytes for people, in powers of 1024, and spans of time as people write them.

Amounts that a sentence compares never read alike when they differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}  # of time, in seconds
_SPAN = re.compile(r"(?:[0-9]{1,9}[smhdw])+")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_MAX_DIGITS = 3  # behind the point; what differs by less is told in bytes


def size(octets: float, digits: int = 1) -> str:
    """Given bytes, return them in the largest unit that leaves a number of at least one, such as
    ``102.4 MiB``.
    """
    value, unit = float(octets), 0
    while round(value, digits) >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.{digits}f} {_UNITS[unit]}"


def apart(*amounts: int, write: Callable[[int, int], str] = size) -> tuple[str, ...]:
    """Given bytes that stand in one sentence, return each in words, with as many digits as keep
    different ones different.

    ``write`` makes words of bytes and a number of digits.
    """
    for digits in range(1, _MAX_DIGITS + 1):
        told = tuple(write(amount, digits) for amount in amounts)
        if len(set(told)) == len(set(amounts)):
            return told
    return tuple(f"{amount} bytes" for amount in amounts)


def seconds(text: str) -> int | None:
    """Given a span of time such as ``90s``, ``1h30m`` or ``7d``, return it in seconds, None if it
    is none.
    """
    if not _SPAN.fullmatch(text):
        return None
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw])", text))
