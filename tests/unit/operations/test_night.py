"""Whole nights on virtual time, the workers' way: every tick, every turn, the real catalog, engine
and night.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from backupsvc.engine import worker_loop
from backupsvc.errors import Refused
from backupsvc.operations import tick
from backupsvc.operations.backup.opening import open_backup
from backupsvc.operations.backup.result import backup_outcome
from backupsvc.operations.job_run.due_tests import verdict_of
from backupsvc.operations.job_run.result import job_run_summary
from backupsvc.operations.restore_test.memory import FORM, Judged, RestoreTestMemory
from backupsvc.operations.restore_test.memory import recall as recall_test
from backupsvc.operations.restore_test.opening import open_test
from backupsvc.pve.cluster import PveJob
from policies.jobs import Expected
from policies.model import Job, Operation, OperationState, Rung, Verdict
from tests.fakes.made import job_row
from tests.unit.operations.farm import Site, at, local, policy, site

pytestmark = pytest.mark.slow  # a hundred thousand small transactions
NIGHTLY = Job("nightly", "21:00", "local")
PVE_JOB = PveJob("backup-1", True, "21:00", "local", all=True)


def summary(found: Site) -> str | None:
    return job_run_summary(
        found.world.catalog.operations.find(kind="night", state=OperationState.DONE)[0]
    )


def backed_up(found: Site) -> list[int]:
    return [vmid for _, _, vmid in found.farm.dumps]


# --- the clock ------------------------------------------------------------------------------------


def test_a_night_backs_up_prunes_and_proves_once_each(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:50")) as found:
        found.live(at("2026-03-10 02:00"))
        assert found.nights() == [("03-09 21:00", "done")]
        assert Counter(backed_up(found)) == {101: 1, 102: 1, 103: 1}
        assert sorted(vmid for _, vmid in found.tests) == [101, 102, 103]
        assert summary(found) == "backups: 3 of 3 done; retention: done; restore tests: 3 proven"


def test_a_beat_that_was_down_from_20_50_to_21_40_makes_one_late_night(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:00")) as found:
        found.live(at("2026-03-09 20:50"))
        found.live(at("2026-03-09 21:40"), beat=False)
        found.live(at("2026-03-10 03:00"))
        assert found.nights() == [("03-09 21:00", "done")]
        assert local(found.farm.dumps[0][0]) == "03-09 21:40"
        assert len(found.farm.dumps) == 3


def test_three_days_down_make_one_catch_up_and_two_missed(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:00")) as found:
        found.live(at("2026-03-09 20:30"))
        found.live(at("2026-03-11 23:30"), beat=False)
        found.live(at("2026-03-12 05:00"))
        assert found.nights() == [
            ("03-09 21:00", "missed"),
            ("03-10 21:00", "missed"),
            ("03-11 21:00", "done"),
        ]
        assert Counter(backed_up(found)) == {101: 1, 102: 1, 103: 1}
        missed = found.world.catalog.operations.find(kind="night", state=OperationState.MISSED)
        assert "no scheduler ran within 240 minutes of 2026-03-10T20:00:00Z" in str(missed[0].error)


def test_a_return_after_the_last_window_catches_nothing_up_and_says_so(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:00")) as found:
        found.live(at("2026-03-09 20:30"))
        found.live(at("2026-03-10 02:00"), beat=False)
        found.live(at("2026-03-10 03:00"))
        assert found.nights() == [("03-09 21:00", "missed")]
        assert not found.farm.dumps


def test_a_new_catalog_has_missed_nothing(tmp_path: Path) -> None:
    with site(tmp_path, policy(Job("hourly", "hourly", "local")), at("2026-03-10 10:20")) as found:
        found.live(at("2026-03-10 16:00"))
        assert found.nights()[0] == ("03-10 10:00", "done")
        assert "missed" not in dict(found.nights()).values()


def test_what_a_newer_night_overtook_is_missed_at_once_and_not_forgotten(tmp_path: Path) -> None:
    with site(tmp_path, policy(Job("hourly", "hourly", "local")), at("2026-03-10 10:20")) as found:
        found.live(at("2026-03-10 10:58"))
        found.live(at("2026-03-10 13:10"), beat=False)
        found.live(at("2026-03-10 13:11"))
        assert dict(found.nights()) == {
            "03-10 10:00": "done",
            "03-10 11:00": "missed",
            "03-10 12:00": "missed",
            "03-10 13:00": "open",
        }


@pytest.mark.parametrize(
    ("schedule", "start", "end", "expected"),
    [
        ("21:00", "2026-03-28 12:00", "2026-03-30 12:00", ["03-28 21:00", "03-29 21:00"]),
        ("21:00", "2026-10-24 12:00", "2026-10-26 12:00", ["10-24 21:00", "10-25 21:00"]),
        ("02:30", "2026-03-28 12:00", "2026-03-30 12:00", ["03-29 03:30", "03-30 02:30"]),
        ("02:30", "2026-10-24 12:00", "2026-10-26 12:00", ["10-25 02:30", "10-26 02:30"]),
        ("hourly", "2026-03-28 23:30", "2026-03-29 04:30", ["03-29 00:00", "03-29 01:00", "03-29 03:00", "03-29 04:00"]),
        (
            "hourly", "2026-10-24 23:30", "2026-10-25 04:30",
            ["10-25 00:00", "10-25 01:00", "10-25 02:00", "10-25 02:00", "10-25 03:00", "10-25 04:00"],
        ),
    ],
)  # fmt: skip
def test_on_both_days_on_which_the_clock_changes_nothing_is_lost_and_nothing_twice(
    tmp_path: Path, schedule: str, start: str, end: str, expected: list[str]
) -> None:
    job = Job("job", schedule, "local", window=1800)
    with site(tmp_path, policy(job), at(start)) as found:
        found.farm.place({101: "clovis"})
        found.live(at(end))
        assert [when for when, _ in found.nights()] == expected
        assert len(found.farm.dumps) == len(expected)
        assert "missed" not in {state for _, state in found.nights()}


def test_a_clock_that_was_set_back_records_nothing_and_runs_nothing_twice(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:00")) as found:
        found.live(at("2026-03-10 04:00"))
        found.world.clock.time = float(at("2026-03-09 20:30"))
        found.live(at("2026-03-10 04:00"))
        assert found.nights() == [("03-09 21:00", "done")]
        assert len(found.farm.dumps) == 3
        found.live(at("2026-03-11 02:00"), beat=False)
        found.live(at("2026-03-11 02:30"))  # and absence is told again, by the clock as it is now
        assert found.nights()[-1] == ("03-10 21:00", "missed")


def test_after_a_clock_that_was_ahead_is_put_right_absence_is_told_by_the_right_time(
    tmp_path: Path,
) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-20 12:00")) as found:
        found.live(at("2026-03-20 12:10"))
        found.world.clock.time = float(at("2026-03-09 20:30"))
        found.live(at("2026-03-09 20:40"))
        found.live(at("2026-03-10 02:00"), beat=False)
        found.live(at("2026-03-10 02:10"))
        assert found.nights() == [("03-09 21:00", "missed")]


def test_a_clock_that_jumped_ahead_writes_a_month_at_most(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 12:00")) as found:
        found.live(at("2026-03-09 12:10"))
        found.world.clock.time = float(at("2036-03-09 12:10"))
        tick.tick(found.world)
        assert len(found.nights()) == 31


# --- order and nodes ------------------------------------------------------------------------------


def test_the_strictest_tier_is_dumped_first_within_a_node(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY, tiers={104: "gold"}), at("2026-03-09 20:59")) as found:
        found.farm.place({101: "clovis", 102: "clovis", 103: "lge-pve02", 104: "clovis"})
        found.live(at("2026-03-09 22:00"))
        assert [vmid for _, node, vmid in found.farm.dumps if node == "clovis"] == [104, 101, 102]


def test_a_laxer_tier_that_is_looked_at_first_lets_the_stricter_one_go_ahead(
    tmp_path: Path,
) -> None:
    with site(tmp_path, policy(NIGHTLY, tiers={102: "gold"}), at("2026-03-09 21:00")) as found:
        engine = found.world.engine
        guests = {guest.vmid: guest for guest in found.world.pve.cluster.guests()}
        lax, strict = (
            open_backup(found.world, NIGHTLY, Expected(vmid, guests[vmid])) for vmid in (101, 102)
        )
        assert lax and strict
        worker_loop.work(engine.executor, lax.id, long=True)
        worker_loop.work(engine.executor, strict.id, long=True)
        assert backed_up(found) == [102]


def test_a_node_that_is_offline_holds_up_no_other_and_its_guests_fail_when_the_window_is_over(
    tmp_path: Path,
) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.farm.leave(103, at("2026-03-08 21:00"))
        found.farm.offline = {"lge-pve02"}
        found.live(at("2026-03-09 21:30"))
        assert backed_up(found) == [101, 102]
        assert [
            item.subject
            for item in found.world.catalog.operations.find(
                kind="backup", state=OperationState.OPEN
            )
        ] == [103]
        found.live(at("2026-03-10 03:00"))
        failed = found.world.catalog.operations.find(kind="backup", state=OperationState.FAILED)[0]
        assert (
            "node lge-pve02 was offline until the window was over, so guest 103 was not backed up"
            in str(failed.error)
        )
        assert summary(found) is not None and "backups: 2 of 3 done, not those of 103" in str(
            summary(found)
        )


def test_a_guest_whose_node_comes_back_or_that_moves_is_backed_up_all_the_same(
    tmp_path: Path,
) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.farm.offline = {"lge-pve02"}
        found.live(at("2026-03-09 22:00"))
        found.farm.guests[103].node = "clovis"
        found.live(at("2026-03-09 22:30"))
        assert found.farm.dumps[-1][1:] == ("clovis", 103)


def test_a_guest_that_fails_does_not_fail_the_night_and_is_named(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.farm.sick = {102}
        found.verdicts = {101: Verdict.FAILED}
        found.farm.leave(102, at("2026-03-08 21:00"))
        found.live(at("2026-03-10 02:00"))
        assert found.nights() == [("03-09 21:00", "done")]
        assert summary(found) == (
            "backups: 2 of 3 done, not those of 102; retention: done; restore tests: 1 failed, 2 "
            "proven"
        )


# --- restore tests --------------------------------------------------------------------------------


def test_tests_wait_for_their_window_and_go_one_after_the_other(tmp_path: Path) -> None:
    with site(
        tmp_path, policy(NIGHTLY, window="01:00-06:00", tiers={103: "gold"}), at("2026-03-09 20:59")
    ) as found:
        found.live(at("2026-03-10 07:00"))
        assert [(local(when), vmid) for when, vmid in found.tests] == [
            ("03-10 01:00", 103), ("03-10 01:10", 101), ("03-10 01:20", 102),
        ]  # fmt: skip


def test_a_test_that_would_not_fit_is_not_begun_and_a_slow_one_is_stopped_in_time(
    tmp_path: Path,
) -> None:
    with site(
        tmp_path, policy(NIGHTLY, window="01:00-02:00", node="clovis"), at("2026-03-09 20:59")
    ) as found:
        found.test_seconds = {101: 2 * 3600}
        found.live(at("2026-03-10 04:00"))
        assert [vmid for _, vmid in found.tests] == [101]
        test = found.world.catalog.operations.find(kind="restore-test")[0]
        assert test.finished is not None and at("2026-03-10 02:00") <= test.finished <= at(
            "2026-03-10 02:02"
        )
        assert test.book.error is not None and "passed its deadline" in test.book.error.message
        assert summary(
            found
        ) is not None and "1 inconclusive, 2 did not fit into their window" in str(summary(found))


def test_the_measured_duration_decides_once_there_is_one(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY, window="01:00-01:39", node="clovis", tiers={101: "gold", 102: "gold", 103: "gold"}),
              at("2026-03-09 20:59")) as found:  # fmt: skip
        found.live(at("2026-03-10 04:00"))
        assert [vmid for _, vmid in found.tests] == [101]  # nothing is known yet: half an hour each
        found.live(at("2026-03-11 04:00"))
        # 103 would not fit after 102; ten minutes more do
        assert [vmid for _, vmid in found.tests][1:] == [102, 101]
        found.live(at("2026-03-12 04:00"))
        assert [vmid for _, vmid in found.tests][3:] == [103, 101, 102]


def test_a_window_that_does_not_open_before_the_next_night_is_said(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY, window="sat 01:00-06:00"), at("2026-03-09 20:59")) as found:
        found.live(at("2026-03-09 23:00"))
        assert not found.tests
        assert "their window does not open before the next night" in str(summary(found))


def test_who_is_not_due_before_the_next_night_is_left_alone(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY, tiers={101: "gold"}), at("2026-03-09 20:59")) as found:
        found.live(at("2026-03-11 20:00"))
        assert Counter(vmid for _, vmid in found.tests) == {101: 2, 102: 1, 103: 1}


def test_a_test_that_could_not_be_decided_is_tried_once_more_in_the_same_night_after_everybody_else(
    tmp_path: Path,
) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.causes = {101: ["platform", "capacity", "platform"], 102: ["network"]}
        found.verdicts = {103: Verdict.FAILED}
        found.live(at("2026-03-10 12:00"))
        assert [vmid for _, vmid in found.tests] == [101, 102, 103, 101, 102]
        assert "1 failed, 3 inconclusive, 1 proven" in str(summary(found))


def test_once_a_month_an_old_archive_is_drawn_when_everybody_is_proven(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        old = found.farm.leave(101, at("2026-02-09 21:00"))
        found.live(at("2026-03-10 20:00"))
        tested = [
            recall_test(item).volid
            for item in found.world.catalog.operations.find(kind="restore-test", subject=101)
        ]
        assert tested == [old.volid, None]
        found.live(at("2026-03-12 20:00"))
        assert len(found.world.catalog.operations.find(kind="restore-test", subject=101)) == 2


# --- one guest, one operation ---------------------------------------------------------------------


def test_a_backup_waits_for_the_restore_test_of_its_guest(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:55")) as found:
        found.farm.leave(101, at("2026-03-08 21:00"))
        found.test_seconds = {101: 1200}
        open_test(found.world, 101)
        found.live(at("2026-03-09 22:00"))
        assert [(local(when), vmid) for when, _, vmid in found.farm.dumps if vmid == 101] == [
            ("03-09 21:15", 101)
        ]
        assert [local(when) for when, _, vmid in found.farm.dumps if vmid == 102] == ["03-09 21:00"]


def test_a_restore_test_waits_for_the_backup_of_its_guest(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 21:30")) as found:
        found.farm.seconds = {"vzdump": 1200.0}
        open_backup(found.world, NIGHTLY, Expected(101, None))
        with pytest.raises(Refused, match="guest 101 already has an operation at work: backup"):
            open_test(found.world, 101)
        found.live(at("2026-03-10 02:00"))
        assert Counter(backed_up(found)) == {101: 2, 102: 1, 103: 1}
        assert sorted(vmid for _, vmid in found.tests) == [101, 102, 103]


# --- what PVE backs up itself ---------------------------------------------------------------------


def test_what_pves_own_job_backs_up_is_adopted_and_not_dumped_again(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.farm.jobs = [job_row(PVE_JOB)]
        found.live(at("2026-03-09 21:10"))
        assert not found.farm.dumps
        for vmid in (101, 102, 103):
            found.farm.leave(vmid, at("2026-03-09 21:05"))
        found.live(at("2026-03-10 02:00"))
        assert not found.farm.dumps
        outcome = backup_outcome(found.world.catalog.operations.find(kind="backup", subject=101)[0])
        assert (outcome["status"], outcome["origin"], outcome["consistency"]) == (
            "ok",
            "PVE job backup-1",
            "unknown",
        )
        assert "3 of 3 done" in str(summary(found))


def test_when_pves_job_left_nothing_the_dump_is_ours_after_the_window(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.farm.jobs = [job_row(PVE_JOB)]
        found.farm.leave(101, at("2026-03-08 21:05"))
        found.live(at("2026-03-10 03:00"))
        assert {local(when)[:8] for when, _, _ in found.farm.dumps} == {"03-10 01"}
        assert Counter(backed_up(found)) == {101: 1, 102: 1, 103: 1}


def test_a_job_of_pves_that_is_disabled_or_hours_away_changes_nothing(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.farm.jobs = [
            job_row(PveJob("a", False, "21:00", "local", all=True)),
            job_row(PveJob("b", True, "03:00", "local", all=True)),
        ]
        found.live(at("2026-03-09 22:00"))
        assert sorted(backed_up(found)) == [101, 102, 103]


def test_a_dump_that_an_administrator_started_is_waited_for_and_adopted(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.farm.dump_of_somebody("clovis", 101, at("2026-03-09 20:58"))
        found.live(at("2026-03-09 21:20"))
        assert sorted(backed_up(found)) == [102, 103]
        found.farm.leave(101, at("2026-03-09 20:58"))
        found.farm.end_others()
        found.live(at("2026-03-09 23:00"))
        assert sorted(backed_up(found)) == [102, 103]


def test_a_dump_of_an_administrators_that_left_nothing_is_followed_by_ours(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.farm.dump_of_somebody("clovis", 0, at("2026-03-09 20:58"))
        found.live(at("2026-03-09 21:20"))
        assert backed_up(found) == [103]
        found.farm.end_others()
        found.live(at("2026-03-09 23:00"))
        assert sorted(backed_up(found)) == [101, 102, 103]


def test_a_backup_by_hand_never_stands_back(tmp_path: Path) -> None:
    with site(tmp_path, policy(), at("2026-03-09 21:00")) as found:
        found.world.policy = policy(NIGHTLY)
        found.farm.jobs = [job_row(PVE_JOB)]
        opened = open_backup(found.world, NIGHTLY, Expected(101, None))
        assert opened is not None
        found.waiting.append(opened.id)
        found._work(found.world.engine)
        assert backed_up(found) == [101]


def test_what_is_proven_no_further_than_booted_is_told_apart() -> None:
    def test(verdict: Verdict, rung: Rung) -> Operation:
        memory = FORM.write(RestoreTestMemory(proof=Judged(verdict, rung)))
        return Operation("01X", "restore-test", 101, OperationState.DONE, "judge", memory, 1, 2, 3)

    assert verdict_of(test(Verdict.PROVEN, Rung.HEALTHY)) == "proven"
    assert verdict_of(test(Verdict.PROVEN, Rung.BOOTED)) == "proven at rung booted"
    assert verdict_of(test(Verdict.INCONCLUSIVE, Rung.BOOTED)) == "inconclusive"
    assert (
        verdict_of(replace(test(Verdict.PROVEN, Rung.HEALTHY), state=OperationState.FAILED))
        == "failed"
    )
