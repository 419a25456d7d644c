"""What the child says, looked at before it is believed: types, lengths and bounds. What is wrong is
ValueError, and the child is not asked again.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backupsvc.archives.filesystems.entries import FILE, FOLDER, OTHER, SYMLINK
from backupsvc.clock import iso

KINDS = (FILE, FOLDER, SYMLINK, OTHER)
MAX_NAME = 2048  # bytes: NTFS takes 255 UTF-16 units, which are three bytes each at most
MAX_TEXT = 4096
MAX_SIZE = 2**63 - 1
MAX_TIME = 2**40  # epoch seconds; some 35,000 years


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of a disk, numbered from 1 there; ``size`` in bytes.

    ``filesystem`` is None if it is not known. ``replay``: its journal holds changes that are not
    at their place; None if that cannot be told.
    """

    disk: str
    number: int
    place: str
    name: str
    size: int
    filesystem: str | None
    readable: bool
    replay: bool | None
    note: str

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            "disk": self.disk,
            "volume": self.number,
            "place": self.place,
            "name": self.name,
            "size": self.size,
            "filesystem": self.filesystem,
            "readable": self.readable,
            "journal_pending": self.replay,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder. ``mtime`` in epoch seconds, ``target`` is a symlink's; ``lack`` says why
    its content cannot be had, "" if it can.

    Names hold what is no UTF-8 as half surrogate pairs (``surrogateescape``).
    """

    name: str
    kind: str
    id: int
    size: int
    mtime: int | None
    mode: int
    target: str | None
    lack: str

    @property
    def when(self) -> str | None:
        """``mtime`` in ISO 8601; None if it is no date, which a guest may write there."""
        if self.mtime is not None:
            with suppress(ValueError, OverflowError, OSError):
                return iso(self.mtime)
        return None

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return {
            "name": self.name,
            "type": self.kind,
            "size": self.size,
            "mtime": self.when,
            "mode": f"{self.mode:04o}",
            "target": self.target,
            "lack": self.lack or None,
        }


def parsed(payload: bytes) -> Any:
    """Given a frame's payload, return the JSON in it. Raise ValueError."""
    try:
        return json.loads(payload)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deep") from error


def volume(value: Any) -> Volume:
    """Given what was told of a volume, return it. Raise ValueError."""
    disk, number, place, name, size, filesystem, readable, replay, note = _list(value, 9)
    return Volume(
        _text(disk),
        _number(number, 1, 2**16),
        _text(place),
        _text(name),
        _number(size, 0, 2**64),
        None if filesystem is None else _text(filesystem),
        _flag(readable),
        flag_or_none(replay),
        _text(note),
    )


def entry(value: Any) -> Entry:
    """Given what was told of a name in a folder, return it. Raise ValueError."""
    name, kind, number, size, mtime, mode, target, lack = _list(value, 8)
    if kind not in KINDS:
        raise ValueError("a kind of file that there is not")
    return Entry(
        _text(name, MAX_NAME),
        kind,
        _number(number, 0, 2**64 - 1),
        _number(size, 0, MAX_SIZE),
        # a time that is no time is none: it says nothing of the file itself
        mtime if _is_number(mtime) and abs(mtime) <= MAX_TIME else None,
        _number(mode, 0, 0o7777),
        None if target is None else _text(target),
        _text(lack),
    )


def file_size(value: Any) -> int:
    """Given what was told of a file's size, return it in bytes. Raise ValueError."""
    return _number(value, 0, MAX_SIZE)


def flag_or_none(value: Any) -> bool | None:
    """Given a yes, a no or a None, return it. Raise ValueError."""
    return None if value is None else _flag(value)


def items(value: Any, most: int) -> list[Any]:
    """Given a list that was told, return it. Raise ValueError if it is none, or too long."""
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("no list, or one that is too long")
    return value


def failure(value: Any) -> tuple[str, str]:
    """Given what was told of a failure, return its kind and its text. Raise ValueError."""
    kind, text = _list(value, 2)
    return _text(kind), _text(text)


def _list(value: Any, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise ValueError("no list of the length that it must have")
    return value


def _text(value: Any, most: int = MAX_TEXT) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError("no text, or one that is too long")
    return value


def _is_number(value: Any) -> bool:
    # for Python True is a number
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any, least: int, most: int) -> int:
    if not _is_number(value) or not least <= value <= most:
        raise ValueError("no number, or one out of bounds")
    return int(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("no yes and no no")
    return value
