"""What PVE backs up by itself is not backed up twice, and never not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import external_backups
from policies.compliance.facts import ClusterJob
from policies.external_backups import Adopt, Beside, Dumping, Own, StandBack
from policies.model import Archive, GuestType

PARIS = ZoneInfo("Europe/Paris")
AT = int(datetime(2026, 3, 9, 21, 0, tzinfo=PARIS).timestamp())
WINDOW = 4 * 3600
JOB = ClusterJob("backup-1", True, None, "local", None, (), "21:00")


def archive(ctime: int, notes: str = "", size: int = 100) -> Archive:
    return Archive(
        f"local:{ctime}", "clovis", "local", 108, GuestType.QEMU, ctime, size, notes=notes
    )


def beside(
    job: ClusterJob = JOB, vmid: int = 108, node: str = "clovis", at: int = AT
) -> Beside | None:
    return external_backups.scheduled(vmid, node, at, [job], "Europe/Paris")


def decided(
    which: Beside | None, *archives: Archive, now: int = AT, runs: bool = False, drift: int = 30
) -> Own | StandBack | Adopt:
    return external_backups.decide(
        which, archives, at=AT, now=now, window=WINDOW, drift=drift, runs=runs
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"enabled": False}, False),
        ({"guests": (108, 109)}, True),
        ({"guests": (109,)}, False),
        ({"exclude": (108,)}, False),
        ({"node": "clovis"}, True),
        ({"node": "lge-pve02"}, False),
        ({"schedule": "20:30"}, True),
        ({"schedule": "21:30"}, True),
        ({"schedule": "20:29"}, False),
        ({"schedule": "21:31"}, False),
        ({"schedule": "20:29:59"}, False),
        ({"schedule": "21:30:01"}, False),
        ({"schedule": "tue 21:00"}, False),
        ({"schedule": "*/15"}, True),
        ({"schedule": "rubbish"}, False),
        ({"schedule": ""}, False),
    ],
)
def test_a_pve_job_is_beside_ours_if_it_backs_the_guest_up_within_half_an_hour(
    changes: dict[str, Any], expected: bool
) -> None:
    assert (beside(replace(JOB, **changes)) is not None) is expected


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_the_half_hour_is_counted_in_the_nodes_time_when_the_clock_changes_too(day: str) -> None:
    at = int(datetime.fromisoformat(f"{day} 21:00").replace(tzinfo=PARIS).timestamp())
    found = beside(replace(JOB, schedule="21:10"), at=at)
    assert found is not None and found.begins == at + 600


def test_without_a_job_of_pves_ours_dumps() -> None:
    assert decided(None, archive(AT + 60)) == Own()


def test_while_pves_archive_is_not_there_ours_stands_back_to_the_end_of_the_window() -> None:
    assert isinstance(decided(beside()), StandBack)
    assert isinstance(decided(beside(), now=AT + WINDOW - 1), StandBack)
    assert decided(beside(), now=AT + WINDOW) == Own()


def test_pves_archive_is_adopted_even_when_ours_is_late() -> None:
    found = decided(beside(), archive(AT - 86400), archive(AT + 60), now=AT + WINDOW + 9)
    assert found == Adopt(archive(AT + 60), "PVE job backup-1")


def test_an_archive_of_the_night_before_an_empty_one_and_one_of_ours_are_not_adopted() -> None:
    old, empty, ours = (
        archive(AT - 3600),
        archive(AT + 5, size=0),
        archive(AT + 6, notes="x on clovis, backupsvc 01J"),
    )
    assert isinstance(decided(beside(), old, empty, ours), StandBack)


def test_an_archive_that_the_catalog_knows_as_ours_is_not_adopted_though_its_notes_were_overwritten() -> (
    None
):
    assert isinstance(
        decided(beside(), replace(archive(AT + 6, "before the upgrade"), operation="01J")),
        StandBack,
    )


def test_what_was_made_at_the_very_moment_counts_and_the_newest_is_taken() -> None:
    assert decided(beside(), archive(AT - 30), drift=30) == Adopt(
        archive(AT - 30), "PVE job backup-1"
    )
    assert isinstance(decided(beside(), archive(AT - 31), drift=30), StandBack)
    assert decided(beside(), archive(AT + 60, size=1), archive(AT + 5)) == Adopt(
        archive(AT + 60, size=1), "PVE job backup-1"
    )


def test_a_task_is_no_reason_to_adopt_what_was_there_before_it_began_and_a_schedule_is_from_our_own_time_on() -> (
    None
):
    late, early = Beside("PVE task UPID:x", AT + 600), archive(AT + 60)
    assert isinstance(decided(late, early, runs=True), StandBack)
    assert isinstance(decided(replace(late, certain=True), early), Adopt)


def test_the_first_of_two_that_back_a_guest_up_is_the_one_beside_ours() -> None:
    later = replace(JOB, id="backup-0", schedule="21:20")
    found = external_backups.scheduled(108, "clovis", AT, [later, JOB], "Europe/Paris")
    assert found == Beside("PVE job backup-1", AT, "local", certain=True)
    tasks = [Dumping("UPID:b", "clovis", 108, AT + 5), Dumping("UPID:a", "clovis", None, AT)]
    assert external_backups.running(108, "clovis", tasks) == Beside("PVE task UPID:a", AT)
    assert external_backups.running(108, "clovis", []) is None


def test_an_archive_of_a_pve_job_that_began_before_ours_counts() -> None:
    assert isinstance(decided(beside(replace(JOB, schedule="20:45")), archive(AT - 890)), Adopt)


def test_a_task_that_runs_is_waited_for_and_its_archive_adopted() -> None:
    task = Dumping("UPID:x", "clovis", 108, AT - 7200)
    seen = external_backups.running(108, "clovis", [task])
    assert isinstance(decided(seen, runs=True), StandBack)
    assert isinstance(decided(seen, archive(AT - 7100)), Adopt)
    assert decided(seen, runs=False) == Own()


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (Dumping("UPID:x", "clovis", 108, AT), True),
        (Dumping("UPID:x", "lge-pve02", 108, AT), True),
        (Dumping("UPID:x", "clovis", None, AT), True),
        (Dumping("UPID:x", "lge-pve02", None, AT), False),
        (Dumping("UPID:x", "clovis", 109, AT), False),
    ],
)
def test_a_task_concerns_a_guest_by_its_number_or_by_its_node(
    task: Dumping, expected: bool
) -> None:
    assert (external_backups.running(108, "clovis", [task]) is not None) is expected


MOMENTS = st.integers(AT - 3 * 86400, AT + 3 * 86400)
ARCHIVES = st.lists(
    st.builds(
        archive,
        MOMENTS,
        st.sampled_from(["", "nightly", "g on clovis, backupsvc 01J"]),
        st.integers(0, 2),
    )
)
BESIDE = st.none() | st.builds(Beside, st.just("x"), MOMENTS, st.just("local"), st.booleans())


@given(BESIDE, ARCHIVES, MOMENTS, st.booleans())
def test_past_the_window_nobody_waits_and_only_a_fresh_whole_foreign_archive_is_adopted(
    which: Beside | None, archives: list[Archive], now: int, runs: bool
) -> None:
    found = decided(which, *archives, now=now, runs=runs)
    if now >= AT + WINDOW:
        assert not isinstance(found, StandBack)
    if isinstance(found, Adopt):
        assert (
            which is not None and found.archive.size > 0 and "backupsvc" not in found.archive.notes
        )
        assert found.archive.ctime >= min(AT, which.begins) - 30
    if isinstance(found, StandBack):
        assert which is not None and (which.certain or runs)


@pytest.mark.parametrize(
    ("notes", "named"),
    [
        ("web on clovis, backupsvc 01J8Z3K4M5N6P7Q8R9S0T1V2W3", "01J8Z3K4M5N6P7Q8R9S0T1V2W3"),
        ("backupsvc 01J8Z3K4M5N6P7Q8R9S0T1V2W3\n", "01J8Z3K4M5N6P7Q8R9S0T1V2W3"),
        ("mybackupsvc 01J8Z3K4M5N6P7Q8R9S0T1V2W3", None),
        ("backupsvc 01J8Z3K4M5N6P7Q8R9S0T1V2W3 and more", None),
        ("backupsvc 01J8Z3K4M5N6P7Q8R9S0T1V2WI", None),  # I is no letter of a ULID
        ("backupsvc 01J8", None),
        ("", None),
    ],
)
def test_the_operation_that_notes_name_is_read_from_their_end_alone(
    notes: str, named: str | None
) -> None:
    assert external_backups.operation_named(notes) == named
