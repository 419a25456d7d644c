"""Whether the VMID of a restore is free: never over a guest that exists (law 1)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from backupsvc.errors import LawRefused, PveError, PvePermissionDenied, PveUnreachable
from backupsvc.inventory import listing, wholeness
from backupsvc.operations.restore import twins
from backupsvc.operations.services import Nodes
from policies import i18n, reach
from policies.compliance.recovery import Remains, recovery_steps
from policies.guest_policy import policy_for
from policies.i18n.sentences import Steps
from policies.model import Guest, GuestType, OperationState

_OVER = frozenset({OperationState.FAILED, OperationState.CANCELLED})


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
        before = service.catalog.operations.find(kind="restore", subject=vmid)
        # of those that are over: the rest of one that is open is its own to deal with
        made = [upid for one in before if one.state in _OVER and (upid := one.book.upid("restore"))]
        upid = made[0] if made else None  # newest first
        why = service.restore_pve.stubs().why_not(found.node, vmid, upid)
        if upid and why is None:
            return Rest(found.node, upid)
        why = why or "no restore of this service left it"
        past = "; ".join(filter(None, (why, wholeness.past_of(service, vmid))))
        raise LawRefused(
            1,
            f"VM {vmid} on {found.node} is only the rest of a restore, without any disk, and is "
            f"left alone: {past}",
            f"if no restore of it runs, remove it there with `qm destroy {vmid}`, then restore "
            "again",
        )
    if found:
        beside, state = "", found.status
        if state == "unknown" and found.type is GuestType.QEMU:
            state = "in a state that nobody knows"
            # the node itself may know what the cluster does not
            with suppress(PveError, PvePermissionDenied, PveUnreachable):
                state = service.pve.guests.status(found.node, vmid).status
        if (free := twins.propose(service, vmid)) is not None:
            beside = (
                f"; to have it back beside that one use `backupsvc restore {vmid} --as {free} "
                "--clone` (MAC addresses of its own, links down, not started)"
            )
        raise LawRefused(
            1,
            f"guest {_named(service, found)} exists on {found.node} and is {state}; an existing guest "
            "is never overwritten",
            f"to prove its archive use `backupsvc restore-test {vmid}`; to replace it, first "
            f"remove the guest in PVE yourself{beside}",
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
    held = [one for one in seen.listed if one.vmid == guest.vmid and one.size > 0 and not one.unfit]
    alive = [node.name for node in service.restore_pve.cluster.nodes() if node.online]
    newest = max(held, key=lambda one: one.ctime, default=None)
    managed = (
        [f"{'ct' if guest.type is GuestType.LXC else 'vm'}:{guest.vmid}"] if guest.ha_state else []
    )
    remains = Remains(
        alive, quorate(service), [(guest.vmid, newest)] if newest else [], newest is None, managed
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


def quorate(service: Nodes) -> bool | None:
    """Whether the cluster is quorate, None if it is none, or if the token may not know."""
    try:
        return service.restore_pve.cluster.status().quorate
    except PvePermissionDenied:
        return None
