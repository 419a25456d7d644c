"""Where a scratch copy is, whether it is gone, and what it left: asked of the cluster, not
concluded from a node's silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc.engine.context import Wait
from backupsvc.errors import OperationFailed, PveError, PveNotFound, PvePermissionDenied
from backupsvc.operations.memories import ScratchPlace
from backupsvc.operations.scratch_cleanup.memory import C
from backupsvc.operations.services import Run
from policies import moved, ownership
from policies.moved import Fate, Moved
from policies.pve import guest_config
from policies.pve.volid import storage_of

if TYPE_CHECKING:
    from backupsvc.pve.scratch import ScratchGuests

# seconds that a tear-down waits for a node that the cluster calls offline: it may only be rebooting
OFFLINE_TIMEOUT_S = 30.0


def owner(run: Run[C]) -> str:
    """The operation whose copy it is: this one, or the one after which it cleans up."""
    return run.memory.copy_of or run.id


def holder(run: Run[C]) -> str:
    """The operation that holds the lease on the copy's VMID: its owner, or this one if the catalog
    had forgotten the copy.
    """
    return run.id if run.memory.orphan else owner(run)


def copies(run: Run[C]) -> ScratchGuests:
    """What alone may touch scratch copies, with the catalog's leases before its eyes."""
    catalog = run.service.catalog
    if run.memory.orphan:
        heir = ownership.Heir(run.id, catalog.identity.get())
        return run.service.pve.scratch(run.service.policy.scratch, catalog.leases.holder, heir)
    return run.service.pve.scratch(run.service.policy.scratch, catalog.leases.holder)


def inherit(run: Run[C], scratch: ScratchPlace) -> Wait | None:
    """Take the lease on a forgotten copy's VMID, which nobody holds. Raise OperationFailed if
    somebody does by now.
    """
    if not run.memory.orphan or run.service.catalog.leases.take(
        scratch.vmid, run.now(), run.fence()
    ):
        return None
    raise OperationFailed(
        f"scratch VMID {scratch.vmid} was lent to another operation meanwhile, so nothing was "
        "touched",
        "nothing need be done: a copy that is really left over is found again",
        operation=run.id,
    )


def place_of(run: Run[C], scratch: ScratchPlace) -> str:
    """The node on which the copy was last seen."""
    return run.memory.where or scratch.node


def where_now(run: Run[C], scratch: ScratchPlace) -> Wait | None:
    """Once before it is stopped: find the node that has the copy now, and note on which storages it
    lies.

    A copy that was moved is noted, for the verdict and for whoever reads the history.
    """
    if run.memory.found:
        return None
    vmid, before = scratch.vmid, place_of(run, scratch)
    node = _listed_on(run, vmid) or before
    if node != before:
        first = run.memory.moved.from_node if run.memory.moved else before
        run.memory = replace(run.memory, where=node, moved=Moved(first, node, run.now()))
        run.note("copy-moved", vmid=vmid, source=before, target=node)
        run.say(
            f"the copy in scratch VMID {vmid} was moved from {before} to {node}: it is taken down "
            "there"
        )
    if any(not item.online for item in run.service.pve.cluster.nodes() if item.name == node):
        # a copy on a node that is off cannot be removed, and is not gone
        run.memory = replace(run.memory, lost=node)
        if run.passed("tear-down") < OFFLINE_TIMEOUT_S:
            return Wait(f"{node}, which has the copy, is offline", most=5.0, least=2.0)
        raise OperationFailed(
            f"scratch VMID {vmid} lies on {node}, which is offline: what became of the copy is not "
            "known, so it is not called gone",
            f"bring {node} back; the VMID stays reserved, and the copy is removed by the reaper "
            "while workers run",
            operation=run.id,
        )
    # what its own config names is noted while that still bears our marker
    places = {(scratch.node, scratch.storage), (node, scratch.storage), *run.memory.places}
    try:
        config = run.service.pve.guests.config(node, vmid)
    except PveNotFound:
        config = {}
    if ownership.marked(config, owner(run)):
        volids = guest_config.volids(config)
        run.memory = replace(run.memory, volumes=tuple(sorted(volids | set(run.memory.volumes))))
        places |= {(node, storage_of(volid)) for volid in volids}
    run.memory = replace(run.memory, places=tuple(sorted(places)))
    run.memory = replace(run.memory, found=True)
    return None


def until_gone(run: Run[C], scratch: ScratchPlace) -> Wait | None:
    """After the deletion: return None once the copy is gone; else a wait, or have it taken down
    where it is now.

    Raise PveError if volumes are left that are not surely ours, or that the token may not remove.
    """
    if wait := _free_next(run, scratch):
        return wait
    cluster, vmid, node = run.service.pve.cluster, scratch.vmid, place_of(run, scratch)
    # a part that lost the others knows too little to call anything gone (law 1)
    quorate, free = cluster.status().quorate, cluster.vmid_free(vmid)
    listed_on = None if free else _listed_on(run, vmid)
    # on each storage that the copy used; one that does not answer raises
    used = run.memory.places or ((scratch.node, scratch.storage),)
    left = [
        (on, volid)
        for on, name in (used if free else ())
        for volid in run.service.pve.storage.volumes(on, name, vmid)
    ]
    volids = tuple(sorted({volid for _, volid in left}))
    found = moved.fate(moved.Look(vmid, node, quorate, free, listed_on, volids))
    if found.fate is Fate.GONE:
        return None
    if found.fate is Fate.LEFT:
        # A destroy can leave disks with TASK OK: those that are ours are removed, one after the
        # other, and the others are named.
        ours, others = moved.ours_to_remove(
            volids, named=run.memory.volumes, looked_empty={scratch.storage}
        )
        if others or run.memory.leftover is not None:  # seen once before: they do not go
            went = "they were removed, and are still listed"
            raise _named(scratch, left, "they may be somebody else's" if others else went)
        leftover = tuple(sorted((node, volid) for node, volid in left if volid in ours))
        run.memory = replace(run.memory, leftover=leftover)
        return _free_next(run, scratch)
    if found.fate in (Fate.ELSEWHERE, Fate.THERE):
        # once more, from the question where it is
        run.memory = replace(run.memory, found=False, stopped=False, destroyed=False)
        for key in ("stop", "destroy"):
            run.forget(key)
    return Wait(found.why, most=5.0, least=1.0)


def _listed_on(run: Run[C], vmid: int) -> str | None:
    return next(
        (guest.node for guest in run.service.pve.cluster.guests() if guest.vmid == vmid), None
    )


def _free_next(run: Run[C], scratch: ScratchPlace) -> Wait | None:
    """Remove what is to be removed; nothing is where nothing was left."""
    while waiting := run.memory.leftover:
        node, volid = waiting[0]
        try:
            upid = run.book.upid("free") or copies(run).remove_volume(
                node, volid, scratch.vmid, owner(run)
            )
        except PvePermissionDenied as denied:
            raise _named(scratch, waiting, denied.message) from None
        if upid:
            run.keep_task("free", upid=upid)
            result = run.service.pve.tasks.poll(upid)
            if result is None:
                return Wait(f"the left-over volume {volid} is being removed", most=1.0)
            result.raise_if_failed(f"removing volume {volid} on {node}, which the copy left,")
            run.note("volume-removed", upid, volid=volid, node=node)
        run.forget("free")
        run.memory = replace(run.memory, leftover=waiting[1:])
    return None


def _named(scratch: ScratchPlace, left: Sequence[tuple[str, str]], why: str) -> PveError:
    nodes = ", ".join(sorted({node for node, _ in left}))
    volids = ", ".join(sorted({volid for _, volid in left}))
    commands = "; ".join(f"on {node}: pvesm free {volid}" for node, volid in sorted(set(left)))
    return PveError(
        f"scratch VMID {scratch.vmid} is free but left {volids} on {nodes}: {why}",
        f"look at each, and remove what is no longer wanted ({commands}); the VMID stays reserved "
        "until then",
    )
