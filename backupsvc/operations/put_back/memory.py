"""What a putting back remembers: all that was missing as the person saw it, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.engine.memory import MemoryForm
from policies.model import Operation
from policies.outcomes import Facts
from policies.surroundings import Surrounding
from policies.surroundings.putting_back import Ended


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing as it was shown, with its calls. ``made`` counts those that were carried out by us;
    ``pending`` is how many were missing when one was begun whose end nobody has seen yet, None if
    none was. ``end`` is what became of it, at the time ``at`` (epoch seconds).
    """

    thing: Surrounding
    made: int = 0
    pending: int | None = None
    end: Ended | None = None
    at: int | None = None


@dataclass(frozen=True, slots=True)
class PutBackMemory:
    """``vmid`` is the guest's in the set that was kept at ``kept_at`` (epoch seconds); the one that
    it has now is the operation's subject. ``restored``: it came out of an archive since.
    """

    vmid: int
    kept_at: int
    pieces: tuple[Piece, ...] = ()
    restored: bool = False
    node: str = ""


FORM = MemoryForm(PutBackMemory)


def recall(operation: Operation) -> PutBackMemory:
    """Given a putting back, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a putting back, return what is known of it for its outcome."""
    return Facts(node=recall(operation).node or None)
