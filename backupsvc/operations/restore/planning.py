"""What a restore would do, decided before anything happens, and whether the VMID is free for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backupsvc.errors import (
    LawRefused,
    PveError,
    PvePermissionDenied,
    PveUnreachable,
    Refused,
    UsageError,
)
from backupsvc.inventory import listing, wholeness
from backupsvc.inventory.room import before_restore
from backupsvc.operations import identity
from backupsvc.operations.restore import rights as restore_rights
from backupsvc.operations.restore.choice import Wanted, choose
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.services import Nodes, Opening
from policies import i18n, reach, whole
from policies.compliance.recovery import Remains, recovery_steps
from policies.guest_policy import policy_for
from policies.i18n.sentences import Steps
from policies.model import Archive, Guest, GuestType, Operation, OperationState
from policies.pve import guest_config
from policies.pve.guest_config import parse_config
from policies.room import disk_needs

_OVER = frozenset({OperationState.FAILED, OperationState.CANCELLED})


DEADLINE = 24 * 3600  # seconds


def plan_restore(
    service: Nodes,
    vmid: int,
    *,
    at: str | None,
    volid: str | None,
    node: str | None,
    storage: str | None,
    start: bool = True,
    newest: bool = False,
) -> RestoreMemory:
    """Given what the administrator asked for, return what a restore would do. Raise where it must
    not be done.

    Raises LawRefused when the VMID is in use or in the scratch range, Refused when the named
    archive holds no disk, or when one that was not named was changed or is of another machine (law
    10), PvePermissionDenied when the token lacks a right that PVE would miss only in mid-restore,
    NoRoom when its disks surely find no room, PveNotFound when there is no archive, UsageError when
    the archive cannot be read from the node asked for, PveUnreachable when archive or node is out
    of reach, or quorum is lost.
    """
    # first: whatever else is wrong, a guest that is there is never overwritten (law 1)
    rest = must_be_absent(service, vmid)
    chosen = choose(service, vmid, Wanted(at, volid, newest, node))
    archive = chosen.archive
    if archive.type is not GuestType.QEMU:
        raise Refused(
            f"archive {archive.volid} is of a container, and only VMs can be restored yet",
            "restore it in PVE",
        )
    where = _node_for(service, archive, node)
    text = _with_disk(service, archive, vmid, chosen.text)
    warnings = identity.refuse_unless_named(service, archive, text, named=volid is not None)
    config = parse_config(text)
    rights = restore_rights.wanted(
        service, vmid, archive.volid, where, config, storage=storage, start=start
    )
    # PVE looks at some of them in the task alone, and then an empty guest is left (pve-facts 7.3)
    restore_rights.require(service, vmid, rights)
    needs = disk_needs(config, storage)
    return RestoreMemory(
        archive=archive,
        node=where,
        storage=storage,
        name=config.get("name", ""),
        start=start,
        disks=tuple(sorted(guest_config.DUMPED + key for key in guest_config.dumped_disks(config))),
        missing_disks=tuple(guest_config.missing_disks(config, config)),
        left_out=_left_out(config),
        nics={key: value for key, value in config.items() if key.startswith("net")},
        passed_over=(*([rest.said(vmid)] if rest else []), *chosen.passed_over),
        cautions=chosen.cautions,
        warnings=tuple(warnings),
        rights=rights,
        needs=tuple(needs),
        room=tuple(before_restore(service.restore_pve, vmid, where, needs, archive.size)),
    )


def _with_disk(service: Nodes, archive: Archive, vmid: int, text: str | None) -> str:
    """The config in an archive, which is asked for once more where it could not be read. Raise
    Refused if it holds no disk.
    """
    if text is None:
        text = service.restore_pve.storage.extract_config(archive.node, archive.volid)
    if not whole.holds_disk(text):
        raise Refused(
            f"archive {archive.volid} of guest {vmid} holds 0 disks: restored, it would be an "
            "empty machine",
            "leave --archive out: the newest archive that holds a disk is taken then",
        )
    return text


def _left_out(config: Mapping[str, str]) -> tuple[str, ...]:
    """Given the config in an archive, return a sentence for each disk of the guest that the archive
    does not hold.
    """
    wanted = guest_config.disks_to_dump(config)
    return tuple(
        f"disk {disk} is not in the archive "
        f"({'it was not dumped' if disk in wanted else 'excluded from the backup: backup=0'}), so "
        "the guest comes back without it"
        for disk in guest_config.missing_disks(config, config)
    )


def open_restore(service: Opening, vmid: int, planned: RestoreMemory) -> Operation | None:
    """Given a plan, open the restore that carries it out."""
    return service.engine.open("restore", vmid, planned, timeout_s=DEADLINE)


@dataclass(frozen=True, slots=True)
class Rest:
    """What our own failed restore left: the node, and the restore's task."""

    node: str
    upid: str

    def said(self, vmid: int) -> str:
        """Return the sentence for the reader."""
        return (
            f"VM {vmid} on {self.node} is the empty rest of our own failed restore, and is "
            "removed first (law 1, exception a)"
        )


def _our_rest(service: Nodes, vmid: int, node: str) -> tuple[Rest | None, str]:
    """Return the rest if law 1's exception (a) holds for what is under that VMID, else why not."""
    before = service.catalog.operations.find(kind="restore", subject=vmid)
    upids = [upid for one in before if one.state in _OVER and (upid := one.book.upid("restore"))]
    upid = upids[0] if upids else None  # newest first
    why = service.restore_pve.stubs().why_not(node, vmid, upid)
    return (
        (Rest(node, upid), "")
        if upid and why is None
        else (None, why or "no restore of this service left it")
    )


def must_be_absent(service: Nodes, vmid: int) -> Rest | None:
    """Return None if nobody has the VMID, or what our own failed restore left there. Raise
    LawRefused for anything else.
    """
    if vmid in service.policy.scratch:
        raise LawRefused(
            1,
            f"VMID {vmid} lies in the scratch range, where restored copies come and go",
            "choose a VMID outside it",
        )
    found: Guest | None = next(
        (guest for guest in service.restore_pve.cluster.guests() if guest.vmid == vmid), None
    )
    if found and (how := reach.down(service.restore_pve.cluster.nodes()).get(found.node)):
        raise _of_silent_node(service, found, how)
    if found and wholeness.rest_of_a_restore(service.restore_pve, found):
        rest, why = _our_rest(service, vmid, found.node)
        if rest:
            return rest
        past = "; ".join(filter(None, (why, wholeness.past_of(service, vmid))))
        raise LawRefused(
            1,
            f"VM {vmid} on {found.node} is only the rest of a restore, without any disk, and is "
            f"left alone: {past}",
            f"if no restore of it runs, remove it there with `qm destroy {vmid}`, then restore "
            "again",
        )
    if found:
        raise LawRefused(
            1,
            f"guest {_named(service, found)} exists on {found.node} and is "
            f"{_state(service, found)}; an existing guest is never overwritten",
            f"to prove its archive use `backupsvc restore-test {vmid}`; to replace it, first "
            "remove the guest in PVE yourself",
        )
    # a list leaves out what the token may not see; this answer does not (pve-facts 8.3)
    if not service.restore_pve.cluster.vmid_free(vmid):
        raise LawRefused(
            1,
            f"VMID {vmid} is in use, by a guest that this token may not see",
            "look at it in PVE as an administrator",
        )
    return None


def _of_silent_node(service: Nodes, guest: Guest, how: str) -> LawRefused:
    """A guest of a node that does not answer may run there: its VMID stays taken until a human has
    seen that the node is off.
    """
    seen = listing.survey(service, guest.vmid)
    quorate = _quorate(service)
    held = [one for one in seen.listed if one.vmid == guest.vmid and one.size > 0 and not one.unfit]
    alive = [node.name for node in service.restore_pve.cluster.nodes() if node.online]
    newest = max(held, key=lambda one: one.ctime, default=None)
    managed = (
        [f"{'ct' if guest.type is GuestType.LXC else 'vm'}:{guest.vmid}"] if guest.ha_state else []
    )
    remains = Remains(
        alive, quorate, [(guest.vmid, newest)] if newest else [], newest is None, managed
    )
    steps = Steps(recovery_steps(guest.node, remains))
    silent = "is offline" if how == reach.OFFLINE else "does not answer, and its status is unknown"
    return LawRefused(
        1,
        f"guest {_named(service, guest)} belongs to node {guest.node}, which {silent}: whether it "
        "still runs there is not known, so nothing is restored in its place",
        str(i18n.rendered(steps, i18n.ENGLISH, service.policy.timezone)).replace("\n", " "),
    )


def _named(service: Nodes, guest: Guest) -> str:
    """A guest whose pvestatd is silent has no name in the cluster's list; the policy may know
    it.
    """
    name = guest.name or policy_for(service.policy, guest.vmid, "").name
    return f"{guest.vmid} ({name})" if name else str(guest.vmid)


def _state(service: Nodes, guest: Guest) -> str:
    """What the cluster says, or the node itself where the cluster does not know."""
    if guest.status != "unknown" or guest.type is not GuestType.QEMU:
        return guest.status
    try:
        return service.pve.guests.status(guest.node, guest.vmid).status
    except (PveError, PvePermissionDenied, PveUnreachable):
        return "in a state that nobody knows"


def _node_for(service: Nodes, archive: Archive, asked: str | None) -> str:
    """The node to restore on. Raise UsageError if the one asked for cannot read the archive,
    PveUnreachable if the node cannot be asked, or if the cluster has lost quorum.
    """
    if asked not in (None, archive.node) and not archive.shared:
        raise UsageError(
            f"archive {archive.volid} lies on {archive.node}, in a storage that {asked} does not "
            "share",
            f"restore on {archive.node}, or copy the archive to {asked} first",
        )
    node = asked or archive.node
    nodes = service.restore_pve.cluster.nodes()
    down = reach.down(nodes)
    if node in down:
        raise PveUnreachable(
            f"node {node} is {'offline' if down[node] == reach.OFFLINE else 'silent'}: nothing "
            "can be restored there now",
            "name another with --node, of those that answer: "
            f"{i18n.names(one.name for one in nodes if one.online) or 'none'}",
        )
    # None: there is no cluster, or the token may not ask, and neither is a reason to refuse
    if down and _quorate(service) is False:
        raise PveUnreachable(
            f"the cluster has lost quorum ({i18n.names(down)} is silent), so PVE refuses every "
            "restore",
            f"bring {i18n.names(down)} back; if it is lost, and off, give the rest quorum on "
            f"{node}: pvecm expected 1",
        )
    return node


def _quorate(service: Nodes) -> bool | None:
    """Whether the cluster is quorate, None if it is none, or if the token may not know."""
    try:
        return service.restore_pve.cluster.status().quorate
    except PvePermissionDenied:
        return None
