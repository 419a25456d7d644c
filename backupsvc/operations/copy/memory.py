"""What a copy remembers: which archive it brings to which target, and what came of it.

How far it came stands in the catalog's table of copies, where a later copy of that archive finds
it.
"""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.engine.memory import MemoryForm
from policies.model import Operation
from policies.outcomes import Facts


@dataclass(frozen=True, slots=True)
class Verified:
    """A copy that is there. ``moved`` are the bytes that travelled, in so many ``seconds``;
    ``litter`` lies at an immutable target and is of no use.
    """

    sha256: str
    size: int
    how: str
    moved: int
    seconds: float
    litter: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ArchiveCopyMemory:
    """``target`` is the target's name in the policy, ``node`` and ``volid`` are the archive's.

    ``removed`` are the guest's copies that the target's keep rules let go, ``kept_all`` says why
    none could, "" if nothing spoke against it.
    """

    target: str
    node: str
    volid: str
    verified: Verified | None = None
    removed: tuple[str, ...] = ()
    kept_all: str = ""


FORM = MemoryForm(ArchiveCopyMemory)


def recall(operation: Operation) -> ArchiveCopyMemory:
    """Given a copy, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a copy, return what is known of it for its outcome."""
    return Facts(node=recall(operation).node)
