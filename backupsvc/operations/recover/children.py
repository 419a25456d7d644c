"""The restores that a recovery opens: each once, found again by its occurrence whoever drove it, and
gathered when they have ended.
"""

from __future__ import annotations

from dataclasses import replace

from backupsvc.catalog.operations import EndAsked
from backupsvc.engine.context import CancelAsked
from backupsvc.engine.executor import trouble_of
from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.errors import BackupsvcError, LeaseLost, Refused
from backupsvc.operations.recover.memory import RecoverMemory
from backupsvc.operations.restore import around
from backupsvc.operations.restore.choice import Wanted
from backupsvc.operations.restore.memory import recall as recall_restore
from backupsvc.operations.restore.planning import DEADLINE, Plan, Wish, look_ahead
from backupsvc.operations.services import Run
from policies.i18n import duration
from policies.model import Operation, OperationState
from policies.recover import by_hand, turns
from policies.recover.plan import Planned, Way
from policies.recover.turns import Ended, Outcome
from policies.workflow import Trouble

_ASKED = ("check", "watch")  # the steps of a restore whose guest runs already


def key(run: Run[RecoverMemory], vmid: int) -> str:
    """Given a guest, return the occurrence of its restore. The recovery has none itself: who ends it
    does not end a restore that runs.
    """
    return f"recover {run.id}#{vmid}"


def adopt(run: Run[RecoverMemory]) -> None:
    """Find the restores that a driver opened and died before it noted so."""
    for one in run.memory.plan:
        if one.way is Way.RESTORE and one.vmid not in run.memory.children:
            found = run.service.catalog.operations.by_occurrence(key(run, one.vmid))
            if found:
                _remember(run, one.vmid, found)


def gather(run: Run[RecoverMemory]) -> None:
    """End each guest whose restore has ended."""
    for one in run.memory.running:
        restore = run.service.catalog.operations.get(run.memory.children[one.vmid])
        if restore is None:
            end(run, one.vmid, Outcome.FAILED, "its restore is no longer in the catalog")
        elif restore.state is not OperationState.OPEN:
            add(run, _ended(run, one, restore))


def started(run: Run[RecoverMemory]) -> tuple[int, ...]:
    """Return the guests that are restored and started, and only asked by their checks: that keeps no
    other from being restored on their node.
    """
    found = []
    for one in run.memory.running:
        restore = run.service.catalog.operations.get(run.memory.children[one.vmid])
        if restore and restore.step in _ASKED:
            found.append(one.vmid)
    return tuple(found)


def begin(run: Run[RecoverMemory], one: Planned) -> str:
    """Given a guest whose turn it is, look at all once more and open its restore. Return why that
    must wait, "" when it was opened or the guest has ended by being refused.

    Raise LeaseLost or CancelAsked as any step may, PveError while PVE fails at itself.
    """
    busy = run.service.catalog.operations.by_exclusive_key(f"guest {one.vmid}")
    if busy and run.service.engine.attended(busy):
        return f"it has an operation at work, {busy.kind} {busy.id}"
    try:
        plan = _look(run, one)
    except LeaseLost:
        raise
    except BackupsvcError as error:
        trouble = trouble_of(error)
        if trouble is Trouble.UNAVAILABLE:
            return error.message
        if trouble is Trouble.TRANSIENT and run.retries:
            raise
        end(run, one.vmid, Outcome.NOT_DONE, error.message, error.hint)
        return ""
    if plan.without_quorum:
        return plan.without_quorum.message
    return _open(run, one, plan)


def end(
    run: Run[RecoverMemory], vmid: int, outcome: Outcome, why: str = "", hint: str = ""
) -> None:
    """Given a guest, remember how it ended, and say so."""
    add(run, Ended(vmid, outcome, run.now(), why, hint))


def add(run: Run[RecoverMemory], found: Ended) -> None:
    """Remember how a guest ended, and say so."""
    run.memory = replace(run.memory, ended=(*run.memory.ended, found))
    took = f" after {duration(found.seconds, 'en')}" if found.seconds is not None else ""
    run.note("guest-ended", vmid=found.vmid, outcome=str(found.outcome), reason=found.why or None)
    run.say(f"guest {found.vmid}: {found.outcome}{took}{f': {found.why}' if found.why else ''}")


def _look(run: Run[RecoverMemory], one: Planned) -> Plan:
    """What a restore of just that archive, to just that place, would do now. Raise whatever a restore
    by hand would be refused with, and Refused if it is not what the person saw.
    """
    wanted = Wanted(volid=one.volid, node=one.target)
    plan = look_ahead(run.service, one.vmid, Wish(wanted, one.storage))
    archive, command = plan.memory.archive, f"`backupsvc restore {one.vmid} --node {one.target}`"
    if archive.ctime != one.at:
        raise Refused(
            f"archive {one.volid} is not the one that was shown: another lies under its name now",
            f"look at it, then bring the guest back by itself: {command}",
        )
    # by its name a restore takes also what was changed: of that nobody was told
    if plan.memory.warnings:
        raise Refused(
            f"since it was shown: {'; '.join(plan.memory.warnings)}",
            f"look at it, then bring the guest back by itself: {command}",
        )
    given = by_hand.set_aside(run.memory.confirmed, run.memory.node, plan.doubts)
    plan = replace(plan, memory=replace(plan.memory, confirmed=given))
    # what nobody has confirmed: somebody answers at its address, or another node is silent too
    if plan.unconfirmed:
        raise plan.unconfirmed
    return plan


def _open(run: Run[RecoverMemory], one: Planned, plan: Plan) -> str:
    told = tuple(line.strip() for line in around.lines(around.of_plan(run.service, plan)))
    run.memory = replace(run.memory, around={**run.memory.around, one.vmid: told}, to_do=())
    run.save()  # before: whoever finds the restore that we opened knows no plan of it
    try:
        opened = run.service.engine.open(
            "restore",
            one.vmid,
            plan.memory,
            occurrence=key(run, one.vmid),
            timeout_s=DEADLINE,
            parent=run.fence(),
        )
    except EndAsked as asked:
        raise CancelAsked(asked.message) from None
    except Refused as refused:  # somebody began something with it in this moment
        return refused.message
    found = opened or run.service.catalog.operations.by_occurrence(key(run, one.vmid))
    if found is None:
        return "it has an operation at work"
    _remember(run, one.vmid, found)
    expected = "a time that was never measured" if one.seconds is None else (
        f"about {duration(one.seconds, 'en')}, as measured"
    )  # fmt: skip
    run.say(
        f"guest {one.vmid} ({one.name}) is being restored on {one.target} from {one.volid}: {expected}"
    )
    return ""


def _remember(run: Run[RecoverMemory], vmid: int, restore: Operation) -> None:
    run.memory = replace(run.memory, children={**run.memory.children, vmid: restore.id})
    run.note("opened", vmid=vmid, restore=restore.id)


def _ended(run: Run[RecoverMemory], one: Planned, restore: Operation) -> Ended:
    finished = restore.finished if restore.finished is not None else run.now()
    took, error = float(max(0, finished - restore.created)), restore.book.error
    if restore.state is OperationState.DONE:
        said = turns.first_missing(one, run.memory.ends)
        try:
            judged = recall_restore(restore).judged
        except MemoryUnreadable:
            judged = None  # how it fares is not known: that it is back is
        why = "; ".join(filter(None, (said, *(judged.reasons if judged else ()))))
        health = judged.health if judged else None
        return Ended(one.vmid, Outcome.BACK, finished, why, "", one.target, took, health)
    return Ended(
        one.vmid,
        Outcome.FAILED,
        finished,
        restore.error or str(restore.state),
        (error.hint if error else "") or f"see `backupsvc operations show {restore.id}`",
        one.target,
        took,
    )
