"""Bring the guests of a lost node back, by the plan that a person saw.

It restores nothing itself: it opens ``restore`` operations, each once (law 9), through the same
questions that a restore by hand is asked, and what these refuse is how that guest ended. A guest
that is anywhere in the cluster's configuration is never restored over (law 1): what only a person
may do (free a VMID, give quorum) is said with its commands, and waited for.

Whoever ends it early ends no restore that runs: that is waited for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from backupsvc.clock import iso
from backupsvc.engine.context import CancelAsked, Handler, Wait
from backupsvc.errors import OperationFailed, OutOfReach
from backupsvc.operations.recover import away, children
from backupsvc.operations.recover.memory import RecoverMemory
from backupsvc.operations.restore.absence import quorate
from backupsvc.operations.services import Run, StepServices
from policies import restore_guard
from policies.i18n import names
from policies.model import Guest
from policies.recover import by_hand, turns
from policies.recover.plan import Planned, Way
from policies.recover.turns import Outcome, Seat
from policies.workflow import Workflow

ASK_AGAIN = 10.0  # seconds between two looks at restores, and at what a person is to do


def quorum(run: Run[RecoverMemory]) -> Wait | None:
    """See that the node is still away, and wait until PVE would restore anything."""
    if wait := _untold(run, away.look(run.service, run.memory).untold):
        return wait
    away.require_away(run.service, run.memory)
    if wait := _no_quorum(run):
        return wait
    run.memory = replace(run.memory, to_do=())
    said = run.memory.confirmed
    run.conclude(
        f'"{said.words}" was said by {said.by} on {iso(said.at)}; the cluster may be changed'
    )
    return None


def bring_back(run: Run[RecoverMemory]) -> Wait | None:
    """Open the restores whose turn it is, wait for them, and for what HA and a person do."""
    children.adopt(run)
    children.gather(run)
    running = run.memory.running
    if not running and run.memory.step and (after := _stepped(run)):
        raise CancelAsked(f"stopped after guest {after}, as asked")
    lost = away.look(run.service, run.memory)
    if lost.back:
        _cut_short(run, f"it was not begun: {run.memory.lost} is back")
        if running:
            return _wait_for(run, running)
        away.require_away(run.service, run.memory)
    if wait := _untold(run, lost.untold) or _no_quorum(run):
        return _wait_for(run, running) if running else wait
    guests = {guest.vmid: guest for guest in run.service.restore_pve.cluster.guests()}
    pending = _look(run, guests, lost.without)
    held = _begin(run, guests)
    if running := run.memory.running:
        return _wait_for(run, running)
    if held:
        steps = _steps(run, held)
        _ask(run, steps)
        if run.memory.wait:
            why = f"{names(held)} cannot be begun yet: {next(iter(held.values()))}"
            return Wait(why, most=ASK_AGAIN, least=5.0)
        for vmid, why in held.items():
            children.end(run, vmid, Outcome.NOT_DONE, why, f"{'; '.join(steps)}; {_again(run)}")
    if pending:
        return Wait(f"HA moves {names(pending)}", most=ASK_AGAIN, least=5.0)
    left = turns.cut_short(run.memory.plan, run.memory.children, run.memory.ends, "", run.now())
    run.memory = replace(run.memory, ended=(*run.memory.ended, *left), to_do=())
    run.conclude(f"{len(run.memory.back())} of {len(run.memory.plan)} guests are back")
    return None


def judge(run: Run[RecoverMemory]) -> Wait | None:
    """Say which guests are not back that could have been: then the recovery has failed, and may be
    gone on with.
    """
    ends, plan = run.memory.ends, run.memory.plan
    unfinished = [
        str(one.vmid)
        for one in plan
        if ends[one.vmid].outcome in (Outcome.FAILED, Outcome.NOT_DONE)
    ]
    said = f"{len(run.memory.back())} of {len(plan)} guests are back"
    if unfinished:
        raise OperationFailed(f"{said}, not {names(unfinished)}", _again(run), operation=run.id)
    run.conclude(said)
    return None


def settle(run: Run[RecoverMemory]) -> Wait | None:
    """Wait for the restores that run, whatever happened; what was not begun is not begun any more."""
    children.adopt(run)
    children.gather(run)
    why = run.book.error.message if run.book.error else "the recovery ended before its turn"
    _cut_short(run, f"it was not begun: {why}")
    return _wait_for(run, run.memory.running) if run.memory.running else None


def _untold(run: Run[RecoverMemory], why: str) -> Wait | None:
    """Given why it is not known whether what was lost is back, wait until it is: on what is not known
    nothing is begun (law 4).
    """
    if why and not run.memory.wait:
        raise OutOfReach(why, away.ASK_STATUS)
    return Wait(why, most=ASK_AGAIN, least=5.0) if why else None


def _no_quorum(run: Run[RecoverMemory]) -> Wait | None:
    """Wait while PVE refuses every change, having said what a person can do about it."""
    if quorate(run.service) is not False:
        return None
    nodes = run.service.restore_pve.cluster.nodes()
    alive = [one.name for one in nodes if one.online]
    dead = [run.memory.node] if run.memory.node else [one.name for one in nodes if not one.online]
    said = "the cluster has no quorum, so PVE refuses every restore"
    steps = restore_guard.quorum_steps(alive[0] if alive else "a node that lives", dead)
    if not run.memory.wait:
        raise OutOfReach(said, "; ".join(steps))
    mine = [
        (one.vmid, one.type) for one in run.memory.plan if one.way is Way.RESTORE and one.managed
    ]
    _ask(run, (f"{said}:", *steps, *by_hand.unmanage(mine)))
    return Wait(f"{said}; it goes on when quorum is back", most=ASK_AGAIN, least=5.0)


def _look(
    run: Run[RecoverMemory], guests: Mapping[int, Guest], without: Collection[str]
) -> list[int]:
    """End each guest that runs elsewhere by now, but on nodes ``without`` the storage that is lost, and
    each that HA gave up; return those that HA may still bring.
    """
    now, pending = run.now(), []
    for one in run.memory.plan:
        if one.vmid in run.memory.children or one.vmid in run.memory.ends:
            continue
        guest, node = guests.get(one.vmid), run.memory.home(one)
        found = turns.seen(one, guest, node, now, without)
        if found is None and one.way is Way.HA:
            found = turns.given_up(one, guest, node, run.passed("bring-back"), now)
            pending += [] if found else [one.vmid]
        if found:
            children.add(run, found)
    return pending


def _begin(run: Run[RecoverMemory], guests: Mapping[int, Guest]) -> dict[int, str]:
    """Begin what can be begun now; return what cannot yet, with why."""
    held: dict[int, str] = {}
    started = children.started(run)
    while one := turns.next_up(
        run.memory.plan,
        run.memory.children,
        run.memory.ends,
        held,
        started,
        alone=run.memory.step,
    ):
        run.heartbeat()
        if turns.seat(guests.get(one.vmid), run.memory.home(one)) is Seat.LEFT:
            held[one.vmid] = _left(run.memory.home(one))
        elif why := children.begin(run, one):
            held[one.vmid] = why
    return held


def _steps(run: Run[RecoverMemory], held: Mapping[int, str]) -> tuple[str, ...]:
    """What ends the waiting of guests that cannot be begun, with the commands."""
    memory = run.memory
    left = [one for one in memory.plan if held.get(one.vmid) == _left(memory.home(one))]
    commands = freeing(left, memory.node)
    mine = {one.vmid for one in left}
    others = (f"guest {vmid}: {why}" for vmid, why in held.items() if vmid not in mine)
    if not left:
        return tuple(others)
    vmids = names(one.vmid for one in left)
    homes = names(sorted({memory.home(one) for one in left}))
    said = f"free the VMIDs of {vmids}, whose configuration {homes} left; on a node that lives:"
    if memory.storage:
        said = f"free the VMIDs of {vmids}, whose disks are lost, and whose configuration is not:"
    return (said, *commands, *others)


def freeing(left: Sequence[Planned], node: str) -> tuple[str, ...]:
    """Given guests whose VMIDs are taken by what is left of them, and the node that is lost ("": it
    is a storage), return the commands that free these: what only a person may do.
    """
    managed = by_hand.unmanage((one.vmid, one.type) for one in left if one.managed)
    if node:
        return (*managed, *by_hand.free(node, ((one.vmid, one.type) for one in left)))
    commands = list(managed)
    for home in sorted({one.home for one in left}):
        mine = [(one.vmid, one.type) for one in left if one.home == home]
        commands += [f"# on {home}:", *by_hand.stop(mine), *by_hand.free(home, mine)]
    return tuple(commands)


def _left(node: str) -> str:
    return f"{node} left its configuration, so its VMID is taken"


def _ask(run: Run[RecoverMemory], steps: tuple[str, ...]) -> None:
    """Tell a person what is to be done: once, until it is something else."""
    if steps != run.memory.to_do:
        run.memory = replace(run.memory, to_do=steps)
        run.note("asked", steps=list(steps))
        for line in steps:
            run.say(line)


def _wait_for(run: Run[RecoverMemory], running: tuple[Planned, ...]) -> Wait:
    ids = [run.memory.children[one.vmid] for one in running]
    why = f"guest {names(one.vmid for one in running)} is being restored"
    if not run.foreground:
        return Wait(why, most=ASK_AGAIN, least=5.0)
    # in the foreground whoever is waited behind is driven too, each in its turn
    return Wait(why, most=1.0, behind=ids[int(run.clock.monotonic()) % len(ids)])


def _stepped(run: Run[RecoverMemory]) -> int | None:
    """The guest after which a recovery that goes step by step stops, None while it goes on."""
    memory = run.memory
    own = [
        one for one in memory.ended if one.vmid in memory.children and one.vmid not in memory.kept
    ]
    if own and turns.next_up(memory.plan, memory.children, memory.ends):
        return own[-1].vmid
    return None


def _cut_short(run: Run[RecoverMemory], why: str) -> None:
    memory = run.memory
    rest = turns.cut_short(memory.plan, memory.children, memory.ends, why, run.now())
    run.memory = replace(memory, ended=(*memory.ended, *rest))


def _again(run: Run[RecoverMemory]) -> str:
    return f"go on with the rest: `backupsvc operations retry {run.id}`"


WORKFLOW = Workflow(
    "recover",
    ("quorum", "bring-back", "judge"),
    ("settle",),
    long=frozenset({"bring-back"}),  # each guest is looked at anew, and nodes may be slow to answer
)
HANDLERS: Mapping[str, Handler[StepServices, RecoverMemory]] = {
    "quorum": quorum,
    "bring-back": bring_back,
    "judge": judge,
    "settle": settle,
}
