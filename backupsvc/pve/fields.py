"""Reading PVE's answers leniently: numbers may be text, false booleans absent, lists one text (PVE_FACTS 1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]


def integer(row: Row, key: str, default: int = 0) -> int:
    """Given a row, return a number that may be absent, null, text or a float."""
    value = row.get(key)
    try:
        return default if value is None or value == "" else int(float(value))
    except (TypeError, ValueError):
        return default


def boolean(row: Row, key: str, default: bool = False) -> bool:
    """Given a row, return a boolean: 1, 0, "1", "0", true, false; absent is the default."""
    value = row.get(key)
    return default if value is None else str(value).lower() in {"1", "true", "yes", "on"}


def text(row: Row, key: str) -> str:
    """Given a row, return a value as text, "" when absent or null."""
    value = row.get(key)
    return "" if value is None else str(value)


def words(row: Row, key: str) -> tuple[str, ...]:
    """Given a row, return the words of a list that PVE writes as one text (comma, semicolon, blank or NUL between them)."""
    return tuple(word for word in re.split(r"[,;\s\0]+", text(row, key)) if word)


def properties(row: Row, key: str) -> str:
    """Given a row, return a property string; PVE 9 answers an object, older ones the string itself (PVE_FACTS 3.5)."""
    value = row.get(key)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={value[name]}" for name in sorted(value))
    return text(row, key)
