"""What a copy's reading remembers: which copy it reads, and what it found."""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.engine.memory import MemoryForm
from policies.model import Operation
from policies.outcomes import Facts

NONE_ANY_MORE = "it is no copy any more: it was removed or forgotten, or is being made anew"


@dataclass(frozen=True, slots=True)
class CopyReading:
    """What was read. ``problem``: what is wrong with it, "" if nothing is; ``how`` it was read."""

    problem: str
    how: str


@dataclass(frozen=True, slots=True)
class CopyRecheckMemory:
    """``target`` is the target's name in the policy; ``node`` and ``volid`` are those of the
    archive, as the copy's route has them.
    """

    target: str
    node: str
    volid: str
    found: CopyReading | None = None


FORM = MemoryForm(CopyRecheckMemory)


def recall(operation: Operation) -> CopyRecheckMemory:
    """Given a reading, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a reading, return what is known of it for its outcome."""
    return Facts(node=recall(operation).node or None)
