"""A vzdump log is read guest by guest: here from logs that a real server wrote."""

from __future__ import annotations

import json
from pathlib import Path

from policies.vzdumplog import Consistency, DumpReport, read

RECORDED = Path(__file__).parents[2] / "golden" / "recorded_real"


def log(file: str, n: int) -> list[str]:
    """Given a recording and an exchange's number, return the task log that it holds."""
    exchanges = json.loads((RECORDED / f"{file}.json").read_text(encoding="utf-8"))
    found = next(item for item in exchanges if item["n"] == n)
    return [row["t"] for row in found["response"]["json"]["data"]]


def test_a_running_guest_whose_agent_froze_its_file_systems_is_frozen() -> None:
    assert read(log("03_vzdump_ok", 14), 200) == DumpReport(True, Consistency.FROZEN, (), (), None)


def test_an_agent_that_does_not_answer_makes_the_archive_crash_consistent() -> None:
    assert read(log("03_vzdump_ok", 56), 200).consistency is Consistency.CRASH


def test_a_stopped_guest_is_stopped() -> None:
    assert read(log("03_vzdump_ok", 39), 100).consistency is Consistency.STOPPED


def test_job_errors_hide_no_good_guest() -> None:
    lines = log("04_vzdump_errors", 9)
    assert read(lines, 100).failure is None
    assert read(lines, 4711).failure == "unable to find VM '4711'"


def test_a_guest_that_was_never_started_is_not_seen() -> None:
    assert read(log("04_vzdump_errors", 3), 4711).seen is False


def test_a_full_disk_is_told_in_pves_own_words() -> None:
    assert read(log("04_vzdump_errors", 64), 200).failure == "vma_queue_write: write error - Broken pipe"


def test_two_guests_in_one_task_keep_their_own_consistency() -> None:
    lines = log("03_vzdump_ok", 72)
    assert read(lines, 100).consistency is Consistency.STOPPED
    assert read(lines, 200).seen


def test_an_excluded_disk_and_a_warning_belong_to_their_guest() -> None:
    lines = [
        "INFO: Starting Backup of VM 108 (qemu)",
        "INFO: status = running",
        "INFO: exclude disk 'scsi1' 'local-lvm:vm-108-disk-1' (backup=no)",
        "INFO: backup mode: snapshot",
        "WARN: the clock of the guest is odd",
        "INFO: Starting Backup of VM 109 (qemu)",
        "INFO: backup mode: snapshot",
    ]
    report = read(lines, 108)
    assert (report.excluded, report.warnings) == (("scsi1",), ("the clock of the guest is odd",))
    assert read(lines, 109).excluded == ()
