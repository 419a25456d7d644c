"""Durable operations, as the catalog keeps them, and their history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from policies.bookkeeping import Bookkeeping


class OperationState(StrEnum):
    """Where an operation stands: OPEN until its last step, then exactly one of the others, for
    ever.

    MISSED is an occurrence whose window passed while no scheduler ran: it was never opened at all.
    """

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Operation:
    """One durable piece of long work. ``id`` is a ULID, ``subject`` the VMID it is about (None: the
    site).

    ``step`` is the step to do next, ``memory`` what its kind's steps have recorded so far, as it is
    written down (JSON values, with the version that wrote them), ``book`` what the engine keeps of
    it, ``occurrence`` the key that makes a scheduled occurrence unique (law 9), ``error`` the
    sentence it failed with. ``attempts`` counts the drivers that were lost at this step, ``due`` is
    when it must be looked at again, ``rank`` its place among those who wait for the same node (less
    is earlier), ``cancel`` why it shall end, if somebody asked for that.
    """

    id: str
    kind: str
    subject: int | None
    state: OperationState
    step: str
    memory: Mapping[str, object]
    created: int
    updated: int
    finished: int | None = None
    occurrence: str | None = None
    lease_owner: str | None = None
    lease_until: int | None = None
    attempts: int = 0
    error: str | None = None
    due: int = 0
    rank: int = 0
    cancel: str | None = None
    book: Bookkeeping = field(default_factory=Bookkeeping)


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of an operation's history: ``event`` is started (written before the effect),
    finished, failed or noted.
    """

    operation: str
    seq: int
    step: str
    event: str
    at: int
    upid: str | None = None
    detail: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
