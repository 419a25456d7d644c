"""What a reading remembers: which archive it reads, and what it found."""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.engine.memory import MemoryForm
from policies.model import Operation
from policies.outcomes import Facts


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read. ``good`` None: it is complete, and no checksum and no record says that its
    data are right. ``problem``: what is wrong with it, "" if nothing is. ``how`` it was read, and
    where.
    """

    sha256: str
    size: int
    good: bool | None
    problem: str = ""
    how: str = ""


@dataclass(frozen=True, slots=True)
class RecheckMemory:
    """``node`` and ``volid`` are the archive's, ``fresh`` is the backup that was opened in place of
    a damaged one, or why none was.
    """

    node: str
    volid: str
    found: Reading | None = None
    fresh: str = ""


FORM = MemoryForm(RecheckMemory)


def recall(operation: Operation) -> RecheckMemory:
    """Given a reading, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a reading, return what is known of it for its outcome."""
    return Facts(node=recall(operation).node)
