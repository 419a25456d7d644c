"""``backupsvc recover``: bring the guests of a lost node, or of a lost storage, back, by the plan of ``what-if``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.driving import EnqueueOption, FollowOption
from backupsvc.cli.options import AsJson
from backupsvc.errors import Refused, UsageError

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.operations.recover.memory import RecoverMemory
    from backupsvc.report.recover import Ahead
    from policies.model import Operation

OfNode = Annotated[str | None, typer.Option("--node", help="This node is lost.")]
OfStorage = Annotated[
    str | None,
    typer.Option("--storage", help="This storage is lost, on nodes that live."),
]
Confirm = Annotated[
    str | None,
    typer.Option(
        "--confirm",
        metavar="WORDS",
        help='That the node is off, as you saw: "NODE is off", or "STORAGE is lost". Without it you '
        "are asked.",
    ),
]
Step = Annotated[bool, typer.Option("--step", help="Stop after each guest.")]
WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait/--no-wait",
        help="Wait for quorum, and for VMIDs that you must free; else end there.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and how long.")]


def recover(
    node: OfNode = None,
    storage: OfStorage = None,
    confirm: Confirm = None,
    step: Step = False,
    wait: WaitOption = True,
    enqueue: EnqueueOption = False,
    follow: FollowOption = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring back the guests of a node or of a storage that is lost, the most urgent first, by the plan
    that `what-if` tells: one restore at a time on each node. Killed, it goes on where it was.

    Nothing begins before somebody has said in words that the node is off, or the storage lost. What only a person may do
    (free a VMID, give quorum) is said with its commands, and waited for. Exit 0 if every guest of
    the most urgent tiers is back and its checks passed, else 1.
    """
    from backupsvc.cli.driving import announce, check_options, workers_in
    from backupsvc.cli.session import open_service
    from backupsvc.operations import opening
    from backupsvc.operations.recover.memory import named
    from backupsvc.operations.recover.opening import left_alone, open_recovery
    from backupsvc.report.recover import look_ahead

    check_options(enqueue, follow, dry_run)
    if bool(node) is bool(storage):
        raise UsageError(
            "either a node is lost, or a storage", "name it: --node NODE, or --storage STORAGE"
        )
    with open_service(enqueue=enqueue) as service:
        operation = None if dry_run else left_alone(service, named(node or "", storage or ""))
        told: dict[str, Any] = {}
        if operation is not None:
            _go_on(operation)
        else:
            ahead = look_ahead(service, node or "", storage or "")
            if dry_run:
                _foreseen(ahead, as_json)
                raise typer.Exit(4 if ahead.online else 0 if ahead.well else 1)
            memory = _confirmed(service, ahead, confirm, step=step, wait=wait)
            opened = opening.open_all({None: lambda: open_recovery(service, memory)})
            if enqueue:
                told = announce(service, opened, follow=follow, as_json=as_json)
            (operation,) = opened.operations
        ended = _bring_to_end(service, operation, enqueue=enqueue, as_json=as_json)
        code = service.engine.kinds["recover"].exit_code(service.catalog, ended)
    _show(ended, workers_in(told), as_json)
    raise typer.Exit(code)


def _confirmed(
    service: Service, ahead: Ahead, confirm: str | None, *, step: bool, wait: bool
) -> RecoverMemory:
    """Show the plan, and return what is opened once somebody said that the node is off. Raise
    UsageError where nobody does, Refused if the node is there, typer.Exit on another answer.
    """
    from backupsvc.cli.output import ask_words, can_ask, tell
    from backupsvc.operations.recover.away import require_away
    from backupsvc.operations.recover.memory import RecoverMemory
    from backupsvc.requester import person
    from policies.recover import by_hand
    from policies.restore_guard import Confirmation

    lost, storage = ahead.lost, ahead.storage
    unsaid = Confirmation("", 0, "")
    require_away(service, RecoverMemory(ahead.node, ahead.plan, unsaid, storage=storage))
    if not ahead.plan:
        raise Refused(
            f"no guest is lost with {lost}, so there is nothing to bring back"
            if not ahead.found.hidden
            else f"no guest is seen that is lost with {lost}, and not all of it could be seen",
            "; ".join((*ahead.found.hidden, *ahead.left_over))
            or "guests whose configuration was moved away belong to no node: `backupsvc restore VMID`",
        )
    for line in _lines(ahead):
        tell(line)
    words = by_hand.gone(storage) if storage else by_hand.off(ahead.node)
    what = f"{storage} is lost for good" if storage else f"{ahead.node} is off"
    if confirm is None:
        if not can_ask():
            raise UsageError(
                f"nothing was begun: there is no terminal on which to ask whether {what}",
                f'see on the spot that it is so, and add --confirm "{words}"; --dry-run only tells',
            )
        confirm = ask_words(
            f"See on the spot (console, IPMI, power) whether {what}: a guest must never run "
            f'twice. Type "{words}" to begin'
        )
        if not by_hand.confirms(confirm, words):
            tell("nothing was begun")
            raise typer.Exit(1)
    if not by_hand.confirms(confirm, words):
        raise UsageError(
            f"nothing was begun: {confirm!r} does not say that {what}",
            f'when you have seen that it is so: --confirm "{words}"',
        )
    seen = Confirmation(person(), int(service.clock.now()), " ".join(confirm.split()))
    return RecoverMemory(
        ahead.node, ahead.plan, seen, step, wait, hidden=ahead.found.hidden, storage=storage
    )


def _bring_to_end(
    service: Service, operation: Operation, *, enqueue: bool, as_json: bool
) -> Operation:
    """Drive a recovery to its end. One that goes step by step is gone on with as long as the person
    at the terminal says so.
    """
    from backupsvc.cli.driving import bring_to_end
    from backupsvc.cli.output import ask, can_ask
    from backupsvc.cli.progress import Progress
    from backupsvc.operations import opening, retrying
    from backupsvc.operations.recover.kind import stopped_by_step

    while True:
        with Progress(quiet=as_json) as progress:
            ended = bring_to_end(service, [operation], progress, enqueue=enqueue)[0]
        if not stopped_by_step(ended) or enqueue or not can_ask():
            return ended
        if not ask(f"{ended.error}. Go on with the next guest?"):
            return ended
        planned = retrying.plan(service, ended)
        operation = opening.opened_by(partial(retrying.open_retry, service, planned))


def _go_on(left: Operation) -> None:
    """Say that a recovery which a process left is gone on with, and what it was confirmed with."""
    from backupsvc.cli.output import tell
    from backupsvc.clock import iso
    from backupsvc.operations.recover.memory import recall
    from backupsvc.operations.recover.result import summary

    memory = recall(left)
    confirmed = memory.confirmed
    tell(f"recovery {left.id} was left by a process that is gone, and is gone on with")
    tell(f"  {summary(left)}")
    tell(f'  "{confirmed.words}" was said by {confirmed.by} on {iso(confirmed.at)}')
    for line in memory.to_do:
        tell(f"  {line}")


def _lines(ahead: Ahead) -> list[str]:
    """The plan, as lines for a person."""
    from policies.i18n import duration

    told = [f"the recovery of {ahead.lost}, in this order:"]
    for order, one in enumerate(ahead.plan, 1):
        data = "" if one.at is None else f", data {duration(max(0, ahead.now - one.at), 'en')} old"
        proven = ", proven" if one.proven else ""
        takes = "" if one.seconds is None else f", about {duration(one.seconds, 'en')}"
        to = f" on {one.target}" if one.target else ""
        told.append(
            f"{order:>3}. {one.vmid} ({one.name}), {one.tier}: {_WAYS[one.way]}{to}"
            f"{f' from {one.source}' if one.source else ''}{data}{proven}{takes}"
        )
        if one.volid:
            told.append(f"     archive {one.volid}, disks to {one.storage or 'where they were'}")
        told += [f"     {sentence}" for sentence in one.reasons]
        told += [f"       {command}" for command in one.commands]
    found = ahead.found
    if found.serial:
        told.append(
            f"in {duration(found.serial, 'en')} one after the other, "
            f"{duration(found.parallel, 'en')} with all nodes at work, by measured restore tests"
        )
    if found.unmeasured:
        told.append(
            f"never measured, so not in these times: {', '.join(map(str, found.unmeasured))}"
        )
    told += [f"not seen: {sentence}" for sentence in (*found.hidden, *found.unseen)]
    if ahead.to_do:
        once = "lost" if ahead.storage else "lost and off"
        told.append(f"what you must do yourself, once {ahead.lost} is {once}:")
    return [*told, *(f"  {line}" for line in ahead.to_do), *ahead.left_over]


_WAYS = {
    "restore": "restored",
    "ha": "HA moves it by itself",
    "by-hand": "comes back by hand",
    "no-place": "NO NODE CAN TAKE IT",
    "lost": "NOTHING IS LEFT",
}


def _foreseen(ahead: Ahead, as_json: bool) -> None:
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.what_if import as_dict
    from backupsvc.operations.recover.result import guest

    if as_json:
        told = as_dict(ahead.found)
        emit_json(
            {"dry_run": True, "node": ahead.node or None, "storage": ahead.storage or None}
            | {"online": ahead.online}
            | told
            | {"well": ahead.well}
            | {
                "guests": [guest(one, order, ahead.now) for order, one in enumerate(ahead.plan, 1)],
                "to_do": list(ahead.to_do),
                "left_over": list(ahead.left_over),
            }
        )
        return
    for line in _lines(ahead):
        say(line)
    if ahead.online:
        say(f"{ahead.lost} is there: nothing would be restored in the place of its guests")


def _show(ended: Operation, workers: dict[str, Any], as_json: bool) -> None:
    """Print what came of each guest: what is back from which archive, what is not and why."""
    from backupsvc.cli.output import emit_json, say, table, tell, tell_error
    from backupsvc.operations.recover.kind import stopped_by_step
    from backupsvc.operations.recover.result import outcome
    from policies.i18n import duration
    from policies.restore_verdict import IN_WORDS, Health

    result = outcome(ended)
    if as_json:
        emit_json(result | workers)
        return
    rows = []
    for one in result["guests"]:
        source, spans = one["source"], (one["seconds"], one["expected_seconds"])
        took, expected = ("-" if span is None else duration(span, "en") for span in spans)
        age = source["age_seconds"]
        data = "-" if age is None else f"{duration(age, 'en')}"
        how = one["outcome"] or "-"
        if one["health"]:
            how += f": {IN_WORDS[Health(one['health'])]}"
        row = (one["order"], one["vmid"], one["name"], one["tier"], how)
        what = source["volid"] or source["place"] or "nothing is left"
        why = "; ".join(filter(None, (one["why"], one["hint"])))
        rows.append((*row, what, data, one["node"] or "-", took, expected, why))
    heads = ("", "VMID", "name", "tier", "outcome", "from", "data", "on", "took", "expected", "why")
    table(heads, rows)
    for one in result["guests"]:
        if one["outcome"] == "back" and one["around"]:
            say(f"guest {one['vmid']} ({one['name']}):")
            for line in one["around"]:
                say(f"  {line}")
    for one in result["guests"]:
        if one["outcome"] == "by-hand":
            say(f"guest {one['vmid']} ({one['name']}) comes back by hand, on {one['target']}:")
            for line in one["commands"]:
                say(f"  {line}")
    if error := result["error"]:
        tell_error(error["message"], error["hint"])
    if stopped_by_step(ended):
        tell(f"  -> go on with the next guest: backupsvc operations retry {ended.id}")
