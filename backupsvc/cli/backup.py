"""``backupsvc backup``: run a job now, in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from policies.model import Job, Policy

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def run(
    job: Annotated[str | None, typer.Argument(help="The job's id in the policy; needed only when there are several.")] = None,
    vmid: Annotated[list[int] | None, typer.Option("--vmid", help="Only this guest; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be backed up, and where.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Back up the guests of a job now. Exit 1 if any guest has no new archive, or one that is corrupt."""
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.progress import Progress
    from backupsvc.cli.session import open_service

    with open_service() as service:
        chosen = _job(service.policy, job)
        if dry_run:
            _preview(service, chosen, vmid or [], as_json)
            return
        with Progress(quiet=as_json) as progress:
            result = run_job(service, chosen, vmid or [], progress)
    if as_json:
        emit_json(result)
    else:
        _show(result)
    raise typer.Exit(exit_code(result))


def run_job(service: Service, job: Job, only: list[int], watcher: Any) -> dict[str, Any]:
    """Given a job, run it to its end and return what ``backup run --json`` prints."""
    from backupsvc.clock import iso
    from backupsvc.operations import backup

    service.engine.watcher = watcher
    started = service.clock.now()
    opened = backup.open_job(service, job, only)
    ended = service.engine.drive([operation.id for operation in opened])
    guests = [backup.outcome(operation) for operation in ended]
    return {
        "job": job.id,
        "storage": job.storage,
        "started": iso(started),
        "ended": iso(service.clock.now()),
        "good": bool(guests) and all(guest["status"] != "failed" for guest in guests),
        "guests": guests,
    }


def exit_code(result: dict[str, Any]) -> int:
    """Given a job's result, return 0 if all is good, 3 or 4 if nothing could be done for that one reason, else 1."""
    if result["good"]:
        return 0
    codes = {guest["exit_code"] for guest in result["guests"]}
    return codes.pop() if codes in ({3}, {4}) else 1


def _job(policy: Policy, name: str | None) -> Job:
    jobs = {job.id: job for job in policy.jobs}
    if name is None and len(jobs) == 1:
        return policy.jobs[0]
    if name in jobs:
        return jobs[name]
    asked = f"there is no job {name!r} in the policy" if name else "the policy has several jobs: name one"
    raise UsageError(asked, f"its jobs are: {', '.join(sorted(jobs)) or 'none'}")


def _preview(service: Service, job: Job, only: list[int], as_json: bool) -> None:
    from backupsvc.cli.output import emit_json, table
    from policies.jobs import expected

    found = expected(job, service.policy, service.pve.cluster.guests(), only)
    guests = [
        {"vmid": item.vmid, "name": item.guest.name if item.guest else "", "node": item.guest.node if item.guest else None}
        for item in found
    ]
    if as_json:
        emit_json({"job": job.id, "storage": job.storage, "dry_run": True, "guests": guests})
        return
    rows = [(g["vmid"], g["name"], g["node"] or "NOT IN THE CLUSTER") for g in guests]
    table(("VMID", "name", "node"), rows, f"job {job.id} would back up to {job.storage}:")


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
    for guest in result["guests"]:
        for text in [guest["error"], guest["hint"], *guest["warnings"]]:
            if text:
                say(f"{guest['vmid']}: {text}")
        for disk in guest["excluded_disks"]:
            say(f"{guest['vmid']}: disk {disk} is excluded from the backup")
