"""``backupsvc restore-test``: prove that guests' archives can be restored, boot and serve."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupsvc.cli.completing import vmids as known_vmids
from backupsvc.cli.driving import EnqueueOption, FollowOption
from backupsvc.cli.options import AsJson
from backupsvc.errors import UsageError

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from policies.model import Operation

Guests = Annotated[
    list[int],
    typer.Argument(
        help="The guests to test, one after the other.",
        metavar="VMID...",
        autocompletion=known_vmids,
    ),
]
At = Annotated[
    str | None, typer.Option("--at", help="Test the newest archive until this date or time.")
]
OfArchive = Annotated[str | None, typer.Option("--archive", help="Test this archive (its volid).")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say which archive would be tested, and what its copy would be and where; make "
        "nothing.",
    ),
]


def restore_test(
    vmids: Guests,
    at: At = None,
    archive: OfArchive = None,
    enqueue: EnqueueOption = False,
    follow: FollowOption = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Restore archives into scratch VMIDs, boot them in isolation, check their services, and take
    them down.

    Exit 0 if all are proven, 1 if any is not, 3 or 4 if a test could not be carried out at all.
    """
    from backupsvc.cli.driving import announce, bring_to_end, check_options
    from backupsvc.cli.output import emit_json
    from backupsvc.cli.progress import Progress
    from backupsvc.cli.session import open_service
    from backupsvc.operations import opening
    from backupsvc.operations.restore_test import proving
    from backupsvc.operations.restore_test.opening import open_test

    check_options(enqueue, follow, dry_run)
    if archive and len(vmids) > 1:
        raise UsageError(
            "--archive names one guest's archive, so it goes with one VMID",
            "leave it out, or test one guest",
        )
    told: dict[str, Any] = {}
    with open_service(enqueue=enqueue) as service:
        if dry_run:
            raise typer.Exit(_preview(service, vmids, at, archive, as_json))
        _say_if_outside(service)
        with Progress(quiet=as_json) as progress:
            if enqueue:
                opened = opening.open_all(
                    {one: partial(open_test, service, one, at=at, volid=archive) for one in vmids}
                )
                left = announce(service, opened, follow=follow, as_json=as_json)
                told = {key: left[key] for key in ("workers", "refused") if left[key]}
                ended = bring_to_end(service, opened.operations, progress, enqueue=True)
                results = [proving.outcome(one) for one in ended]
                codes = [error.exit_code for _, error in opened.refused]
                exit_code = max(*codes, _exit_code(service, ended), 0)
            else:
                results, exit_code = run_tests(service, vmids, progress, at=at, volid=archive)
    if as_json:
        emit_json((results[0] if len(vmids) == 1 else {"tests": results}) | told)
    else:
        for result in results:
            _show(result)
    raise typer.Exit(exit_code)


def _say_if_outside(service: Service) -> None:
    """A person may test at any time, and is told when scheduled tests would not run now."""
    from backupsvc.cli.output import tell
    from policies import windows

    now, window = int(service.clock.now()), service.policy.scratch.window
    if window and not windows.span(window, service.policy.timezone, now).is_open(now):
        tell(
            f"backupsvc: outside the window for scheduled restore tests ({window.spec}); a test "
            "by hand is not bound to it"
        )


def run_tests(
    service: Service,
    vmids: list[int],
    observer: Any,
    *,
    at: str | None = None,
    volid: str | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Given guests, test each to its end; return what ``restore-test --json`` prints for each, and
    the exit code.
    """
    from backupsvc.cli.driving import bring_to_end
    from backupsvc.operations import opening
    from backupsvc.operations.restore_test import proving
    from backupsvc.operations.restore_test.opening import open_test

    ended: list[Operation] = []
    for vmid in vmids:
        # opened when the one before has ended: its archive is chosen by what is there by then
        opened = opening.open_all({vmid: partial(open_test, service, vmid, at=at, volid=volid)})
        ended += bring_to_end(service, opened.operations, observer, enqueue=False)
    return [proving.outcome(one) for one in ended], _exit_code(service, ended)


def _exit_code(service: Service, ended: list[Operation]) -> int:
    from backupsvc.operations.showing import exit_code

    return max(exit_code(service.catalog, operation) for operation in ended)


def _preview(
    service: Service, vmids: list[int], at: str | None, volid: str | None, as_json: bool
) -> int:
    """Show the run's own plan for each guest; return the exit code that the runs would be refused
    with, 0 if they would not.
    """
    from backupsvc.cli.output import emit_json, say, tell, tell_error
    from backupsvc.operations.choosing import choose
    from backupsvc.operations.restore_test import copying
    from backupsvc.operations.restore_test.opening import refuse_container

    planned: list[dict[str, Any]] = []
    for vmid in vmids:
        chosen = choose(service, vmid, at=at, volid=volid, say=tell)
        # as the run does, before anything is planned
        refuse_container(chosen)
        planned.append(copying.preview(service, vmid, chosen))
    code: int = max(
        (item["refused"]["exit_code"] for item in planned if item["refused"]), default=0
    )
    if as_json:
        emit_json({"dry_run": True, "tests": planned})
        return code
    for item in planned:
        archive, refused = item["archive"], item["refused"]
        if refused:
            say(f"guest {item['vmid']}: would not restore {archive['volid']} on {archive['node']}")
            tell_error(refused["message"], refused["hint"])
            continue
        place, bridge = item["scratch"], item["bridge"] or "as archived"
        say(
            f"guest {item['vmid']}: would restore {archive['volid']} on {archive['node']} into "
            f"VMID {place['vmid']} on {place['node']}, storage {place['storage']}, with "
            f"{item['memory']} MiB, network {item['network']}, bridge {bridge}"
        )
        for sentence in (*item["reasons"], *item["changes"]):
            say(f"  {sentence}")
        for sentence in item["stripped"]:
            say(f"  after the restore: {sentence}")
        for disk in item["missing_disks"]:
            say(f"  disk {disk} is not in the archive, so the test will fail")
        say(
            f"  checks: {', '.join(item['checks']) or 'none, so it could be shown to boot at most'}"
        )
        say(f"  then it must live on for {item['settle_seconds']} s")
    return code


def _show(result: dict[str, Any]) -> None:
    from backupsvc.cli.output import say, table, tell_error

    rto = f", back in {result['rto_seconds']:.1f} s" if result["rto_seconds"] is not None else ""
    archive = result["archive"]
    say(f"guest {result['vmid']}: {result['verdict']}, rung {result['rung']}{rto}")
    if archive:
        say(f"archive {archive['volid']} on {archive['node']}, backed up {archive['time']}")
    if result["checks"]:
        table(
            ("check", "outcome", "detail"),
            [(c["name"], c["outcome"], c["detail"]) for c in result["checks"]],
        )
    for reason in result["reasons"]:
        say(f"  {reason}")
    if error := result["error"]:
        tell_error(error["message"], error["hint"])
    say(
        f"operation {result['operation']} holds the evidence: backupsvc operations show "
        f"{result['operation']}"
    )
