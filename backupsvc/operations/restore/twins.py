"""Whether a guest that is restored under another VMID, or beside such a one, would meet the machine
that it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.errors import LawRefused, Refused, UsageError
from backupsvc.inventory.listing import FAILS
from backupsvc.operations.replace.memory import recall as recall_replace
from backupsvc.operations.restore.memory import RestoreMemory, recall
from backupsvc.operations.services import Cluster
from policies import i18n, lineage, ownership, reach, restore_clone
from policies.guest_policy import policy_for
from policies.lineage import Identity
from policies.model import Guest, GuestType, Operation, OperationState
from policies.pve import guest_config

_RECALL: Mapping[str, Callable[[Operation], RestoreMemory]] = {
    "restore": recall,
    "replace": recall_replace,
}
LOWEST, HIGHEST = 100, 999_999_999  # VMIDs, as PVE takes them
_TRIED = 20  # free VMIDs that the cluster is asked about before none is proposed


@dataclass(frozen=True, slots=True)
class Twins:
    """The guests that are the archive's machine, each with in what, and those whose config could not
    be read.
    """

    same: tuple[tuple[Guest, str], ...]
    unread: tuple[Guest, ...]


def identity_of(memory: RestoreMemory) -> Identity:
    """Given what a restore remembers, return whose its archive is, as its guest will show it."""
    return Identity(memory.archive.uuid, memory.archive.born, macs=guest_config.macs(memory.nics))


def _look(
    service: Cluster, archived: Identity, *, original: int, only: Collection[int] | None = None
) -> Twins:
    """Given whose an archive is and the VMID that it was under, return who of the cluster's guests is
    the same machine. ``only``: look at these VMIDs alone.

    Copies of restore tests are not asked: they never meet anybody (law 2). A guest under the
    original's VMID of which nothing can be read may be it.
    """
    pve = service.restore_pve
    guests = [
        one
        for one in pve.cluster.guests()
        if one.vmid not in service.policy.scratch
        and one.type is GuestType.QEMU
        and not one.template
        and (only is None or one.vmid in only)
    ]
    down = reach.down(pve.cluster.nodes())
    listed = {one.vmid for one in pve.cluster.guests()} if only is None else {original}
    # a list leaves out what the token may not see; this answer does not (pve-facts 8.3)
    if original not in listed and not pve.cluster.vmid_free(original):
        raise LawRefused(
            2,
            f"VMID {original} is in use, by a guest that this token may not see: it may be the "
            "machine that would be restored beside it",
            "look at it in PVE as an administrator, or restore it as a clone: --as N --clone",
        )
    same: list[tuple[Guest, str]] = []
    unread: list[Guest] = []
    for guest in guests:
        try:
            config = None if guest.node in down else pve.guests.config(guest.node, guest.vmid)
        except FAILS:
            config = None
        if config is None:
            unread.append(guest)
        # the rest of a failed restore is an empty machine, and nobody's twin (pve-facts 7.4)
        elif not ownership.is_stub(config) and (
            how := restore_clone.twin(archived, lineage.of(config))
        ):
            same.append((guest, how))
    same += [
        (one, "the VMID, and its config cannot be read") for one in unread if one.vmid == original
    ]
    return Twins(tuple(same), tuple(one for one in unread if one.vmid != original))


def require_none(service: Cluster, found: Iterable[tuple[Guest, str]], volid: str) -> None:
    """Given who is the archive's machine, raise LawRefused if anybody is."""
    for guest, how in found:
        name = guest.name or policy_for(service.policy, guest.vmid, "").name
        where_from, way_out = _left_by(service, guest)
        raise LawRefused(
            2,
            f"guest {guest.vmid} ({name}) on {guest.node} is {guest.status} and has {how} of the "
            f"machine in archive {volid}: a second one would meet it{where_from}",
            f"{way_out}restore it as a clone: --as N --clone gives it MAC addresses and a UUID of its "
            "own, leaves its links down and does not start it",
        )


def _left_by(service: Cluster, guest: Guest) -> tuple[str, str]:
    """Given a guest that is somebody's machine, say which replacement left it, and what a person can
    do about it: nothing here ever removes it. Empty if none did.
    """
    for operation in service.catalog.operations.find(kind="replace"):
        try:
            memory = recall_replace(operation)
        except MemoryUnreadable:
            continue
        # of one that is at work nothing is to be removed
        if guest.vmid not in (operation.subject, memory.old) or operation.finished is None:
            continue
        pair = f"replacement {operation.id} (guest {memory.old} by {operation.subject})"
        if guest.status != "stopped":
            undo = f"`backupsvc operations undo {operation.id}` brings guest {memory.old} back; or "
            return f"; it is one of the two of {pair}, and is not off", undo
        return (
            f"; {pair} left it, and it is never removed here",
            "see in PVE that it is the one that you do not need, and that nothing in it is needed; "
            f"then remove it there yourself (`qm destroy {guest.vmid} --purge` as root on "
            f"{guest.node}) and give the command anew; or ",
        )
    return "", ""


def meeting(
    service: Cluster,
    vmid: int,
    target: int,
    archived: Identity,
    volid: str,
    *,
    replaces: bool = False,
) -> list[str]:
    """Given a guest's VMID, the one that it is restored under, and whose the archive is, return what
    is not known of guests that it may meet. Raise LawRefused if it would meet its own machine.
    ``replaces``: but for the guest itself, which whoever replaces it keeps apart.

    Under its own VMID, which is free, only those can be the same machine that the same archives were
    restored under; under another one, every guest is looked at.
    """
    elsewhere = _restored_elsewhere(service, vmid)
    # asked of the catalog first: a guest that is only being restored shows no config yet
    if under_way := sorted(one for one, state in elsewhere.items() if state and one != target):
        raise LawRefused(
            2,
            f"guest {vmid} is being restored under VMID {under_way[0]} at this moment: a second one "
            "would meet it",
            "wait for that: `backupsvc operations list --kind restore`",
        )
    only = elsewhere.keys() if target == vmid else None
    if only is not None and not only:
        return []
    found = _look(service, archived, original=vmid, only=only)
    apart = {target, vmid} if replaces else {target}
    require_none(service, [one for one in found.same if one[0].vmid not in apart], volid)
    said = []
    if found.unread:
        unread = i18n.names(one.vmid for one in found.unread)
        said.append(
            f"the configs of guests {unread} could not be read: whether one of them is this machine "
            "is not known"
        )
    # without it a guest is missing from the list, silently (pve-facts 11.2)
    if only is None and "VM.Audit" not in service.restore_pve.cluster.permissions_at("/vms"):
        said.append(
            f"{service.restore_pve.token_id} may not see every guest: whether one is this machine is "
            "not known"
        )
    return said


def seen_before(
    service: Cluster, memory: RestoreMemory, target: int, *, replaces: bool = False
) -> None:
    """Given what a restore remembers that is about to begin, and the VMID that it restores under,
    raise LawRefused if its machine is there by now; ``replaces``: but for the guest itself.
    """
    vmid = target if memory.original is None else memory.original
    only = _restored_elsewhere(service, vmid).keys() if target == vmid else None
    if only is None or only - {vmid}:
        found = _look(service, identity_of(memory), original=vmid, only=only)
        apart = {target, vmid} if replaces else {target}
        there = [one for one in found.same if one[0].vmid not in apart]
        require_none(service, there, memory.archive.volid)


def _restored_elsewhere(service: Cluster, vmid: int) -> dict[int, bool]:
    """The VMIDs under which a VMID's archives were restored as the same machine, each with whether
    that is under way; its own is among them while its own restore is.
    """
    found: dict[int, bool] = {}
    operations = service.catalog.operations
    # what replaced the guest is its machine too, and outlives it
    for operation in (*operations.find(kind="restore"), *operations.find(kind="replace")):
        try:
            memory = _RECALL[operation.kind](operation)
        except MemoryUnreadable:
            continue
        under_way = operation.state is OperationState.OPEN
        whose = operation.subject if memory.original is None else memory.original
        if whose != vmid or memory.clone or operation.subject is None:
            continue
        # one that came back under its own VMID and is over is the guest itself
        if operation.subject != vmid or under_way:
            found[operation.subject] = found.get(operation.subject, False) or under_way
    return found


# --- the other VMID -------------------------------------------------------------------------------


def require_vmid(vmid: int) -> None:
    """Raise UsageError if a number is no VMID."""
    if not LOWEST <= vmid <= HIGHEST:
        raise UsageError(
            f"{vmid} is no VMID: PVE takes {LOWEST} to {HIGHEST}", "choose another with --as"
        )


def require_unclaimed(service: Cluster, vmid: int, target: int, archived: Identity) -> None:
    """Given a guest's VMID, the one that it is to come back under and whose the archive is, raise
    Refused if that belongs to another guest, be it one that is lost now.
    """
    if _named(service, target):
        name = policy_for(service.policy, target, "").name
        why = f"the policy names it{f' ({name})' if name else ''}"
    else:
        others = [
            one.volid
            for one in service.catalog.archives.find(vmid=target)
            # its own archives under that VMID keep nobody from it: it came back there once before
            if not (archived.uuid and one.uuid == archived.uuid)
        ]
        if not others:
            return
        why = f"{i18n.names(others[:3])} is of a guest that had it"
    free = propose(service, vmid)
    raise Refused(
        f"VMID {target} is kept for another guest: {why}",
        f"choose another with --as{f', such as {free}' if free else ''}",
    )


def propose(service: Cluster, vmid: int) -> int | None:
    """Given a guest's VMID, return one after it that nobody has or is kept for, None if none was
    found.
    """
    taken = {one.vmid for one in service.restore_pve.cluster.guests()}
    free = (
        one
        for one in range(vmid + 1, vmid + 10_000)
        if one not in taken and one not in service.policy.scratch and not _named(service, one)
    )
    for _ in range(_TRIED):
        found = next(free, None)
        if found is None or found > HIGHEST:
            return None
        if not service.catalog.archives.find(vmid=found) and service.restore_pve.cluster.vmid_free(
            found
        ):
            return found
    return None


def _named(service: Cluster, vmid: int) -> bool:
    policy = service.policy
    return vmid in policy.guests or any(vmid in (job.guests or ()) for job in policy.jobs)
