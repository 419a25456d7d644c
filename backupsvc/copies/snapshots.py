"""Snapshots of the catalog and of the cluster's configuration, and bundles for the worst day, at a
copy target: written under a temporary name, read back, and only then called one; of the older ones
so many are kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backupsvc.copies.target import CHUNK, Alive, Target
from backupsvc.errors import BackupsvcError, CopyError

KEPT = 30  # snapshots at a target where things can be removed
CATALOG, CONFIG, BUNDLE = "backupsvc-catalog", "backupsvc-config", "backupsvc-break-glass"
BUNDLES_KEPT = 7  # each has a snapshot of the catalog in it
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(
    rf"({CATALOG}(?=.*\.(?:sqlite|pgdump)\.)|(?:{CONFIG}|{BUNDLE})(?=.*\.tar\.))"
    r"-([0-9]{8}T[0-9]{6}Z)\.[a-z]+\.zst(\.age)?"
)
PART, _AGE = ".part", ".age"


@dataclass(frozen=True, slots=True)
class Put:
    """A snapshot that lies at a target and was read back there; ``removed`` are older ones."""

    file: str
    size: int
    sha256: str
    removed: tuple[str, ...] = ()


def name_at(at: int, suffix: str, what: str = CATALOG) -> str:
    """Given when a snapshot is taken (epoch seconds) and what it is, return its file's name."""
    return f"{what}-{datetime.fromtimestamp(at, UTC):{_STAMP}}.{suffix}.zst"


def taken_at(name: str, what: str) -> int | None:
    """Given a file's name, return when the snapshot in it was taken (epoch seconds), None if it is
    none of that kind, or encrypted.
    """
    found = _NAME.fullmatch(name)
    if found is None or found[1] != what or found[3]:
        return None
    try:
        return int(datetime.strptime(found[2], _STAMP).replace(tzinfo=UTC).timestamp())
    except ValueError:  # no day of any month
        return None


def newest(names: Iterable[str], what: str) -> tuple[str, int] | None:
    """Given the names of a target's files and what is looked for, return the newest snapshot of that
    kind, encrypted or not, and when it was taken (epoch seconds); None if there is none.
    """
    found = [
        (at, name) for name in names if (at := taken_at(name.removesuffix(_AGE), what)) is not None
    ]
    if not found:
        return None
    at, name = max(found)
    return name, at


def put(
    target: Target,
    path: Path,
    name: str,
    *,
    immutable: bool = False,
    alive: Alive = lambda: None,
) -> Put:
    """Given a target and a file of this machine, bring it there under that name and read it back.
    Raise CopyError if what was read is not what was sent, and what the target raises; then no
    snapshot has the name that had none before. ``alive`` is called again and again meanwhile.

    Where nothing can be renamed or removed (``immutable``) it gets its name at once: one that is
    cut off keeps it, and its checksum tells (``zstd -t``).
    """
    there = target.files()
    if name in there:
        raise CopyError(
            f"{target.what} has a file {name} already", "take the next snapshot a second later"
        )
    temporary = name if immutable else name + PART
    sent, size, whole = hashlib.sha256(), 0, False
    try:
        with path.open("rb") as file, target.write(temporary) as writing:
            while data := file.read(CHUNK):
                writing.write(data)
                sent.update(data)
                size += len(data)
                alive()
            writing.sync()
        # a hash of what left here says nothing of what lies there
        read = target.digest(temporary, lambda count: alive())
        if (read.size, read.sha256) != (size, sent.hexdigest()):
            raise CopyError(
                f"{target.what} holds other bytes in {temporary} than were sent",
                "look at the disk of that machine: it may have done this to copies of archives, too",
            )
        if not immutable:
            target.rename(temporary, name)
        whole = True
    finally:
        if not whole and not immutable:
            with suppress(BackupsvcError):
                target.remove(temporary)
    removed = [] if immutable else _superfluous(there, name)
    for old in removed:
        target.remove(old)
    return Put(name, size, sent.hexdigest(), tuple(removed))


def _superfluous(there: dict[str, int], name: str) -> list[str]:
    """Snapshots of the same kind beyond those that are kept, and what a day-old attempt left."""
    what, today = _parts_of(name)
    whole = sorted(one for one in there if _NAME.fullmatch(one) and _parts_of(one)[0] == what)
    parts = [
        one
        for one in there
        if one.endswith(PART)
        and _NAME.fullmatch(one.removesuffix(PART))
        and _parts_of(one)[0] == what
        and _parts_of(one)[1] < today
    ]
    # one more: the new one was not there yet when the folder was listed
    kept = BUNDLES_KEPT if what == BUNDLE else KEPT
    return whole[: max(0, len(whole) + 1 - kept)] + sorted(parts)


def _parts_of(name: str) -> tuple[str, str]:
    """What a snapshot is of, and its day."""
    found = _NAME.match(name)
    return (found[1], found[2][:8]) if found else ("", "")
