"""Where a scratch copy is, whether it is gone, and what it left: asked of the cluster, not concluded from a node's silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupsvc.engine.context import Run, Wait
from backupsvc.errors import OperationFailed, PveError, PveNotFound, PvePermissionDenied
from policies import moved, ownership
from policies.moved import Fate
from policies.pve import guest_config
from policies.pve.volid import storage_of

if TYPE_CHECKING:
    from backupsvc.pve.scratch import ScratchGuests

OFFLINE_PATIENCE = 30.0  # seconds that a tear-down waits for a node that the cluster calls offline: it may only be rebooting


def owner(run: Run) -> str:
    """The operation whose copy it is: this one, or the one after which it cleans up."""
    return str(run.data.get("copy_of", run.id))


def holder(run: Run) -> str:
    """The operation that holds the lease on the copy's VMID: its owner, or this one if the catalog had forgotten the copy."""
    return run.id if run.data.get("orphan") else owner(run)


def copies(run: Run) -> ScratchGuests:
    """What alone may touch scratch copies, with the catalog's leases before its eyes."""
    catalog = run.service.catalog
    if run.data.get("orphan"):
        heir = ownership.Heir(run.id, catalog.identity())
        return run.service.pve.scratch(run.service.policy.scratch, catalog.lease_holder, heir)
    return run.service.pve.scratch(run.service.policy.scratch, catalog.lease_holder)


def inherit(run: Run, scratch: dict[str, Any]) -> Wait | None:
    """Take the lease on a forgotten copy's VMID, which nobody holds. Raise OperationFailed if somebody does by now."""
    if not run.data.get("orphan") or run.service.catalog.lease_vmid(scratch["vmid"], run.id, run.now(), run.fence()):
        return None
    raise OperationFailed(
        f"scratch VMID {scratch['vmid']} was lent to another operation meanwhile, so nothing was touched",
        "nothing need be done: a copy that is really left over is found again",
        operation=run.id,
    )


def place_of(run: Run, scratch: dict[str, Any]) -> str:
    """The node on which the copy was last seen."""
    return str(run.data.get("where", scratch["node"]))


def where_now(run: Run, scratch: dict[str, Any]) -> Wait | None:
    """Once before it is stopped: find the node that has the copy now, and note on which storages it lies.

    A copy that was moved is noted, for the verdict and for whoever reads the history.
    """
    if run.data.get("found"):
        return None
    vmid, before = scratch["vmid"], place_of(run, scratch)
    node = _listed_on(run, vmid) or before
    if node != before:
        run.data["where"] = node
        run.data["moved"] = {"from": run.data.get("moved", {}).get("from", before), "to": node, "at": run.now()}
        run.note("copy-moved", vmid=vmid, source=before, target=node)
        run.say(f"the copy in scratch VMID {vmid} was moved from {before} to {node}: it is taken down there")
    if wait := _wait_for(run, vmid, node):
        return wait
    _note_volumes(run, scratch, node)
    run.data["found"] = True
    return None


def until_gone(run: Run, scratch: dict[str, Any]) -> Wait | None:
    """After the deletion: return None once the copy is gone; else a wait, or have it taken down where it is now.

    Raise PveError if volumes are left that are not surely ours, or that the token may not remove.
    """
    if "free" in run.data.get("leftover", {}) and (wait := _free_next(run, scratch)):
        return wait
    found = moved.fate(_look(run, scratch))
    if found.fate is Fate.GONE:
        return None
    if found.fate is Fate.LEFT:
        return _free_left(run, scratch)
    if found.fate in (Fate.ELSEWHERE, Fate.THERE):
        _again(run)
    return Wait(found.why, most=5.0, least=1.0)


def _listed_on(run: Run, vmid: int) -> str | None:
    return next((guest.node for guest in run.service.pve.cluster.guests() if guest.vmid == vmid), None)


def _wait_for(run: Run, vmid: int, node: str) -> Wait | None:
    """A copy on a node that is off cannot be removed, and is not gone: it stays reserved, and a reap tries again."""
    if all(item.online for item in run.service.pve.cluster.nodes() if item.name == node):
        return None
    run.data["lost"] = node
    if run.passed("tear-down") < OFFLINE_PATIENCE:
        return Wait(f"{node}, which has the copy, is offline", most=5.0, least=2.0)
    raise OperationFailed(
        f"scratch VMID {vmid} lies on {node}, which is offline: what became of the copy is not known, so it is not called gone",
        f"bring {node} back; the VMID stays reserved, and the copy is removed by the reaper while workers run",
        operation=run.id,
    )


def _note_volumes(run: Run, scratch: dict[str, Any], node: str) -> None:
    """Remember what the copy's own config names, while it still bears our marker, and where it lay."""
    places = {(scratch["node"], scratch["storage"]), (node, scratch["storage"]), *map(tuple, run.data.get("places", ()))}
    try:
        config = run.service.pve.guests.config(node, scratch["vmid"])
    except PveNotFound:
        config = {}
    if ownership.marked(config, owner(run)):
        volids = guest_config.volids(config)
        run.data["volumes"] = sorted(volids | set(run.data.get("volumes", ())))
        places |= {(node, storage_of(volid)) for volid in volids}
    run.data["places"] = sorted(list(place) for place in places)


def _look(run: Run, scratch: dict[str, Any]) -> moved.Look:
    cluster, vmid, node = run.service.pve.cluster, scratch["vmid"], place_of(run, scratch)
    quorate, free = cluster.status().quorate, cluster.vmid_free(vmid)
    listed_on = None if free else _listed_on(run, vmid)
    left = tuple(sorted({volid for _, volid in _left(run, scratch)})) if free else ()
    return moved.Look(vmid, node, quorate, free, listed_on, left)


def _left(run: Run, scratch: dict[str, Any]) -> list[tuple[str, str]]:
    """Every volume of the VMID, with its node, on each storage that the copy used. One that does not answer raises."""
    places = run.data.get("places") or [[scratch["node"], scratch["storage"]]]
    storage = run.service.pve.storage
    return [(node, volid) for node, name in places for volid in storage.volumes(node, name, scratch["vmid"])]


def _again(run: Run) -> None:
    """Take it down once more, from the question where it is."""
    for key in ("found", "stopped", "destroyed"):
        run.data.pop(key, None)
    for key in ("stop", "destroy"):
        run.forget(key)


def _free_left(run: Run, scratch: dict[str, Any]) -> Wait | None:
    """A destroy can leave disks with TASK OK: remove those that are ours, one after the other, and name the others."""
    left = _left(run, scratch)
    ours, others = moved.ours_to_remove(
        [volid for _, volid in left], named=run.data.get("volumes", ()), looked_empty={scratch["storage"]}
    )
    if others or run.data.get("leftover"):  # seen once before: they do not go
        raise _named(scratch, left, "they may be somebody else's" if others else "they were removed, and are still listed")
    run.data["leftover"] = {"free": sorted([node, volid] for node, volid in left if volid in ours)}
    return _free_next(run, scratch)


def _free_next(run: Run, scratch: dict[str, Any]) -> Wait | None:
    waiting, vmid = run.data["leftover"]["free"], scratch["vmid"]
    while waiting:
        node, volid = waiting[0]
        try:
            upid = run.data.get("free_upid") or copies(run).remove_volume(node, volid, vmid, owner(run))
        except PvePermissionDenied as denied:
            raise _named(scratch, [(node, volid) for node, volid in waiting], denied.message) from None
        if upid:
            run.data["free_upid"] = upid
            result = run.service.pve.tasks.poll(str(upid))
            if result is None:
                return Wait(f"the left-over volume {volid} is being removed", most=1.0)
            result.raise_if_failed(f"removing volume {volid} on {node}, which the copy left,")
            run.note("volume-removed", str(upid), volid=volid, node=node)
        run.data.pop("free_upid", None)
        waiting.pop(0)
    run.data["leftover"] = {"done": True}
    return None


def _named(scratch: dict[str, Any], left: list[tuple[str, str]], why: str) -> PveError:
    nodes = ", ".join(sorted({node for node, _ in left}))
    volids = ", ".join(sorted({volid for _, volid in left}))
    commands = "; ".join(f"on {node}: pvesm free {volid}" for node, volid in sorted(set(left)))
    return PveError(
        f"scratch VMID {scratch['vmid']} is free but left {volids} on {nodes}: {why}",
        f"look at each, and remove what is no longer wanted ({commands}); the VMID stays reserved until then",
    )
