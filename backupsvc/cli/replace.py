"""``backupsvc restore --replace`` and ``backupsvc operations undo``: the commands that shut a
production guest down, which takes its name, typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from backupsvc.errors import Refused, UsageError

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.operations.replace.planning import Allowed, ReplacePlan
    from backupsvc.operations.restore.planning import Wish
    from policies.model import Operation


def replace_guest(
    vmid: int,
    wish: Wish,
    allowed: Allowed,
    *,
    name: str | None,
    enqueue: bool,
    follow: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Carry out ``restore --replace``. Raise typer.Exit with its exit code."""
    from backupsvc.cli.driving import drive_one
    from backupsvc.cli.output import emit_json, foresee, tell
    from backupsvc.cli.session import open_service
    from backupsvc.operations.replace.planning import look_ahead, open_replace, typed
    from backupsvc.operations.replace.result import plan_for_json, replace_outcome

    must_be_answerable(
        name,
        f"guest {vmid} was not replaced",
        dry_run=dry_run,
        as_json=as_json,
        note=" (--yes is not enough)",
    )
    with open_service(enqueue=enqueue) as service:
        plan = look_ahead(service, vmid, wish, allowed, gather=dry_run)
        new = plan.restore.target
        if dry_run:
            if as_json:
                emit_json({"dry_run": True} | plan_for_json(plan, new))
            else:
                foresee(_lines(plan), plan.restore.blockers)
            blockers = plan.restore.blockers
            raise typer.Exit(blockers[0].exit_code if blockers else 0)
        if plan.restore.without_quorum:
            raise plan.restore.without_quorum
        if name is None:
            for line in _lines(plan):
                tell(line)
        _require_name(name, plan.word, vmid)
        planned = typed(plan.memory, int(service.clock.now()))
        ended = drive_one(
            service,
            lambda: open_replace(service, new, planned),
            new,
            enqueue=enqueue,
            follow=follow,
            as_json=as_json,
        )
    result = replace_outcome(ended.operation)
    if as_json:
        emit_json(result | ended.workers)
    else:
        _show(result)
    raise typer.Exit(ended.code)


def undo_replacement(
    service: Service,
    operation: Operation,
    *,
    name: str | None,
    force_stop: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Given an operation, take it back; return the exit code. Raise Refused for one that has no way
    back.
    """
    from backupsvc.cli.driving import drive_one
    from backupsvc.cli.output import emit_json, say, tell, tell_error
    from backupsvc.operations.replace.memory import recall
    from backupsvc.operations.replace.planning import open_undo, plan_undo, typed
    from backupsvc.operations.replace.result import (
        UNKNOWN_JOBS,
        undo_as_dict,
        undo_in_words,
        undo_outcome,
    )
    from policies.replace_guard import name_to_type

    new = _replaced_by(operation)
    planned = plan_undo(service, operation, recall(operation), force_stop=force_stop)
    if dry_run or name is None:
        if dry_run and as_json:
            emit_json({"dry_run": True} | undo_as_dict(operation.id, new, planned))
            return 0
        out = say if dry_run else tell
        out(
            f"guest {planned.old} ({planned.old_name}) {'would be' if dry_run else 'will be'} brought back:"
        )
        for line in undo_in_words(new, planned):
            out(f"  {line}")
        if dry_run:
            return 0
    _require_name(name, name_to_type(planned.old, planned.old_name), planned.old)
    ready = typed(planned, int(service.clock.now()))
    ended = drive_one(service, lambda: open_undo(service, new, ready), new, as_json=as_json)
    result = undo_outcome(ended.operation)
    if as_json:
        emit_json(result)
    elif error := result["error"]:
        see = f"see `backupsvc operations show {ended.operation.id}`"
        tell_error(error["message"], error["hint"] or see)
    else:
        say(
            f"guest {planned.old} ({planned.old_name}) is back; guest {new} is off, with its links down"
        )
    for sentence in result["left"]:
        tell(f"backupsvc: WARNING: {sentence}")
    if why := result["surroundings_unknown"]:
        tell(f"backupsvc: WARNING: {UNKNOWN_JOBS.format(old=planned.old, why=why)}")
    for one in result["surroundings"]:
        if one["left"]:
            tell(f"backupsvc: WARNING: {one['what']}: {one['detail']}")
            for command in one["commands"]:
                tell(f"  {command}")
    return ended.code


def _replaced_by(operation: Operation) -> int:
    """Return the VMID that a replacement, which has ended, put into its guest's place. Raise Refused
    for any other operation.
    """
    from policies.model import OperationState

    if operation.kind != "replace" or operation.subject is None:
        raise Refused(
            f"operation {operation.id} is a {operation.kind}, which has no way back: only a "
            "replacement has one",
            "see what came of it with `backupsvc operations show "
            f"{operation.id}`; `backupsvc operations list --kind replace` lists those",
        )
    if operation.state is OperationState.OPEN:
        raise Refused(
            f"operation {operation.id} has not ended: it is at step {operation.step}",
            f"`backupsvc operations cancel {operation.id}` ends it, and goes its way back",
        )
    return operation.subject


def must_be_answerable(
    name: str | None, what: str, *, dry_run: bool, as_json: bool, note: str = ""
) -> None:
    """Raise UsageError, which says ``what`` did not happen, where nobody can type the guest's name,
    and nobody did beforehand. ``note`` says what does not suffice.
    """
    from backupsvc.cli.output import can_ask

    if dry_run or name is not None or (can_ask() and not as_json):
        return
    raise UsageError(
        f"{what}: it shuts a guest down, and there is no terminal on which to type its name",
        f"add --confirm-name NAME if that is decided{note}; --dry-run says what would be done",
    )


def _require_name(name: str | None, word: str, vmid: int) -> None:
    """Have the guest's name typed where it was not given. Raise UsageError if what was given is not
    it, typer.Exit if what is typed is not.
    """
    from backupsvc.cli.output import ask_words, can_ask, tell

    if name is None and can_ask():
        if ask_words(f'Type the name of guest {vmid} ("{word}") to go on').strip() == word:
            return
        tell("nothing was done")
        raise typer.Exit(1)
    if name is None or name.strip() != word:
        raise UsageError(
            f"{name!r} is not the name of guest {vmid}", f'its name is "{word}": --confirm-name'
        )


def _lines(plan: ReplacePlan) -> list[str]:
    from backupsvc.cli.restore import lines
    from backupsvc.operations.replace.result import plan_for_json

    new = plan.restore.target
    told = plan_for_json(plan, new)
    return [
        *lines(plan.restore),
        f"guest {plan.memory.old} ({plan.memory.old_name}) on {plan.memory.old_node} is replaced by it:",
        *(f"  {one}" for one in told["replaces"]["steps"]),
        *_around(told),
    ]


def _around(told: dict[str, Any]) -> list[str]:
    """What is, or was, moved with it, and what is left to be typed."""
    lines = []
    if why := told["surroundings_unknown"]:
        lines.append(f"  what is around it is not known, and not moved: {why}")
    for one in told["surroundings"]:
        lines.append(f"  {one['action']}: {one['what']}: {one['detail']}".rstrip(": "))
        if one["action"] not in ("planned", "done"):
            lines += [f"    {command}" for command in one["commands"]]
    return ["what is around it:", *lines] if lines else ["nothing is around it"]


def _show(result: dict[str, Any]) -> None:
    """Say how it ended."""
    from backupsvc.cli.output import say, tell, tell_error
    from policies.restore_verdict import IN_WORDS, Health

    about, id = result["replaced"], result["operation"]
    old, new = about["vmid"], about["by"]
    if error := result["error"]:
        tell_error(error["message"], error["hint"] or f"see `backupsvc operations show {id}`")
        if stop := about["way_back_error"]:
            tell(f"backupsvc: STOP: the way back of guest {old} did not end: {stop['message']}")
            tell(f"  -> try it again with `backupsvc operations undo {id}`, or look at both in PVE")
        elif about["switched"]:
            tell(f"guest {new} is in the place of guest {old}; `backupsvc operations undo {id}`")
        else:
            tell(f"guest {old} is {'back as it was' if about['touched'] else 'as it was'}")
    else:
        say(f"guest {old} ({about['name']}) is replaced by {new} on {result['node']}")
        say(f"{IN_WORDS[Health(result['verdict'])]}: {'; '.join(result['reasons'])}")
        for one in (*about["checks_before"], *result["checks"]):
            say(f"  {one['outcome']}: {one['name']}: {one['detail']}")
        say(f"guest {old} is off, with its links down and its disks; nothing of it was removed")
        say(f"the way back: `backupsvc operations undo {id}`")
    if about["safety_archive"]:
        say(f"its state before is in {about['safety_archive']}")
    for sentence in about["left"]:
        tell(f"backupsvc: WARNING: {sentence}")
    if about["switched"]:
        for line in _around(result):
            say(line)
        say(f"the policy's jobs go on with guest {old}: put guest {new} there in its place")
