"""Copies that the catalog has forgotten: looked for at every tick, by ``doctor`` and by ``pra
status``; removed only if ours.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from backupsvc.errors import BackupsvcError, Refused
from backupsvc.operations.memories import ScratchPlace
from backupsvc.operations.scratch_cleanup.memory import ReapMemory
from backupsvc.operations.scratch_cleanup.taking_down import tried
from backupsvc.operations.services import Cluster, Opening
from policies import reach
from policies.model import Operation, OperationState, PolicyError
from policies.orphans import Copy, Orphan, orphans

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog

LISTED = 60.0  # seconds for which one list of the cluster's guests serves the ticks
_log = logging.getLogger(__name__)
# the copies of which this process has spoken: a tick comes twice a minute
_told: set[tuple[int, str]] = set()


def look(service: Cluster, max_age: float = 0.0) -> tuple[Orphan, ...]:
    """Return the copies in the scratch range that no open operation attends to. Asks the cluster,
    then the catalog.
    """
    from backupsvc.pve import leftovers

    # a copy there is looked for once its node is back
    down = reach.down(service.pve.cluster.nodes(max_age=max_age))
    guests = [
        guest for guest in service.pve.cluster.guests(max_age=max_age) if guest.node not in down
    ]
    found = decide(service.catalog, leftovers.copies(service.pve, service.policy.scratch, guests))
    return leftovers.confirmed(service.pve, found)


def decide(catalog: Catalog, copies: list[Copy]) -> tuple[Orphan, ...]:
    """Given the copies that are there, return those that this catalog has forgotten."""
    if not copies:
        return ()
    known = {copy.operation: catalog.operations.get(copy.operation) for copy in copies}
    open_now = {
        id
        for id, operation in known.items()
        if operation and operation.state is OperationState.OPEN
    }
    leased = {copy.vmid for copy in copies if catalog.leases.holder(copy.vmid) is not None}
    return orphans(copies, open_operations=open_now, cleaned=leased, service=catalog.identity.get())


def attend(service: Opening) -> list[Operation]:
    """For a tick: tell of forgotten copies, and open a reap for each that this service made; return
    those opened.

    A cluster that does not answer is no reason for the tick to end: it is asked again at the next
    one.
    """
    try:
        found = look(service, max_age=LISTED)
    except (BackupsvcError, PolicyError) as error:
        _log.info("forgotten copies could not be looked for: %s", error)
        return []
    now = {(orphan.copy.vmid, orphan.copy.operation): orphan for orphan in found}
    for key in now.keys() - _told:
        _log.warning("orphan-copy: %s; %s", *says(now[key]))
    # what has gone meanwhile is told again if it comes back
    _told.intersection_update(now)
    _told.update(now)
    opened: list[Operation] = []
    for copy in (orphan.copy for orphan in found if orphan.ours):
        if tried(service, copy.vmid, copy.operation):
            continue
        storage = copy.storages[0] if copy.storages else service.policy.scratch.storage
        if storage is None:
            continue  # it has no disk, and nobody says where to look for what is left
        place = ScratchPlace(copy.vmid, copy.node, storage)
        memory = ReapMemory(place, copy_of=copy.operation, orphan=True)
        with suppress(Refused):  # something is at work at that VMID
            reap = service.engine.open("reap", copy.vmid, memory)
            opened += [reap] if reap else []
    return opened


def says(orphan: Orphan) -> tuple[str, str]:
    """Given a forgotten copy, return what to know of it and what to do."""
    copy = orphan.copy
    state = "runs" if copy.running else "is there, stopped"
    detail = (
        f"VM {copy.vmid} ({copy.name}) {state} on {copy.node}: a copy of restore test "
        f"{copy.operation}, which is not open in this catalog"
    )
    if orphan.ours:
        return detail, "this service made it, and removes it while workers run (`backupsvc serve`)"
    by_hand = f"on {copy.node}: qm stop {copy.vmid}; qm destroy {copy.vmid} --purge"
    if orphan.unconfirmed:
        return (
            f"{detail}; it bears this service's identity, but PVE's tasks do not say that this "
            "service restored it: it may be a clone of a copy",
            f"see whose it is; if nobody needs it, remove it {by_hand}",
        )
    whose = "another service" if copy.service else "a service that did not sign it"
    return (
        f"{detail}; it was made by {whose}, or its catalog was lost",
        f"see that no other service uses it, then remove it {by_hand}",
    )
