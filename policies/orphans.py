"""Find the copies that no open operation attends to, and those of them that this service may remove
by itself (law 1).

A copy whose restore test is not open any more holds memory, disks and a VMID, and answers at a
production address on the isolated
bridge: a later test could take its answers for those of its own copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

_RESTORED = "qmrestore"
_MADE = frozenset({_RESTORED, "qmcreate", "vzrestore", "vzcreate"})
_REMOVED = frozenset({"qmdestroy", "vzdestroy"})


@dataclass(frozen=True, slots=True)
class Copy:
    """A guest in the scratch range that bears a marker of ours: whose operation made it, and which
    service (None: unsaid).
    """

    vmid: int
    node: str
    name: str
    running: bool
    operation: str
    service: str | None = None
    storages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Orphan:
    """A copy without an open operation. ``ours``: this very service made it, so its reaper may
    remove it.

    ``unconfirmed``: it bears this service's identity, but PVE's tasks do not say that this service
    restored it.
    """

    copy: Copy
    ours: bool
    unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """A task on a VMID as its node lists it: when it began (epoch seconds, the node's clock), whose
    it was, how it went.

    ``ticks`` is when its process began, in hundredths of a second since ``node`` was started: the
    UPID's ``pstart``.
    """

    type: str
    began: int
    user: str
    failed: bool = False
    node: str = ""
    ticks: int = 0


def orphans(
    copies: Iterable[Copy],
    *,
    open_operations: Collection[str],
    cleaned: Collection[int],
    service: str,
) -> tuple[Orphan, ...]:
    """Given the copies that are there, return those that nobody attends to.

    ``open_operations`` were read after the copies: what ends in between is seen as open.
    ``cleaned`` are the VMIDs that a reap is at, or that the catalog's leases still name, so that
    one is about to be. ``service`` is this service's identity.
    """
    left = (
        copy
        for copy in copies
        if copy.operation not in open_operations and copy.vmid not in cleaned
    )
    # a service without an identity of its own can call no copy its own
    return tuple(Orphan(copy, bool(service) and copy.service == service) for copy in left)


def restored_by(token: str, tasks: Iterable[Task]) -> bool:
    """Given a token and all that PVE remembers of a VMID, return whether the guest that has it now
    is of a restore by that token.

    A description is written by whoever may edit the guest, and a clone of a copy bears it too. So
    the last task that made or removed a guest there must be such a restore; a clone is listed under
    the VMID that it was made of.
    """
    # what failed made no guest and removed none; what a failed restore leaves is looked at
    # elsewhere (pve-facts 7.4)
    told = [task for task in tasks if task.type in _MADE | _REMOVED and not task.failed]
    if not told:
        return False
    second = max(task.began for task in told)
    latest = [task for task in told if task.began == second]
    # on one node ticks tell which of a second was last, on two nothing does
    if len({task.node for task in latest}) == 1:
        ticks = max(task.ticks for task in latest)
        latest = [task for task in latest if task.ticks == ticks]
    return all((task.type, task.user) == (_RESTORED, token) for task in latest)
