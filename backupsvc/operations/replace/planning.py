"""What a replacement would do, decided before anything happens, and what keeps it from being done."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from backupsvc.errors import BackupsvcError, LawRefused, PveNotFound, PveUnreachable, Refused
from backupsvc.operations.put_back.memory import Piece
from backupsvc.operations.replace import moving
from backupsvc.operations.replace.memory import ReplaceMemory
from backupsvc.operations.restore import planning as restoring
from backupsvc.operations.restore import rights as restore_rights
from backupsvc.operations.restore import twins
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore.planning import Plan, Wish
from backupsvc.operations.services import Nodes, Opening
from backupsvc.requester import person
from policies import lineage, reach, replace_guard
from policies import restore_rights as needs_of
from policies.check_kinds import NETWORK_KINDS
from policies.guest_policy import policy_for
from policies.jobs import job_for
from policies.model import Guest, GuestType, Operation
from policies.pve.guest_config import parse_config
from policies.pve.privileges import LOCAL_ZONE
from policies.role import Need
from policies.surroundings import Surrounding
from policies.surroundings import moving as moving_policy
from policies.surroundings.putting_back import Ended

_HIBERNATED = ("suspending", "suspended")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the person allows: to go on where nothing can be asked before the switch, and to switch off
    what does not shut down.
    """

    unchecked: bool = False
    force_stop: bool = False


@dataclass(frozen=True, slots=True)
class ReplacePlan:
    """What a replacement would do. ``restore`` is the plan of the restore in it, with all
    ``blockers``. ``held`` is the state that HA keeps the old guest in, if it manages it; ``things``
    is what is around it, each with why it would be left to a person.
    """

    restore: Plan
    memory: ReplaceMemory
    held: str | None = None
    things: tuple[tuple[Surrounding, Ended | None], ...] = ()

    @property
    def word(self) -> str:
        """What must be typed."""
        return replace_guard.name_to_type(self.memory.old, self.memory.old_name)


@dataclass(frozen=True, slots=True)
class Old:
    """The guest that is to be replaced, its config, and the states that HA is to keep guests in."""

    guest: Guest
    config: dict[str, str]
    ha: Mapping[str, str]

    @property
    def managed(self) -> bool:
        """Whether HA may start or stop it by itself."""
        return moving_policy.managed(self.ha.get(f"vm:{self.guest.vmid}"))


def look_at_old(service: Nodes, vmid: int) -> Old:
    """Given a VMID, return the guest. Raise PveNotFound if nobody has it, PveUnreachable if its node
    does not answer, LawRefused if it is one that is never replaced, Refused if it is hibernated.
    """
    pve = service.restore_pve
    guest = next((one for one in pve.cluster.guests() if one.vmid == vmid), None)
    if guest is None:
        raise PveNotFound(
            f"guest {vmid} does not exist, so there is nothing to replace",
            f"bring it back with `backupsvc restore {vmid}`",
        )
    if guest.vmid in service.policy.scratch or guest.template or guest.type is not GuestType.QEMU:
        what = "a template" if guest.template else "no VM outside the scratch range"
        raise LawRefused(1, f"guest {vmid} is {what}, and is not replaced")
    if guest.node in reach.down(pve.cluster.nodes()):
        raise PveUnreachable(
            f"node {guest.node} of guest {vmid} does not answer: whether it runs is not known",
            f"bring {guest.node} back",
            node=guest.node,
        )
    config = pve.guests.config(guest.node, vmid)
    if (lock := config.get("lock", "")) in _HIBERNATED:
        raise Refused(
            f"guest {vmid} is hibernated (lock {lock}): its memory lies on its disk, and is lost to "
            "whoever takes its place",
            f"wake it and shut it down: `qm resume {vmid}`",
        )
    # asked by the everyday token: the one for restores need not see it
    return Old(guest, config, {one.sid: one.wanted for one in service.pve.ha.resources()})


def require_same(service: Nodes, memory: RestoreMemory, old: Old) -> str:
    """Given what is to be restored and the guest that is there, return the UUID that both have. Raise
    LawRefused unless they surely are one machine (law 10).
    """
    mine, vmid = lineage.of(old.config), old.guest.vmid
    archived = twins.identity_of(memory)
    if mine.uuid is None or mine.uuid != archived.uuid or lineage.another(archived, mine):
        raise LawRefused(
            10,
            f"archive {memory.archive.volid} is not surely of the machine that guest {vmid} is now "
            f"(SMBIOS UUID {archived.uuid or 'not known'}, and {mine.uuid or 'none'})",
            f"restore it beside that one: `backupsvc restore {vmid} --archive "
            f"{memory.archive.volid} --as N --clone`",
        )
    return mine.uuid


def look_ahead(
    service: Nodes, vmid: int, wish: Wish, allowed: Allowed, *, gather: bool = False
) -> ReplacePlan:
    """Given what the administrator asked for, return what a replacement would do; ``wish.into`` None
    takes a free VMID.

    Raises what a restore under another VMID raises, but for the guest itself, and: PveNotFound if it
    does not exist, LawRefused if it is not surely the archive's machine or is never replaced,
    PvePermissionDenied if HA manages it and cannot be told to leave it alone, Refused if HA has the
    new VMID already, no job covers it, or nothing of the new one can be asked before the switch and
    that is not ``allowed``. With ``gather`` these are blockers of the plan, as soon as there is one.
    """
    old = look_at_old(service, vmid)
    into = wish.into if wish.into is not None else twins.propose(service, vmid)
    if into is None:
        raise Refused(f"no free VMID was found for guest {vmid}", "name one with --as")
    plan = restoring.look_ahead(
        service,
        vmid,
        replace(wish, into=into, replaces=True, clone=False, start=True),
        gather=gather,
    )
    found, kept = list(plan.blockers), plan.memory
    archived, job = parse_config(plan.config), job_for(service.policy, vmid)
    uuid = ""
    try:
        uuid = require_same(service, kept, old)
        if job is None:
            raise Refused(
                f"no job of the policy covers guest {vmid}, so no safety backup can be made of it",
                "name the guest in a job",
            )
        _require_checks(service, vmid, old.guest.name, kept.simulated, allowed)
        require_rights(service, vmid, old)
        require_ha(service, vmid, into, old)
    except BackupsvcError as error:
        if not gather:
            raise
        found.append(error)
    around = moving.seen(service, vmid, into, kept.node, plan.config)
    inherited = {one.name: getattr(kept, one.name) for one in fields(kept)}
    memory = ReplaceMemory(
        **inherited
        | {
            "overrides": replace_guard.overrides(archived),
            "old_name": old.guest.name,
            "old_node": old.guest.node,
            "uuid": uuid,
            "job": job.id if job else "",
            "archived": replace_guard.wiring(archived),
            "accept_unchecked": allowed.unchecked,
            "force_stop": allowed.force_stop,
            "around": around.then,
            "around_unknown": around.why_none,
            "pieces": tuple(map(Piece, around.things)),
        }
    )
    return ReplacePlan(
        replace(plan, blockers=tuple(found)),
        memory,
        old.ha[f"vm:{vmid}"] if old.managed else None,
        tuple((one, moving.foreseen(service, one)) for one in around.things),
    )


def require_ha(service: Nodes, vmid: int, new: int, old: Old) -> None:
    """Given both VMIDs, raise Refused if HA would start the new guest as soon as it is restored,
    PvePermissionDenied if it manages the old one and cannot be told to leave that alone.
    """
    if moving_policy.managed(old.ha.get(f"vm:{new}")):
        raise Refused(
            f"HA has a resource vm:{new} already: it would start the guest that is restored there",
            f"choose another VMID with --as, or remove it: `ha-manager remove vm:{new}`",
        )
    if old.managed:
        moving.require_wish(service, vmid, "it would start it again beside the new one")


def require_rights(service: Nodes, vmid: int, old: Old) -> None:
    """Given the guest that is there, raise PvePermissionDenied unless the token may switch it off and
    take its links down, and give it all of that back.
    """
    restore_rights.require(
        service,
        vmid,
        (
            Need(f"/vms/{vmid}", "VM.Audit", "look at the guest that is replaced"),
            Need(
                f"/vms/{vmid}", "VM.PowerMgmt", "shut it down, and start it again on the way back"
            ),
            Need(f"/vms/{vmid}", "VM.Config.Network", "take its links down"),
            Need(f"/vms/{vmid}", "VM.Config.Options", "keep it from starting at boot"),
            *(
                Need(f"{LOCAL_ZONE}/{network}", "SDN.Use", f"give it {key} back")
                for key, network in needs_of.networks(old.config)
            ),
        ),
    )


def _require_checks(
    service: Nodes, vmid: int, name: str, simulated: bool, allowed: Allowed
) -> None:
    """Raise Refused if nothing can be asked of the new guest while its links are down, and nobody said
    that this is no obstacle.
    """
    asked = [
        one
        for one in policy_for(service.policy, vmid, name).checks
        if one.kind not in NETWORK_KINDS
    ]
    if allowed.unchecked or (asked and not simulated):
        return
    why = (
        "the guests are only simulated, and nothing is asked of them"
        if simulated
        else "it has no check that needs no network (kind agent)"
    )
    raise Refused(
        f"nothing can be asked of the new guest {vmid} before the old one is shut down: {why}",
        "give it such a check in the policy, or say --accept-unchecked: then it is checked only "
        "once it is on the network",
    )


def typed(memory: ReplaceMemory, now: int) -> ReplaceMemory:
    """Return the memory of a replacement whose guest's name somebody has typed at this moment."""
    return replace(memory, typed_by=person(), typed_at=now)


def open_replace(service: Opening, vmid: int, planned: ReplaceMemory) -> Operation | None:
    """Given the VMID that it restores under and a plan, open the replacement that carries it out."""
    # what it opens is ended with it, by the beginning of its occurrence
    occurrence = f"replace {planned.old} by {vmid} {secrets.token_hex(4)}"
    return service.engine.open(
        "replace", vmid, planned, occurrence=occurrence, timeout_s=restoring.DEADLINE
    )


# --- the way back, asked for ----------------------------------------------------------------------


def plan_undo(
    service: Nodes, operation: Operation, memory: ReplaceMemory, *, force_stop: bool
) -> ReplaceMemory:
    """Given a replacement that has ended, return what its undoing begins with. Raise Refused if it
    never touched the old guest, and what ``look_at_old`` raises.
    """
    untouched = Refused(
        f"replacement {operation.id} never touched guest {memory.old}, so there is nothing to undo",
        f"see what came of it with `backupsvc operations show {operation.id}`",
    )
    if operation.subject is None or (not memory.cut and memory.held is None):
        raise untouched
    old = look_at_old(service, memory.old)
    # HA was told to leave it alone, and has it again
    if not memory.cut and old.managed:
        raise untouched
    require_same(service, memory, old)
    require_rights(service, memory.old, old)
    guest = f"/vms/{operation.subject}"
    over_new = (
        Need(guest, "VM.PowerMgmt", "shut the new guest down"),
        Need(guest, "VM.Config.Network", "take its links down"),
        Need(guest, "VM.Config.Options", "keep it from starting at boot"),
    )
    restore_rights.require(service, operation.subject, over_new)
    if old.managed:
        raise Refused(
            f"HA manages guest {memory.old}: it would start and stop it while it is brought back",
            f"`ha-manager set vm:{memory.old} --state {moving_policy.IGNORED}`",
        )
    if moving_policy.managed(old.ha.get(f"vm:{operation.subject}")):
        why = "it would start it again beside the old one"
        moving.require_wish(service, operation.subject, why)
    lacking = moving.lacking_back(service, memory, operation.subject)
    return replace(
        memory,
        undo_of=operation.id,
        begun=False,
        noted=False,
        force_stop=force_stop,
        judged=None,
        left=(),
        pieces=tuple(map(Piece, lacking.things)),
        around_unknown=lacking.why_none,
    )


def open_undo(service: Opening, vmid: int, planned: ReplaceMemory) -> Operation | None:
    """Given the new guest's VMID and what is to be undone, open it."""
    return service.engine.open("replace-undo", vmid, planned, timeout_s=restoring.DEADLINE)
