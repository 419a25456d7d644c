"""``backupsvc demo``: one whole night on the embedded cluster, from the first backup to the
auditor's report.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.cli.progress import Progress

CRITICAL, WITH_AGENT, LOST = 108, 101, 105
SETTLE = "3s"
ELSEWHERE = "lge-pve02"
COPIES = """
copies:
  {node}:
    kind: pve-storage
    node: {node}
    storage: local
    path: {path}
    allow-root: true  # a lab's nodes are logged in to as whoever runs it
"""


def demo(
    output: Annotated[Path, typer.Option("--output", help="Where the report goes.")] = Path(
        "demo-report"
    ),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab running afterwards.")] = False,
    hypervisor: Annotated[
        str, typer.Option("--hypervisor", help="auto, qemu or simulated (proves nothing).")
    ] = "auto",
) -> None:
    """Start the lab and live through one night: back up, copy, prune, prove, lose a guest, restore
    it, report. Then let a node fail, on clusters of modelled guests.
    """
    from backupsvc.cli import ha_on_lab
    from backupsvc.cli.lab import lab_errors
    from backupsvc.cli.output import say, table, tell
    from backupsvc.settings import lab_settings_file, state_dir

    began = time.monotonic()
    # a state directory of its own, so that neither a real catalog nor a lab in use is touched
    home = state_dir() / "demo"
    for name in [name for name in os.environ if name.startswith("BACKUPSVC_")]:
        del os.environ[name]
    os.environ["BACKUPSVC_STATE_DIR"] = str(home.absolute())
    lab_dir = lab_settings_file().parent
    with lab_errors():
        rows, good, report = _live(lab_dir, hypervisor, output, keep)
        scenes = ha_on_lab.rehearse(lambda text: tell(f"a node fails: {text}"))
    table(("the night", "result"), rows)
    say()
    table(ha_on_lab.HEADS, ha_on_lab.rows(scenes), "SIMULATED: a node fails")
    say(ha_on_lab.SHORTENED)
    say()
    for path in report:
        say(f"report: {path}")
    say(f"done in {time.monotonic() - began:.0f} s")
    if keep:
        say(f"the lab is still up: BACKUPSVC_STATE_DIR={lab_dir.parent} backupsvc lab down")
    raise typer.Exit(0 if good and all(one.as_expected for one in scenes) else 1)


def _live(
    lab_dir: Path, hypervisor: str, output: Path, keep: bool
) -> tuple[list[list[Any]], bool, list[Path]]:
    """Bring the lab up, live through the night, and take the lab down unless it is to be kept."""
    from backupsvc.cli.progress import Progress
    from backupsvc.cli.session import open_service
    from backupsvc.settings import lab_policy
    from pvelab import control

    began = time.monotonic()
    with Progress() as progress:
        # an earlier demo may have left its lab behind
        control.down(lab_dir)
        control.up(
            lab_dir,
            hypervisor=hypervisor,
            policy=lab_policy(),
            progress=lambda text: progress.line(f"lab: {text}"),
        )
        progress.line(f"lab: up after {time.monotonic() - began:.0f} s")
        # the reference site's policy, but for ``settle``, and with copies to the other node
        text = lab_policy().read_text(encoding="utf-8")
        briefly = text.replace("\nscratch:\n", f"\nscratch:\n  settle: {SETTLE}\n", 1)
        dump = lab_dir / "nodes" / ELSEWHERE / "var" / "lib" / "vz" / "dump"
        policy = lab_dir / "demo.yaml"
        policy.write_text(briefly + COPIES.format(node=ELSEWHERE, path=dump), encoding="utf-8")
        os.environ["BACKUPSVC_POLICY"] = str(policy)
        progress.line(
            f"here copies live on for {SETTLE} after their checks; a site gives them half a "
            "minute (scratch.settle)"
        )
        try:
            with open_service() as service:
                return _night(service, lab_dir, output, progress)
        finally:
            if not keep:
                control.down(lab_dir)


def _night(
    service: Service, lab_dir: Path, output: Path, progress: Progress
) -> tuple[list[list[Any]], bool, list[Path]]:
    from backupsvc.cli.backup import run_job
    from backupsvc.cli.pra import document_of
    from backupsvc.cli.restore_test import run_tests
    from backupsvc.inventory.listing import survey
    from backupsvc.operations.copy.opening import open_copy
    from backupsvc.operations.copy.result import outcome
    from backupsvc.operations.prune.opening import open_prune
    from backupsvc.operations.prune.result import prune_outcome
    from backupsvc.operations.restore.planning import open_restore, plan_restore
    from backupsvc.operations.restore.result import restore_outcome
    from backupsvc.report.write import write_report
    from policies.copies_due import due
    from pvelab.accident import delete_guest

    progress.line("21:00  the nightly job: eleven guests, each archive read back and verified")
    backups = run_job(service, service.policy.jobs[0], [], progress)
    progress.line(f"copies: each archive to {ELSEWHERE}, read back there")
    service.engine.executor.observe(progress)
    wanted = [one for one in due(service.policy, survey(service).listed) if one.skip is None]
    opened = [operation for one in wanted if (operation := open_copy(service, one))]
    ended = service.engine.drive([operation.id for operation in opened])
    copied = [outcome(one, operation) for one, operation in zip(wanted, ended, strict=True)]
    progress.line("retention: every archive marked, with reasons")
    service.engine.executor.observe(progress)
    pruned = prune_outcome(service.engine.drive_one(open_prune(service)))
    progress.line(
        f"restore tests: {CRITICAL} over the isolated bridge, {WITH_AGENT} through its agent"
    )
    tests, _ = run_tests(service, [CRITICAL, WITH_AGENT], progress)
    progress.line(f"the accident: guest {LOST} is deleted")
    node = next(guest.node for guest in service.pve.cluster.guests() if guest.vmid == LOST)
    delete_guest(lab_dir, node, LOST)
    service.engine.executor.observe(progress)
    lost = plan_restore(service, LOST, at=None, volid=None, node=None, storage=None)
    restored = restore_outcome(service.engine.drive_one(open_restore(service, LOST, lost)))
    document = document_of(service, None, None)
    report = write_report(document, output, document.language)
    rows = _rows(backups, copied, pruned, tests, restored, document.status)
    good = (
        backups["good"]
        and all(one["state"] == "verified" for one in copied)
        and not pruned["error"]
        and restored["started"]
        and all(test["verdict"] == "proven" for test in tests)
    )
    return rows, bool(good), report


def _rows(
    backups: Any, copied: Any, pruned: Any, tests: Any, restored: Any, compliant: str
) -> list[list[Any]]:
    verified = sum(guest["verified"] is True for guest in backups["guests"])
    kept = sum(item["mark"] != "remove" for item in pruned["archives"])
    rows = [
        [
            "backups",
            f"{sum(g['status'] != 'failed' for g in backups['guests'])} of "
            f"{len(backups['guests'])} guests",
        ],
        ["archives intact", f"{verified} read whole: every checksum, every cluster"],
        [
            "copies",
            f"{sum(one['state'] == 'verified' for one in copied)} of {len(copied)} on "
            f"{ELSEWHERE}, each read back there",
        ],
        [
            "retention",
            pruned["error"]["message"]
            if pruned["error"]
            else f"{kept} kept, {len(pruned['removed'])} removed",
        ],
    ]
    for test in tests:
        rto = f", back in {test['rto_seconds']:.1f} s" if test["rto_seconds"] is not None else ""
        rows.append(
            [f"restore test {test['vmid']}", f"{test['verdict']}, rung {test['rung']}{rto}"]
        )
    state = (
        f"back on {restored['node']} in {restored['restored_seconds']:.1f} s"
        if restored["started"]
        else "NOT restored"
    )
    return [*rows, [f"guest {LOST}, deleted", state], ["PRA", compliant]]
