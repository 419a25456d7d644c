"""``backupsvc backup``: run a job now, here or by the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.driving import EnqueueOption, FollowOption
from backupsvc.cli.options import AsJson, Guests
from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.operations.opening import Opened
    from policies.model import Job

app = typer.Typer(no_args_is_help=True)

JobName = Annotated[
    str | None,
    typer.Argument(help="The job's id in the policy; needed only when there are several."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be backed up, and where.")]
_NOT_RUN: dict[str, Any] = {
    "excluded_disks": [],
    "warnings": [],
    "findings": [],
    "consistency_reason": "",
    "seconds": 0.0,
} | dict.fromkeys(
    (
        "node",
        "operation",
        "archive",
        "verified",
        "consistency",
        "freeze",
        "file_systems",
        "exitstatus",
    )
)


@app.callback()
def _group() -> None:
    pass


@app.command()
def run(
    job: JobName = None,
    vmid: Guests = None,
    enqueue: EnqueueOption = False,
    follow: FollowOption = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Back up the guests of a job now. Exit 1 if any has no new archive, or a corrupt one, or was
    left frozen.
    """
    from backupsvc.cli.driving import announce, check_options, workers_in
    from backupsvc.cli.output import emit_json, tell
    from backupsvc.cli.progress import Progress
    from backupsvc.cli.session import open_service
    from backupsvc.inventory.room import warnings

    check_options(enqueue, follow, dry_run)
    with open_service(enqueue=enqueue) as service:
        jobs = {one.id: one for one in service.policy.jobs}
        name = next(iter(jobs)) if job is None and len(jobs) == 1 else job
        if name is None or name not in jobs:
            asked = (
                f"there is no job {name!r} in the policy"
                if name
                else "the policy has several jobs: name one"
            )
            raise UsageError(asked, f"its jobs are: {', '.join(sorted(jobs)) or 'none'}")
        chosen = jobs[name]
        room = warnings(service, chosen, vmid or [])
        # said before anything is written, and nobody is kept from a backup by it
        for sentence in room:
            tell(f"backupsvc: WARNING: {sentence}")
        if dry_run:
            _preview(service, chosen, vmid or [], as_json, room)
            return
        opened = _open(service, chosen, vmid or [])
        told = announce(service, opened, follow=follow, as_json=as_json) if enqueue else {}
        with Progress(quiet=as_json) as progress:
            result = _run(service, chosen, opened, progress, enqueue=enqueue)
    if as_json:
        emit_json(result | {"room": room} | workers_in(told))
    else:
        _show(result)
    raise typer.Exit(exit_code(result))


def run_job(service: Service, job: Job, only: list[int], observer: Any) -> dict[str, Any]:
    """Given a job, run it to its end and return what ``backup run --json`` prints."""
    return _run(service, job, _open(service, job, only), observer, enqueue=False)


def _open(service: Service, job: Job, only: list[int]) -> Opened:
    """Open a backup for each guest that the job expects. One that cannot be opened keeps no other
    from its backup.
    """
    from functools import partial

    from backupsvc.operations import opening
    from backupsvc.operations.backup.opening import open_backup
    from policies.jobs import expected

    found = expected(job, service.policy, service.pve.cluster.guests(), only)
    return opening.open_all({item.vmid: partial(open_backup, service, job, item) for item in found})


def _run(
    service: Service, job: Job, opened: Opened, observer: Any, *, enqueue: bool
) -> dict[str, Any]:
    from backupsvc.cli.driving import bring_to_end
    from backupsvc.clock import iso
    from backupsvc.operations.backup.result import backup_outcome

    # where workers do it, it began when it was asked for and not when this process looks
    started = min(
        (operation.created for operation in opened.operations), default=service.clock.now()
    )
    ended = bring_to_end(service, opened.operations, observer, enqueue=enqueue)
    guests = [backup_outcome(operation) for operation in ended]
    for vmid, error in opened.refused:
        # one that could not be opened has every key that the others have
        said = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
        guests.append({"vmid": vmid or 0, "name": "", "status": "failed"} | _NOT_RUN | said)
    return {
        "job": job.id,
        "storage": job.storage,
        "started": iso(started),
        "ended": iso(service.clock.now()),
        "good": bool(guests)
        and all(guest["status"] != "failed" and not guest["findings"] for guest in guests),
        "guests": sorted(guests, key=lambda guest: int(guest["vmid"])),
    }


def exit_code(result: dict[str, Any]) -> int:
    """Given a job's result, return 0 if all is good, 3 or 4 if nothing could be done for that one
    reason, else 1.
    """
    if result["good"]:
        return 0
    codes = {guest["exit_code"] for guest in result["guests"]}
    return codes.pop() if codes in ({3}, {4}) else 1


def _preview(service: Service, job: Job, only: list[int], as_json: bool, room: list[str]) -> None:
    from backupsvc.cli.output import emit_json, say, table
    from policies import reach
    from policies.guest_policy import policy_for
    from policies.jobs import expected

    found = expected(job, service.policy, service.pve.cluster.guests(), only)
    down = reach.down(service.pve.cluster.nodes())
    guests: list[dict[str, Any]] = [
        {
            "vmid": item.vmid,
            "name": (item.guest.name or policy_for(service.policy, item.vmid, "").name)
            if item.guest
            else "",
            "node": item.guest.node if item.guest else None,
            "reachable": item.guest is not None and item.guest.node not in down,
        }
        for item in found
    ]
    if as_json:
        emit_json(
            {"job": job.id, "storage": job.storage, "dry_run": True, "guests": guests, "room": room}
        )
        return
    where = {node: f"{node} ({how})" for node, how in down.items()} | {None: "NOT IN THE CLUSTER"}
    rows = [(g["vmid"], g["name"], where.get(g["node"], g["node"])) for g in guests]
    table(("VMID", "name", "node"), rows, f"job {job.id} would back up to {job.storage}:")
    for node in down:
        struck = ", ".join(str(g["vmid"]) for g in guests if g["node"] == node)
        if struck:
            say(
                f"not now: {struck}: node {node} cannot be asked ({down[node]}); bring it back "
                "first"
            )


def _show(result: dict[str, Any]) -> None:
    from backupsvc.cli.output import say, size, table

    rows = [
        (
            guest["vmid"],
            guest["name"],
            guest["node"],
            guest["status"],
            size(guest["archive"]["size"]) if guest["archive"] else None,
            guest["archive"]["rung"] if guest["archive"] else None,
            guest["consistency"],
            f"{guest['seconds']:.1f}",
        )
        for guest in result["guests"]
    ]
    table(("VMID", "name", "node", "backup", "size", "rung", "consistency", "seconds"), rows)
    # each error once, after all the guests that it struck
    struck: dict[tuple[str, str], list[str]] = {}
    for guest in result["guests"]:
        if guest["error"]:
            struck.setdefault((guest["error"], guest["hint"] or ""), []).append(str(guest["vmid"]))
    for (error, hint), whom in struck.items():
        say(f"{', '.join(whom)}: {error}")
        if hint:
            say(f"  -> {hint}")
    for guest in result["guests"]:
        for text in guest["warnings"]:
            say(f"{guest['vmid']}: {text}")
        if guest["consistency_reason"]:
            say(f"{guest['vmid']}: {guest['consistency']}: {guest['consistency_reason']}")
        for disk in guest["excluded_disks"]:
            say(f"{guest['vmid']}: disk {disk} is excluded from the backup")
