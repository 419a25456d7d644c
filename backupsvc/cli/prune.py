"""``backupsvc prune``: apply retention, or say what it would do and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backupsvc.cli.driving import EnqueueOption, FollowOption
from backupsvc.cli.options import AsJson, GuestsArchives
from backupsvc.errors import UsageError

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show every archive, its mark and its reasons; remove nothing."),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="With --dry-run: say of each archive in words what would happen to it and why, "
        "and what PVE's own dry run says.",
    ),
]


def prune(
    vmid: GuestsArchives = None,
    enqueue: EnqueueOption = False,
    follow: FollowOption = False,
    dry_run: DryRun = False,
    explain: Explain = False,
    as_json: AsJson = False,
) -> None:
    """Remove the archives that the policy's retention does not keep. Law 3 has the last word over
    every one of them.

    What lies where nothing can be listed now is neither gone nor a reason to remove another: it is
    named, and the exit code is 3.
    """
    from backupsvc.cli.driving import check_options, drive_one
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.session import open_service
    from backupsvc.operations.prune.deciding import decision
    from backupsvc.operations.prune.opening import open_prune
    from backupsvc.operations.prune.result import foreseen, prune_exit_code, prune_outcome

    check_options(enqueue, follow, dry_run)
    if explain and not dry_run:
        raise UsageError(
            "--explain says what would happen, so it goes with --dry-run",
            "add --dry-run; afterwards `backupsvc operations show` tells what a prune did",
        )
    workers: dict[str, Any] = {}
    with open_service(enqueue=enqueue) as service:
        if dry_run:
            decided = decision(service, vmid or [], explain=explain)
            result = foreseen(decided, explain=explain)
        else:
            ended = drive_one(
                service,
                lambda: open_prune(service, vmid or []),
                enqueue=enqueue,
                follow=follow,
                as_json=as_json,
            )
            result, workers = prune_outcome(ended.operation), ended.workers
    if as_json:
        emit_json(result | workers)
    else:
        _show(result)
    raise typer.Exit(prune_exit_code(result))


def _show(result: dict[str, Any]) -> None:
    from backupsvc.cli.output import say, table, tell_error

    explained = [one for one in result["archives"] if "explanation" in one]
    for one in explained:
        say(f"guest {one['vmid'] or 'unknown'}, {one['time']}, {one['volid']} on {one['node']}:")
        say(f"  {one['explanation']}")
    # where each was told in words, a table would tell it again
    if result["archives"] and not explained:
        rows = [
            (a["vmid"], a["time"], a["node"], a["volid"], a["mark"], "; ".join(a["reasons"]))
            for a in result["archives"]
        ]
        table(("VMID", "time", "node", "archive", "mark", "reasons"), rows)
    for sentence in (
        *(one["said"] for one in result["unknown"]),
        *(f"not listed: {said}" for said in result["not_listed"]),
    ):
        say(sentence)
    if result["not_listed"]:
        say(
            "  -> bring it back, then run `backupsvc prune` again; `backupsvc pra status` says "
            "what can be done meanwhile"
        )
    if error := result["error"]:
        tell_error(error["message"], error["hint"])
    elif result["dry_run"]:
        going = sum(a["mark"] == "remove" for a in result["archives"])
        say(f"{going} of {len(result['archives'])} archives would be removed")
    else:
        say(f"{len(result['removed'])} archives removed")
