"""Sizes, rates and durations as vzdump's and restore's logs write them (pve-facts 3.7)."""

from __future__ import annotations

_STEPS = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))


def size(value: float, decimals: int = 1) -> str:
    """Return bytes as ``1.1 GiB``, with so many decimals from KiB on."""
    for unit, step in _STEPS:
        if value >= step:
            return f"{value / step:.{decimals}f} {unit}"
    return f"{int(value)} B"


def archive_size(value: int) -> str:
    """Return an archive's size as ``36KB``, ``215MB`` or ``4.32GB``: whole numbers below a GiB."""
    if value < 1024**2:
        return f"{value // 1024}KB"
    if value < 1024**3:
        return f"{value // 1024**2}MB"
    if value < 1024**4:
        return f"{value / 1024**3:.2f}GB"
    return f"{value / 1024**4:.2f}TB"


def duration(seconds: int) -> str:
    """Return ``1h 4m 5s``, leaving out what is zero; ``0s`` for nothing."""
    parts = []
    for unit, step in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, step)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def clock(seconds: int) -> str:
    """Return ``00:01:05``."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
