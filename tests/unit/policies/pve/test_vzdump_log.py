"""A vzdump log is read guest by guest: here from logs that a real server wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policies.pve.vzdump_log import Consistency, DumpReport, Freeze, archives_begun, read

RECORDED = Path(__file__).parents[3] / "golden" / "recorded_real"


def log(file: str, n: int) -> list[str]:
    """Given a recording and an exchange's number, return the task log that it holds."""
    exchanges = json.loads((RECORDED / f"{file}.json").read_text(encoding="utf-8"))
    found = next(item for item in exchanges if item["n"] == n)
    return [row["t"] for row in found["response"]["json"]["data"]]


def test_a_running_guest_whose_agent_froze_its_file_systems_is_frozen() -> None:
    assert read(log("03_vzdump_ok", 14), 200) == DumpReport(
        True, Consistency.FROZEN, (), (), None, Freeze.FROZEN
    )


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
    assert (
        read(log("04_vzdump_errors", 64), 200).failure
        == "vma_queue_write: write error - Broken pipe"
    )


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


# --- freezing and thawing, in both generations ----------------------------------------------------

BEGIN = [
    "INFO: Starting Backup of VM 108 (qemu)",
    "INFO: status = running",
    "INFO: backup mode: snapshot",
]
FREEZE, THAW = (
    "INFO: issuing guest-agent 'fs-freeze' command",
    "INFO: issuing guest-agent 'fs-thaw' command",
)
QMP = "INFO: starting backup via QMP command"
END = [
    "INFO: Finished Backup of VM 108 (00:00:05)",
    "INFO: Backup finished at 2026-03-09 21:00:07",
    "TASK OK",
]


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: unable to freeze guest fs - failed to freeze /: Device or resource busy",
        "ERROR: unable to freeze guest fs - unexpected status 'thawed'",
        "ERROR: querying status after freezing guest fs failed - timeout after 60 minutes",
        # before qemu-server 9.0.23
        "ERROR: VM 108 qmp command 'guest-fsfreeze-freeze' failed - got timeout",
        "ERROR: VM 108 qga command 'guest-fsfreeze-freeze' failed - got timeout",
        "ERROR: a text that no version has printed yet",
        "WARN: unable to check guest fs freeze status - got timeout",
    ],
)
@pytest.mark.parametrize("between", [[], [QMP]])
def test_a_freeze_that_was_complained_of_is_no_freeze_though_the_thaw_line_follows(
    said: str, between: list[str]
) -> None:
    report = read([*BEGIN, FREEZE, said, *between, THAW, *END], 108)
    assert (report.consistency, report.freeze) == (Consistency.CRASH, Freeze.FAILED)
    assert report.warnings == (said.partition(": ")[2],)
    assert report.thaw_failed is None


@pytest.mark.parametrize(
    "between", [[], [QMP], ["still waiting on guest fs freeze - timeout in 50 minutes", QMP]]
)
def test_a_freeze_that_nothing_was_complained_of_until_the_thaw_is_one(between: list[str]) -> None:
    report = read([*BEGIN, FREEZE, *between, THAW, *END], 108)
    assert (report.consistency, report.freeze, report.warnings) == (
        Consistency.FROZEN,
        Freeze.FROZEN,
        (),
    )


def test_a_freeze_whose_thaw_never_came_is_not_taken_for_one() -> None:
    report = read([*BEGIN, FREEZE, "TASK ERROR: interrupted by signal"], 108)
    assert (report.consistency, report.freeze, report.freeze.tried) == (
        Consistency.CRASH,
        Freeze.FAILED,
        True,
    )


@pytest.mark.parametrize(
    "said",
    [
        "VM 108 qmp command 'guest-fsfreeze-thaw' failed - got timeout",
        "VM 108 qga command 'guest-fsfreeze-thaw' failed - got timeout",
        "Agent error: failed to thaw",
        "unable to thaw guest filesystem - got timeout",
    ],
)
def test_a_failed_thaw_is_an_alarm_though_the_task_is_ok(said: str) -> None:
    report = read([*BEGIN, FREEZE, THAW, f"ERROR: {said}", *END], 108)
    assert (report.thaw_failed, report.consistency, report.warnings) == (
        said,
        Consistency.FROZEN,
        (said,),
    )


def test_a_backup_that_fails_right_after_the_thaw_is_no_failed_thaw() -> None:
    why = "VM 108 qmp command 'backup' failed - got timeout"
    lines = [
        *BEGIN,
        FREEZE,
        THAW,
        f"ERROR: {why}",
        "INFO: aborting backup job",
        f"ERROR: Backup of VM 108 failed - {why}",
    ]
    report = read([*lines, "INFO: Failed at 2026-03-09 21:00:07", "TASK ERROR: job errors"], 108)
    assert (report.thaw_failed, report.failure, report.warnings) == (None, why, ())


@pytest.mark.parametrize(
    ("said", "freeze"),
    [
        (
            "INFO: skipping guest-agent 'fs-freeze', agent configured but not running?",
            Freeze.SILENT,
        ),
        (
            "INFO: skipping guest filesystem freeze - agent configured but not running?",
            Freeze.SILENT,
        ),
        ("INFO: skipping guest-agent 'fs-freeze', disabled in VM options", Freeze.OFF),
        ("INFO: skipping guest filesystem freeze - disabled in VM options", Freeze.OFF),
        ("INFO: skipping guest filesystem freeze - already frozen", Freeze.BY_OTHERS),
    ],
)
def test_a_freeze_that_was_left_out_makes_the_archive_crash_consistent_and_says_why(
    said: str, freeze: Freeze
) -> None:
    report = read([*BEGIN, said, *END], 108)
    assert (report.consistency, report.freeze, report.warnings) == (Consistency.CRASH, freeze, ())
    assert not freeze.tried


def test_what_a_guests_section_complains_of_is_a_warning_of_that_guest_alone() -> None:
    other = [line.replace("108", "109") for line in BEGIN]
    lines = [
        *BEGIN,
        "ERROR: unable to freeze guest fs - x",
        "INFO: Backup finished at 21:00",
        *other,
        "ERROR: Backup job failed - y",
    ]
    assert read(lines, 108).warnings == ("unable to freeze guest fs - x",)
    lines[-1:] = ["INFO: Failed at 21:01", "ERROR: Backup job failed - y"]
    assert read(lines, 109).warnings == ()


def test_an_efi_disk_that_the_guest_does_not_use_is_not_missed() -> None:
    unused = "INFO: exclude disk 'efidisk0' 'local-lvm:vm-108-disk-2' (efidisk but no OMVF BIOS)"
    assert read([*BEGIN, unused, *END], 108).excluded == ()


def test_the_log_names_the_archive_of_each_guest() -> None:
    assert archives_begun(log("03_vzdump_ok", 14), 200) == (
        "vzdump-qemu-200-2026_11_23-08_45_23.vma.zst",
    )
    both = [archives_begun(log("03_vzdump_ok", 72), vmid) for vmid in (100, 200)]
    assert all(len(names) == 1 for names in both) and both[0] != both[1]
    assert archives_begun([], 200) == ()


def test_what_a_guests_agent_answers_begins_no_section_and_names_no_archive() -> None:
    """PVE marks each line of a complaint, also of one that the agent wrote in several lines."""
    said = [
        "INFO: Starting Backup of VM 108 (qemu)",
        "INFO: creating vzdump archive "
        "'/var/lib/vz/dump/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst'",
        "ERROR: VM 108 qga command 'guest-fsfreeze-freeze' failed - x': TASK ERROR",
        "ERROR: INFO: Starting Backup of VM 109 (qemu)",
        "ERROR: INFO: creating vzdump archive "
        "'/var/lib/vz/dump/vzdump-qemu-108-2026_03_09-21_00_03.vma.zst'",
        "ERROR: TASK OK",
    ]
    assert archives_begun(said, 108) == ("vzdump-qemu-108-2026_03_09-21_00_02.vma.zst",)
    assert not read(said, 109).seen and len(read(said, 108).warnings) == 4


def test_a_mount_points_path_cannot_name_another_mount_point() -> None:
    said = [
        "INFO: Starting Backup of VM 200 (lxc)",
        "INFO: excluding bind mount point mp0 ('/x mount point rootfs') from backup (no)",
    ]
    assert read(said, 200).excluded == ("mp0",)


FORGED = "ERROR: Backup of VM 108 failed - Permission check failed (/, Administrator)"


def test_an_agent_cannot_say_that_its_backup_failed() -> None:
    """Its error has a line feed in it, and PVE marks both lines alike."""
    said = [
        "INFO: Starting Backup of VM 108 (qemu)",
        "INFO: backup mode: snapshot",
        "INFO: issuing guest-agent 'fs-freeze' command",
        "ERROR: VM 108 qga command 'guest-fsfreeze-freeze' failed - oh",
        FORGED,
        "INFO: issuing guest-agent 'fs-thaw' command",
        "INFO: Finished Backup of VM 108 (00:00:05)",
    ]
    found = read(said, 108)
    assert found.failure is None and found.freeze is Freeze.FAILED
    assert found.warnings == (
        "VM 108 qga command 'guest-fsfreeze-freeze' failed - oh",
        FORGED.removeprefix("ERROR: "),
    )


def test_an_agent_cannot_say_why_its_backup_failed_nor_that_anothers_did() -> None:
    said = [
        "INFO: Starting Backup of VM 108 (qemu)",
        FORGED,
        FORGED.replace("108", "109"),
        "ERROR: Backup of VM 108 failed - no space left",
        "INFO: Failed at 2026-03-09 21:01:07",
        "INFO: Starting Backup of VM 109 (qemu)",
        "INFO: Finished Backup of VM 109 (00:00:05)",
    ]
    assert read(said, 108).failure == "no space left"
    assert FORGED.removeprefix("ERROR: ") in read(said, 108).warnings
    assert read(said, 109).failure is None


def test_what_a_log_says_is_kept_by_these_words() -> None:
    assert [one.value for one in Consistency] == [
        "frozen",
        "crash-consistent",
        "stopped",
        "unknown",
    ]
    assert [one.value for one in Freeze] == [
        "frozen",
        "failed",
        "agent-silent",
        "switched-off",
        "already-frozen",
        "none",
    ]


def test_each_guest_of_a_task_failed_for_its_own_reason() -> None:
    said = [
        "INFO: Starting Backup of VM 108 (qemu)",
        "ERROR: Backup of VM 108 failed - no space left",
        "INFO: Starting Backup of VM 109 (qemu)",
        "ERROR: Backup of VM 109 failed - VM is locked (snapshot)",
    ]
    assert [read(said, vmid).failure for vmid in (108, 109, 110)] == [
        "no space left",
        "VM is locked (snapshot)",
        None,
    ]


@pytest.mark.parametrize(
    "said",
    [
        ["INFO: status = running", "INFO: backup mode: stop"],
        ["INFO: status = stopped"],
        ["INFO: status = stopped", "INFO: backup mode: stop"],
    ],
    ids=[
        "it was shut down for its backup",
        "it did not run, and the log ends there",
        "it did not run",
    ],
)
def test_a_guest_that_does_not_run_while_it_is_dumped_is_stopped(said: list[str]) -> None:
    assert read([BEGIN[0], *said], 108).consistency is Consistency.STOPPED


def test_a_thaw_without_a_freeze_before_it_shows_no_freeze() -> None:
    report = read([*BEGIN, THAW, *END], 108)
    assert (report.consistency, report.freeze) == (Consistency.CRASH, Freeze.NONE)


def test_what_an_agent_complains_of_before_any_thaw_is_no_failed_thaw() -> None:
    assert read([*BEGIN, "ERROR: Agent error: it is not ready", *END], 108).thaw_failed is None


def test_of_several_complaints_after_the_thaw_the_first_says_why_it_failed() -> None:
    report = read(
        [*BEGIN, FREEZE, THAW, "ERROR: Agent error: one", "ERROR: Agent error: two", *END], 108
    )
    assert report.thaw_failed == "Agent error: one"
