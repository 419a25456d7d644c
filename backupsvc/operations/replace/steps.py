"""Replace a guest that is there: a safety backup, the restored one beside it with its links down, its
checks, and only then the switch. Nothing is destroyed, and the two are never on the network together.

What may be done next is decided right before each effect (``policies.replace_guard``, held in
``backupsvc/pve/replacing.py``). Whatever goes wrong before the end, the cleanup is the way back
(``way_back.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backupsvc.engine.context import Handler, Wait
from backupsvc.errors import OperationFailed, Refused
from backupsvc.inventory.room import before_restore
from backupsvc.operations import choosing, identity
from backupsvc.operations.backup.memory import recall as recall_backup
from backupsvc.operations.backup.opening import open_backup
from backupsvc.operations.replace import moving, planning, way_back
from backupsvc.operations.replace.memory import ReplaceMemory
from backupsvc.operations.replace.pair import change, pair, power
from backupsvc.operations.restore import checking, obstacles, twins
from backupsvc.operations.restore import rights as restore_rights
from backupsvc.operations.restore import steps as restoring
from backupsvc.operations.restore.absence import must_be_absent
from backupsvc.operations.services import Run, StepServices
from policies import replace_guard
from policies.check_kinds import NETWORK_KINDS
from policies.jobs import Expected
from policies.model import Operation, OperationState
from policies.replace_guard import Links, Power
from policies.workflow import Workflow


def choose(run: Run[ReplaceMemory]) -> Wait | None:
    """Look once more at all that may have changed since it was planned; a lost quorum is waited
    for.
    """
    service, memory = run.service, run.memory
    if lost := obstacles.without_quorum(service, memory.node):
        return Wait(f"{lost.message}; it goes on when quorum is back", most=5.0, least=5.0)
    if must_be_absent(service, run.vmid):
        raise Refused(
            f"VMID {run.vmid} holds the rest of a failed restore", "choose another with --as"
        )
    old = planning.look_at_old(service, memory.old)
    planning.require_same(service, memory, old)
    if not replace_guard.fits(
        replace_guard.name_to_type(memory.old, memory.old_name), memory.old, old.guest.name
    ):
        raise Refused(
            f"guest {memory.old} has another name by now than the one that was typed",
            "plan it anew",
        )
    archive = choosing.chosen(service, memory.archive)
    # what has warnings was named by somebody who was told of them
    if archive.changed and not memory.warnings:
        raise Refused(
            identity.was_changed(archive),
            f"name it with --archive {archive.volid} if it is the one that you want",
        )
    restore_rights.require(service, run.vmid, memory.rights)
    planning.require_rights(service, memory.old, old)
    planning.require_ha(service, memory.old, run.vmid, old)
    twins.seen_before(service, memory, run.vmid, replaces=True)
    room = before_restore(service.restore_pve, run.vmid, memory.node, memory.needs, archive.size)
    run.memory = replace(memory, room=tuple(room), old_node=old.guest.node)
    choosing.pin(service, archive, run.fence(), run.now())
    way_back.note_who(run)
    run.conclude(archive.volid)
    return None


def secure(run: Run[ReplaceMemory]) -> Wait | None:
    """Back the old guest up, and keep that archive: whatever comes, its state of now is not lost."""
    service, memory = run.service, run.memory
    child = _safety_backup(run)
    if child.state is OperationState.OPEN:
        return way_back.wait_for_child(run, child)
    made = recall_backup(child)
    if child.state is not OperationState.DONE or made.archive is None or made.lacking:
        why = child.error or "; ".join(made.lacking) or "it left no archive"
        raise OperationFailed(
            f"the safety backup of guest {memory.old} did not end well, so nothing was begun: {why}",
            f"see it with `backupsvc operations show {child.id}`",
            operation=run.id,
        )
    run.memory = replace(run.memory, saved=made.archive)
    choosing.pin(service, made.archive, run.fence(), run.now())
    run.conclude(made.archive.volid)
    return None


def _safety_backup(run: Run[ReplaceMemory]) -> Operation:
    """The safety backup, opened once (law 9)."""
    service, memory = run.service, run.memory
    if memory.safety and (found := service.catalog.operations.get(memory.safety)):
        return found
    key = f"{run.operation.occurrence}#safety"
    job = next((one for one in service.policy.jobs if one.id == memory.job), None)
    guest = next((one for one in service.pve.cluster.guests() if one.vmid == memory.old), None)
    if job is None or guest is None:
        raise OperationFailed(
            f"guest {memory.old} or its job {memory.job} is gone", "plan it anew", operation=run.id
        )
    opened = open_backup(service, job, Expected(memory.old, guest), key, run.fence())
    found = opened or service.catalog.operations.by_occurrence(key)
    if found is None:
        raise OperationFailed(
            f"the safety backup of guest {memory.old} could not be opened", operation=run.id
        )
    run.memory = replace(memory, safety=found.id)
    return found


def read_back(run: Run[ReplaceMemory]) -> Wait | None:
    """See that the new guest is there with its disks, is the machine, and that its links are down."""
    restoring.read_back(run)
    seen = pair(run).new()
    if seen.side.links is not Links.DOWN or not seen.mine or seen.config.get("onboot", "0") != "0":
        raise OperationFailed(
            f"guest {run.vmid} is restored, and is not apart from guest {run.memory.old}: its links "
            f"are {seen.side.links}, or it starts at boot",
            f"look at guest {run.vmid} in PVE; guest {run.memory.old} was not touched",
            operation=run.id,
        )
    return None


def start(run: Run[ReplaceMemory]) -> Wait | None:
    """Start the new guest, whose links are down, beside the old one."""
    if "start-new" not in run.book.tasks and pair(run).new().side.power is Power.RUNNING:
        return None
    return power(run, "start-new", "qmstart", run.memory.node, run.vmid, pair(run).start_new)


def check(run: Run[ReplaceMemory]) -> Wait | None:
    """Ask the new guest what can be asked without a network. Where it fails, the old one goes on as
    if nothing had been.
    """
    wanted = checking.wanted_of(run)
    here = tuple(one for one in wanted.checks if one.kind not in NETWORK_KINDS)
    if wait := checking.ask(run, replace(wanted, checks=here)):
        return wait
    memory = run.memory
    found = tuple(memory.checks.values())
    # the time of the second asking counts from its own beginning
    run.memory = replace(memory, before=found, checks={}, unsure={}, alive=None)
    ready = replace_guard.readiness(
        found, simulated=memory.simulated, accepted=memory.accept_unchecked
    )
    if not ready.ready:
        raise OperationFailed(
            f"the new guest {run.vmid} did not take the place of guest {memory.old}, which was not "
            f"touched: {ready.said}",
            f"guest {run.vmid} is left shut down with its links down; look at it there",
            operation=run.id,
        )
    run.conclude(ready.said)
    return None


def shut_down(run: Run[ReplaceMemory]) -> Wait | None:
    """Shut the old guest down; switch it off only if that was allowed."""
    memory, both = run.memory, pair(run)
    seen = both.old()
    if not memory.cut:
        # hours may have passed since it was typed
        typed = replace_guard.name_to_type(memory.old, memory.old_name)
        if not replace_guard.fits(typed, memory.old, seen.config.get("name", "")):
            raise Refused(
                f"guest {memory.old} has another name by now than the one that was typed, and was not "
                "shut down",
                "plan it anew",
            )
        run.memory = memory = replace(
            memory, cut=True, ran=seen.side.power is Power.RUNNING, old_node=seen.node
        )
        run.save()
    if seen.side.power is Power.STOPPED and "shut-down" not in run.book.tasks:
        return None
    return way_back.shut_down(run, "shut-down", memory.old, seen, both.shut_down_old, both.stop_old)


def pull(run: Run[ReplaceMemory]) -> Wait | None:
    """Take the old guest's links down, and its start at boot away."""
    seen = pair(run).old()
    if wait := way_back.while_locked(run, run.memory.old, seen):
        return wait
    if run.memory.was is None:
        # first: the way back needs it, whoever goes it
        run.memory = replace(run.memory, was=replace_guard.wiring(seen.config))
    change(run, pair(run).pull_old, lambda: not replace_guard.cut(pair(run).old().config))
    return None


def connect(run: Run[ReplaceMemory]) -> Wait | None:
    """Bring the new guest's links up: the old one is off, and stays off the network."""
    seen, wanted = pair(run).look(), run.memory.archived
    # a backup of PVE's own lets a guest that is off run for as long as it takes (pve-facts 3.4)
    for vmid, one in ((run.vmid, seen.new), (run.memory.old, seen.old)):
        if wait := way_back.while_locked(run, vmid, one):
            return wait
    change(
        run,
        lambda: pair(run).connect_new(wanted),
        lambda: not replace_guard.given_back(pair(run).new().config, wanted),
    )
    return None


def verify(run: Run[ReplaceMemory]) -> Wait | None:
    """Ask all of its checks, now that it is on the network."""
    return checking.ask(run, checking.wanted_of(run))


WORKFLOW = Workflow(
    "replace",
    (
        *("choose", "secure", "restore", "read-back", "start", "check"),
        *("hold", "shut-down", "pull", "connect", "verify", "watch", "move"),
    ),
    way_back.CLEANUP,
    long=frozenset({"watch"}),
)
HANDLERS: Mapping[str, Handler[StepServices, ReplaceMemory]] = {
    "choose": choose,
    "secure": secure,
    "restore": restoring.restore,
    "read-back": read_back,
    "start": start,
    "check": check,
    "hold": moving.hold,
    "shut-down": shut_down,
    "pull": pull,
    "connect": connect,
    "verify": verify,
    "watch": checking.watch,
    "move": moving.move,
    **way_back.HANDLERS,
}
