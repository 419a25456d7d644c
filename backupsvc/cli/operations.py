"""``backupsvc operations``: what the service did and does, step by step; ending an operation, and
doing it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.completing import operation_ids, vmids
from backupsvc.cli.options import AsJson
from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from backupsvc.operations.retrying import Retry
    from policies.model import Operation

app = typer.Typer(no_args_is_help=True)

OneId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The operation's id, or a beginning or an end of it.",
        autocompletion=operation_ids,
    ),
]
Ids = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...", help="Ids, or beginnings or ends of them.", autocompletion=operation_ids
    ),
]
OnlyOpen = Annotated[bool, typer.Option("--open", help="Only those that have not ended.")]
Kind = Annotated[
    str | None, typer.Option("--kind", help="Only this kind, such as backup or restore-test.")
]
AboutGuest = Annotated[
    int | None, typer.Option("--vmid", help="Only those about this guest.", autocompletion=vmids)
]
State = Annotated[
    str | None, typer.Option("--state", help="Only open, done, failed, cancelled or missed ones.")
]
Reason = Annotated[
    str, typer.Option("--reason", help="Why, for its history; who asked is named there too.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")]
Enqueue = Annotated[bool, typer.Option("--enqueue", help="Leave the work to the workers.")]


@app.callback()
def _group() -> None:
    pass


@app.command("list")
def list_operations(
    only_open: OnlyOpen = False,
    kind: Kind = None,
    vmid: AboutGuest = None,
    state: State = None,
    limit: Limit = 30,
    as_json: AsJson = False,
) -> None:
    """List operations, newest first: where each stands, who drives it or when it is due, and what
    came of it.
    """
    from backupsvc.cli.output import emit_json, say, table
    from backupsvc.cli.session import open_service
    from backupsvc.operations.kinds import KINDS
    from backupsvc.operations.showing import summary
    from policies.model import OperationState

    asked = "open" if only_open and state is None else state
    if asked is not None and asked not in set(OperationState):
        raise UsageError(f"there is no state {asked!r}", f"states are: {', '.join(OperationState)}")
    if only_open and asked != "open":
        raise UsageError(f"--open does not go with --state {state}", "leave one of them out")
    with open_service() as service:
        if kind is not None and kind not in KINDS:
            raise UsageError(
                f"there is no kind of operation {kind!r}", f"kinds are: {', '.join(sorted(KINDS))}"
            )
        wanted = OperationState(asked) if asked else None
        found = service.catalog.operations.find(kind=kind, subject=vmid, state=wanted, limit=limit)
        rows = [summary(service, item) for item in found]
    if as_json:
        emit_json({"operations": rows})
        return
    if not rows:
        say(
            "no operation is open"
            if asked == "open" and (kind, vmid) == (None, None)
            else "there is no such operation"
        )
        return
    # of an open one where it stands, of any other what came of it
    cells = []
    for row in rows:
        stands = f"{row['standing']}: {row['waits']}" if row["waits"] else row["standing"]
        outcome = stands if row["state"] == "open" else row["result"]
        shown = ("id", "kind", "subject", "state", "step", "since")
        cells.append((*(row[key] for key in shown), str(outcome)))
    table(("operation", "kind", "VMID", "state", "step", "since", "driver or result"), cells)


@app.command()
def show(
    id: OneId,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Print what is new until it has ended; exit as it ended."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print every line of the logs, those of progress too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show an operation with every transition, and the PVE task logs that it kept."""
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.cli.showing import Sheet, as_dict
    from backupsvc.operations.following import watch
    from backupsvc.operations.showing import exit_code, find

    with open_service() as service:
        operation = find(service.catalog, id)
        if as_json and follow:
            # one object cannot be printed bit by bit: it comes when the operation has ended
            operation = watch(service, [operation.id], lambda event: None)[0]
        if as_json:
            emit_json(as_dict(service, operation))
        else:
            sheet = Sheet(service, whole=verbose)
            sheet.head(operation)
            operation = sheet.live(operation) if follow else sheet.history(operation)
        if follow:
            raise typer.Exit(exit_code(service.catalog, operation))


@app.command()
def cancel(
    ids: Ids,
    reason: Reason = "cancelled",
    enqueue: Enqueue = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """End open operations: whoever drives one is asked to; where nobody does, its cleanup is done
    here. Exit 1 if one failed.
    """
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.progress import Progress
    from backupsvc.cli.session import open_service
    from backupsvc.operations import cancelling
    from backupsvc.operations.job_run.result import children
    from backupsvc.operations.showing import find
    from backupsvc.requester import person

    with open_service() as service, Progress(quiet=as_json) as progress:
        service.engine.executor.observe(progress)
        # by id: two words may mean one operation, which is to be ended once
        found = {
            operation.id: operation for operation in (find(service.catalog, text) for text in ids)
        }
        planned = [
            cancelling.plan(service, operation, enqueue=enqueue) for operation in found.values()
        ]
        ended = (
            planned
            if dry_run
            else [
                cancelling.carry_out(service, item, f"{reason}, by {person()}") for item in planned
            ]
        )
        answers = []
        for item in ended:
            one: Operation = item.operation
            opened = children(service.catalog, one)
            about: dict[str, Any] = {"id": one.id, "kind": one.kind, "subject": one.subject}
            about |= {"by": str(item.by), "driver": item.driver, "state": str(one.state)}
            still = [child.id for child in opened if child.state == "open"]
            answers.append(about | {"step": one.step, "error": one.error, "children": still})
    if as_json:
        emit_json({"dry_run": dry_run, "operations": answers})
    else:
        _show_cancelled(answers, dry_run)
    # open is good, too: its driver was asked, and ends it in its own time
    raise typer.Exit(
        0 if all(answer["state"] in ("open", "cancelled") for answer in answers) else 1
    )


@app.command()
def retry(
    id: OneId,
    enqueue: Enqueue = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Do again what a failed or cancelled operation was asked to do, as a new operation. Exit as
    that one ends.
    """
    from backupsvc.cli.driving import drive_one
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.session import open_service
    from backupsvc.operations import retrying
    from backupsvc.operations.showing import find, summary

    with open_service(enqueue=enqueue) as service:
        planned = retrying.plan(service, find(service.catalog, id))
        if dry_run:
            _show_retry(planned, as_json)
            return
        # with --enqueue this ends the command: the workers do the rest
        ended = drive_one(
            service,
            lambda: retrying.open_retry(service, planned),
            planned.subject,
            enqueue=enqueue,
            as_json=as_json,
        )
        answer = summary(service, ended.operation) | {"retry_of": planned.of}
    if as_json:
        emit_json(answer)
    else:
        id, end = ended.operation.id, f"{answer['state']}: {answer['result']}"
        say(f"operation {id}, a retry of {planned.of}: {end}")
    raise typer.Exit(ended.code)


@app.command()
def undo(
    id: OneId,
    confirm_name: Annotated[
        str | None,
        typer.Option(
            "--confirm-name",
            metavar="NAME",
            help="The guest's name, where it cannot be typed at a terminal.",
        ),
    ] = None,
    force_stop: Annotated[
        bool, typer.Option("--force-stop", help="Switch off a guest that does not shut down.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take back a replacement (`restore --replace`): the new guest off the network and down, the old
    one back. No other operation has a way back.

    Asks for the guest's name, typed; what was written into the new guest since stays in it.
    """
    from backupsvc.cli.replace import must_be_answerable, undo_replacement
    from backupsvc.cli.session import open_service
    from backupsvc.operations.showing import find

    with open_service() as service:
        operation = find(service.catalog, id)
        if operation.kind == "replace":
            must_be_answerable(
                confirm_name,
                f"operation {operation.id} was not undone",
                dry_run=dry_run,
                as_json=as_json,
            )
        code = undo_replacement(
            service,
            operation,
            name=confirm_name,
            force_stop=force_stop,
            dry_run=dry_run,
            as_json=as_json,
        )
    raise typer.Exit(code)


def _show_cancelled(answers: list[dict[str, Any]], dry_run: bool) -> None:
    from backupsvc.cli.output import say, tell

    words = {
        "driver": "{driver} drives it and {is_asked} to end it",
        "here": "nobody drives it: its cleanup {is_done} here",
        "workers": "its cleanup {is_left} to the workers",
    }
    tense = {"is_asked": "would be asked", "is_done": "would be done", "is_left": "would be left"}
    past = {"is_asked": "is asked", "is_done": "was done", "is_left": "is left"}
    for answer in answers:
        about = f" of guest {answer['subject']}" if answer["subject"] is not None else ""
        how = words[answer["by"]].format(driver=answer["driver"], **(tense if dry_run else past))
        say(
            f"{answer['kind']} {answer['id']}{about}: {how}; it is {answer['state']}, at step "
            f"{answer['step']}"
        )
        if answer["state"] == "open" and not dry_run:
            tell(f"  -> see it end with `backupsvc operations show {answer['id']} --follow`")
        if answer["children"]:
            tell(
                f"  -> what it opened {'would end' if dry_run else 'ends'} with it: "
                f"{', '.join(answer['children'])}"
            )


def _show_retry(planned: Retry, as_json: bool) -> None:
    from backupsvc.cli.output import emit_json, say
    from backupsvc.cli.values import in_words, label
    from backupsvc.operations.kinds import KINDS

    written = KINDS[planned.kind].form.write(planned.memory)
    # the version of the memory's form is nothing that anybody asked for
    asked = {key: value for key, value in written.items() if key != "version"} | {
        "retry_of": planned.of
    }
    if as_json:
        kept = {
            "kind": planned.kind,
            "subject": planned.subject,
            "retry_of": planned.of,
            "asked": asked,
        }
        emit_json({"dry_run": True, "within": planned.timeout_s} | kept)
        return
    about = f" of guest {planned.subject}" if planned.subject is not None else ""
    say(f"would open a {planned.kind}{about}, as {planned.of} was asked:")
    for key, value in asked.items():
        say(f"  {label(key)}: {in_words(value)}")
