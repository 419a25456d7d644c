"""What a night remembers: its job and its hour, what it opened under which names, and which restore
tests are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backupsvc.engine.memory import MemoryForm
from policies.model import Operation


@dataclass(frozen=True, slots=True)
class Test:
    """A test that is wanted tonight. ``seconds`` is how long it is expected to take; ``volid``
    None: the newest archive.
    """

    name: str
    vmid: int
    seconds: float
    volid: str | None = None


@dataclass(frozen=True, slots=True)
class NightMemory:
    """``job`` is the job's id, ``at`` when the night was due (epoch seconds; 0: an old version did
    not write that down). ``vmids`` are the guests to be backed up, by rank; None: they are not
    known yet.

    ``children`` are the ids of the operations that it opened, by its own names for them. ``tests``
    are the restore tests that are wanted, None before their window opens; ``at_once`` of them run at
    a time, and each is expected to be over by ``over_by`` (epoch seconds, by name). ``retried`` and
    ``sampled`` say that those that were undecided, and old archives, were added to them;
    ``untestable`` counts the guests that cannot be tested. ``results`` are the sentences on
    backups, retention and tests. ``rechecks`` are the archives that are read anew, as (node,
    volid), None before they are chosen; ``copy_rechecks`` the copies, as (folder, node, volid) of
    their routes, and ``unasked`` the targets that did not answer then, with why.
    """

    job: str
    at: int = 0
    vmids: tuple[int, ...] | None = None
    children: Mapping[str, str] = field(default_factory=dict)
    tests: tuple[Test, ...] | None = None
    at_once: int = 0
    over_by: Mapping[str, float] = field(default_factory=dict)
    retried: bool = False
    sampled: bool = False
    untestable: int = 0
    results: Mapping[str, str] = field(default_factory=dict)
    rechecks: tuple[tuple[str, str], ...] | None = None
    copy_rechecks: tuple[tuple[str, str, str], ...] = ()
    unasked: Mapping[str, str] = field(default_factory=dict)


FORM = MemoryForm(
    NightMemory,
    (
        dict,
        # how many tests run at a time was called ``lanes`` in version 1
        lambda values: {
            "at_once" if key == "lanes" else key: value for key, value in values.items()
        },
    ),
)


def recall(operation: Operation) -> NightMemory:
    """Given a night, return what it remembers."""
    return FORM.read(operation.memory)
