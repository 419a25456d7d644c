"""Values as a person reads them: lists, maps, yes and no, and nothing at all, in words instead of a
program's notation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any


def in_words(value: Any) -> str:
    """Given a JSON-like value, return it in words: ``a, b``, ``vmid 9000, node clovis``, ``yes``,
    ``none``.
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return ", ".join(f"{label(key)} {_within(item)}" for key, item in value.items()) or "none"
    if isinstance(value, Collection) and not isinstance(value, str | bytes):
        told = [_within(item) for item in value]
        return ("; " if any(" " in text for text in told) else ", ").join(told) or "none"
    return str(value)


def label(key: object) -> str:
    """Given a key of data, return it as a word: ``took_over`` is ``took over``."""
    return in_words(key).replace("_", " ")


def _within(value: Any) -> str:
    """A value within another one: what has parts of its own stands in brackets."""
    parts = isinstance(value, Collection) and not isinstance(value, str | bytes) and len(value) > 0
    return f"({in_words(value)})" if parts else in_words(value)
