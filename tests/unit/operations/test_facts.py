"""What each kind knows of an operation for its outcome, and nights of what an older version wrote
down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from backupsvc.operations.backup import memory as backup
from backupsvc.operations.job_run import memory as job_run
from backupsvc.operations.job_run.result import job_run_outcome, job_run_summary
from backupsvc.operations.prune import memory as prune
from backupsvc.operations.restore import memory as restore
from backupsvc.operations.restore_test import memory as restore_test
from policies.bookkeeping import Bookkeeping, TaskRecord
from policies.freezing import State, Thaw
from policies.model import Archive, GuestType, Operation, OperationState, Rung
from policies.outcomes import Facts
from policies.pve.vzdump_log import Consistency, Freeze
from tests.unit.operations.worlds import World, world

AT = 1_773_086_400
ARCHIVE = {
    "volid": "local:backup/x.vma.zst", "node": "clovis", "storage": "local", "vmid": 108, "name": "Debian-Server", "type": "qemu",
    "ctime": AT, "time": "2026-03-09T20:00:00Z", "size": 1000, "format": "vma.zst", "rung": "intact",
    "proven_at": "2026-03-09T20:00:00Z", "protected": False, "notes": "", "sha256": "aa", "operation": "01X", "changed": None,
}  # fmt: skip
DUMP = {
    "seen": True, "consistency": "crash-consistent", "excluded": ["scsi1"], "warnings": ["slow", "scsi2 is not in the archive"],
    "failure": None, "freeze": "failed", "thaw_failed": "got timeout", "exitstatus": "OK", "cause": "", "upid": "UPID:1",
    "begun": ["x.vma.zst"], "consistency_reason": "its agent could not freeze the file systems",
}  # fmt: skip
THAW = {
    "state": "frozen",
    "why": "its agent says so",
    "at": AT,
    "tried": True,
    "thaws": 2,
    "thaw_failed": "got timeout",
}
TASKS = Bookkeeping(tasks={"dump": TaskRecord(upid="UPID:d"), "restore": TaskRecord(upid="UPID:r")})


def of(kind: str, book: Bookkeeping = TASKS, **memory: Any) -> Operation:
    """An ended operation with what version 0 remembered of it."""
    return Operation(
        f"01{kind}",
        kind,
        108,
        OperationState.DONE,
        "settle",
        {"version": 0} | memory,
        AT,
        AT,
        AT + 9,
        book=book,
    )


# --- facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "operation", "known"),
    [
        (backup.facts, of("backup", job="nightly", node="clovis"), Facts("clovis", "UPID:d")),
        (
            backup.facts,
            of("backup", job="nightly", node=None, archive=ARCHIVE),
            Facts("clovis", "UPID:d"),
        ),
        (
            backup.facts,
            of("backup", job="nightly", node="lge-pve02", archive=ARCHIVE),
            Facts("lge-pve02", "UPID:d"),
        ),
        (backup.facts, of("backup", Bookkeeping(), job="nightly"), Facts()),
        (backup.facts, of("backup", Bookkeeping(), job="nightly", thaw=THAW), Facts(frozen=True)),
        (
            backup.facts,
            of("backup", Bookkeeping(), job="nightly", thaw=THAW | {"state": "thawed"}),
            Facts(),
        ),
        (prune.facts, of("prune"), Facts()),
        (prune.facts, of("prune", not_listed=["node b is offline"]), Facts(partial=True)),
        (
            restore.facts,
            of("restore", node="a", archive=ARCHIVE | {"node": "b"}),
            Facts("a", "UPID:r"),
        ),
        (restore_test.facts, of("restore-test", Bookkeeping()), Facts()),
        (restore_test.facts, of("restore-test", archive=ARCHIVE), Facts("clovis", "UPID:r")),
        (
            restore_test.facts,
            of(
                "restore-test",
                archive=ARCHIVE,
                scratch={"vmid": 9000, "node": "lge-pve02", "storage": "local"},
                proof={"verdict": "proven", "rung": "healthy", "cause": None},
            ),
            Facts("lge-pve02", "UPID:r", "proven"),
        ),
    ],
)
def test_what_a_kind_knows_of_an_operation_also_of_one_that_an_older_version_wrote_down(
    facts: Callable[[Operation], Facts], operation: Operation, known: Facts
) -> None:
    assert facts(operation) == known


# --- a backup of an older version -----------------------------------------------------------------


def test_a_backup_that_an_older_version_wrote_down_is_read_as_it_was() -> None:
    written = of(
        "backup", job="nightly", node="clovis", name="Debian-Server", at=AT, type="qemu",
        keep_all=True, before=["local:backup/a"],
        foreign={"origin": "PVE job b", "begins": AT, "storage": "local", "certain": True},
        adopted={"volid": "local:backup/x", "storage": "local", "origin": "PVE job b"},
        dump=DUMP, lacking=["scsi2 is not in the archive"], archive=ARCHIVE, verified=True, thaw=THAW, unheard_of=1,
    )  # fmt: skip
    found = backup.recall(written)
    assert (found.job, found.node, found.name, found.at, found.type) == (
        "nightly",
        "clovis",
        "Debian-Server",
        AT,
        GuestType.QEMU,
    )
    assert (found.keep_all, found.before, found.verified) == (True, ("local:backup/a",), True)
    assert found.foreign is not None and (found.foreign.origin, found.foreign.certain) == (
        "PVE job b",
        True,
    )
    assert found.adopted == backup.Adopted("local:backup/x", "local", "PVE job b")
    assert found.thaw == Thaw(State.FROZEN, "its agent says so", AT, True, 2, "got timeout")
    assert found.archive == Archive(
        "local:backup/x.vma.zst", "clovis", "local", 108, GuestType.QEMU, AT, 1000, "vma.zst", name="Debian-Server",
        rung=Rung.INTACT, proven_at=AT, sha256="aa", operation="01X",
    )  # fmt: skip
    dump = found.dump
    assert dump is not None and (dump.exitstatus, dump.upid, dump.begun) == (
        "OK",
        "UPID:1",
        ("x.vma.zst",),
    )
    assert dump.consistency_reason == "its agent could not freeze the file systems"
    report = dump.report
    assert (report.consistency, report.freeze, report.excluded) == (
        Consistency.CRASH,
        Freeze.FAILED,
        ("scsi1",),
    )
    assert report.thaw_failed == "got timeout"
    assert found.warnings == ("slow", "scsi2 is not in the archive"), "each is said once"


def test_a_backup_of_an_older_version_that_is_in_the_middle_of_asking_its_agent_goes_on_from_there() -> (
    None
):
    dump = {
        key: DUMP[key]
        for key in ("seen", "consistency", "excluded", "warnings", "failure", "exitstatus", "upid")
    }
    found = backup.recall(
        of("backup", job="nightly", thawing={"thaws": 1, "frozen_since": 2.5}, dump=dump)
    )
    assert found.thawing == backup.Thawing(1, 2.5) and found.thaw is None
    assert found.dump is not None and (found.dump.report.freeze, found.dump.begun) == (
        Freeze.NONE,
        (),
    )


def test_what_a_backup_remembers_is_written_and_read_again() -> None:
    found = backup.recall(
        of("backup", job="nightly", at=AT, node="clovis", dump=DUMP, archive=ARCHIVE, thaw=THAW)
    )
    written = backup.FORM.write(found)
    assert written["version"] == 1 and backup.FORM.read(written) == found
    assert backup.FORM.write(backup.BackupMemory("nightly")) == {"version": 1, "job": "nightly"}


# --- a night of an older version ------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1])
def test_a_night_that_an_older_version_wrote_down_is_read_as_it_was(version: int) -> None:
    tests = [{"name": "prove#101", "vmid": 101, "seconds": 1800, "volid": None}]
    tests.append({"name": "sample#102", "vmid": 102, "seconds": 61.5, "volid": "local:backup/x"})
    found = job_run.recall(
        of("night", version=version, job="nightly", at=AT, vmids=[102, 101], children={"backup#101": "01A"}, tests=tests, lanes=2,
           over_by={"prove#101": AT + 61.5}, retried=True, untestable=1, results={"backups": "backups: 1 of 2 done"})
    )  # fmt: skip
    wanted = (
        job_run.Test("prove#101", 101, 1800.0),
        job_run.Test("sample#102", 102, 61.5, "local:backup/x"),
    )
    assert found == job_run.NightMemory(
        "nightly", AT, (102, 101), {"backup#101": "01A"}, wanted, 2, {"prove#101": AT + 61.5}, True, False, 1,
        {"backups": "backups: 1 of 2 done"},
    )  # fmt: skip
    assert job_run.FORM.read(job_run.FORM.write(found)) == found


@pytest.mark.parametrize(
    ("memory", "vmids", "tests"),
    [({}, None, None), ({"vmids": [], "tests": []}, (), ())],
)
def test_a_night_that_expects_nobody_is_not_one_that_does_not_know_yet(
    memory: dict[str, Any], vmids: object, tests: object
) -> None:
    found = job_run.recall(of("night", job="nightly", **memory))
    again = job_run.FORM.read(job_run.FORM.write(found))
    assert (again.vmids, again.tests) == (found.vmids, found.tests) == (vmids, tests)


def test_a_night_was_due_when_it_says_so_and_else_when_it_was_opened(sqlite_url: str) -> None:
    site: World = world(sqlite_url)
    try:
        assert job_run_outcome(site.catalog, of("night", job="nightly", at=AT - 60)).at == AT - 60
        bare = job_run_outcome(site.catalog, of("night", job="nightly"))
        assert (bare.at, bare.job, bare.expected) == (AT, "nightly", None)
    finally:
        site.catalog.close()


def test_a_night_that_a_newer_version_wrote_is_never_called_good(sqlite_url: str) -> None:
    site: World = world(sqlite_url)
    try:
        newer = replace(of("night", version=99), occurrence=f"nightly@{AT}")
        told = job_run_outcome(site.catalog, newer)
        assert (told.job, told.verdict, told.good) == ("nightly", "failed", False)
        assert told.error is not None and "newer version" in told.error
    finally:
        site.catalog.close()


def test_a_night_says_what_came_of_it_in_the_order_of_its_steps() -> None:
    said = {"tests": "restore tests: none", "backups": "backups: 1 of 1 done"}
    assert (
        job_run_summary(of("night", job="nightly", results=said))
        == "backups: 1 of 1 done; restore tests: none"
    )
    assert job_run_summary(of("night", job="nightly")) is None
