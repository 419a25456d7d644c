"""An operation is found by a part of its id, and says where it stands and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from backupsvc.catalog.operations import Kept
from backupsvc.errors import UsageError
from backupsvc.operations import build_engine, showing
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.job_run.memory import NightMemory
from backupsvc.operations.job_run.result import failed_children, job_run_outcome
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.prune.memory import PruneMemory
from backupsvc.operations.restore_test.memory import Judged, RestoreTestMemory
from policies.bookkeeping import Bookkeeping, StepError
from policies.freezing import State, Thaw
from policies.model import Operation, OperationState, Rung, Verdict
from tests.fakes.made import archive
from tests.unit.operations.worlds import World, operation_of, world

NOW = 1_773_086_400


@pytest.fixture
def site(sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    made.engine = build_engine(made)
    yield made
    made.catalog.close()


ASKED = BackupMemory("nightly")


def opened(
    site: World, subject: int | None = 108, kind: str = "backup", memory: Any = ASKED
) -> Operation:
    operation: Operation | None = site.engine.open(kind, subject, memory)
    assert operation is not None
    return operation


def finish(
    site: World,
    operation: Operation,
    state: OperationState,
    memory: Any = ASKED,
    error: str | None = None,
) -> None:
    kept = Kept(KINDS[operation.kind].form.write(memory), operation.book)
    site.catalog.operations.finish(
        operation.id, site.engine.executor.driver(), state, kept=kept, error=error, note=None
    )


def ended(
    kind: str,
    state: OperationState = OperationState.DONE,
    memory: Any = ASKED,
    error: StepError | None = None,
) -> Operation:
    kept, message = KINDS[kind].form.write(memory), error.message if error else None
    return Operation(
        "01X", kind, 108, state, "settle", kept, NOW, NOW, NOW + 9, error=message, book=Bookkeeping(error=error)
    )  # fmt: skip


def judged(verdict: Verdict) -> RestoreTestMemory:
    return RestoreTestMemory(proof=Judged(verdict, Rung.HEALTHY))


def test_a_whole_id_its_beginning_and_its_end_name_an_operation(site: World) -> None:
    one = opened(site)
    site.clock.time += 5_000_000
    opened(site, 109)
    assert showing.find(site.catalog, one.id) == one
    assert showing.find(site.catalog, one.id[-6:].lower()).id == one.id
    assert showing.find(site.catalog, one.id[:8]).id == one.id


def test_a_part_that_two_ids_have_is_refused_with_both(site: World) -> None:
    one, other = opened(site), opened(site, 109)
    with pytest.raises(UsageError, match="fits several operations") as refused:
        showing.find(site.catalog, one.id[:6])
    assert one.id in refused.value.message and other.id in refused.value.message


@pytest.mark.parametrize("text", ["0000", "01", "", "%%%%", "01ZZ'--"])
def test_what_names_no_operation_is_a_mistake_of_the_user(site: World, text: str) -> None:
    opened(site)
    with pytest.raises(UsageError):
        showing.find(site.catalog, text)


def standing(attended: bool = True, **changes: Any) -> str:
    made = Operation("01X", "backup", 108, OperationState.OPEN, "dump", {}, NOW, NOW, due=NOW)
    return showing.standing(replace(made, **changes), NOW, attended=attended)


def test_who_drives_an_operation_is_said_without_the_drivers_secret_part() -> None:
    assert standing(lease_owner="vm:12:abcd", lease_until=NOW + 9) == "driven by vm:12"


def test_a_driver_that_is_gone_is_said_to_be_gone() -> None:
    assert "its driver vm:12 is gone" in standing(
        False, lease_owner="vm:12:abcd", lease_until=NOW + 9
    )
    assert standing(lease_owner="vm:12:abcd", lease_until=NOW - 9).startswith(
        "its driver vm:12 was lost; due since"
    )


def test_an_operation_that_nobody_drives_is_due_at_a_time() -> None:
    assert standing(due=NOW + 60) == "due at 2026-03-09T20:01:00Z"
    assert standing(due=NOW) == "due since 2026-03-09T20:00:00Z"
    assert standing(False, due=NOW - 600).endswith("and nobody came")


def test_an_operation_that_is_being_cancelled_says_so() -> None:
    assert standing(cancel="enough").startswith("ending; ")


def test_a_restore_test_that_is_done_and_not_proven_exits_1(site: World) -> None:
    assert (
        showing.exit_code(site.catalog, ended("restore-test", memory=judged(Verdict.PROVEN))) == 0
    )
    assert (
        showing.exit_code(site.catalog, ended("restore-test", memory=judged(Verdict.INCONCLUSIVE)))
        == 1
    )


@pytest.mark.parametrize("kind", KINDS)
def test_one_whose_memory_a_newer_version_wrote_is_shown_and_told_all_the_same(
    site: World, kind: str
) -> None:
    written = Operation(
        "01X", kind, 108, OperationState.DONE, "end", {"version": 99}, NOW, NOW, NOW + 9
    )
    found = showing.summary(site, written)
    assert (found["kind"], found["summary"], found["verdict"]) == (kind, None, None)
    # of a reap there is no more to say
    assert found["result"] == ("done" if kind == "reap" else showing.UNREADABLE)
    assert showing.name_of(written) == "" and showing.remembered(written) == {}
    assert KINDS[kind].told(site.catalog, written).operation == "01X"


def test_a_failed_operation_exits_as_its_error_says(site: World) -> None:
    error = StepError("dump", "no", exit_code=4)
    assert showing.exit_code(site.catalog, ended("backup", OperationState.FAILED, error=error)) == 4
    assert showing.exit_code(site.catalog, ended("backup", OperationState.CANCELLED)) == 1
    assert showing.exit_code(site.catalog, ended("backup")) == 0


def test_a_night_is_as_good_as_what_it_opened(site: World) -> None:
    child = opened(site)
    night = ended("night", memory=NightMemory("nightly", NOW, (108,), {"backup#108": child.id}))
    finish(site, child, OperationState.FAILED, error="no")
    assert showing.exit_code(site.catalog, night) == 1
    assert [item.id for item in failed_children(site.catalog, night)] == [child.id]


def night_of(site: World, name: str, kind: str, state: OperationState, memory: Any) -> Operation:
    """A night that backed one guest up, and of which one operation ended so."""
    children = {}
    for piece, (its, end, found) in {
        "backup#108": ("backup", OperationState.DONE, ASKED),
        name: (kind, state, memory),
    }.items():
        child = opened(site, None if its == "prune" else 108, its, found)
        finish(site, child, end, found)
        children[piece] = child.id
    return ended("night", memory=NightMemory("nightly", NOW, (108,), children))


FROZEN = BackupMemory("nightly", thaw=Thaw(State.FROZEN, "its agent says so", NOW))


@pytest.mark.parametrize(
    ("name", "kind", "state", "memory", "code"),
    [
        ("backup#108", "backup", OperationState.DONE, ASKED, 0),
        ("backup#108", "backup", OperationState.CANCELLED, ASKED, 1),
        ("backup#108", "backup", OperationState.DONE, FROZEN, 1),
        ("prune", "prune", OperationState.DONE, PruneMemory(), 0),
        ("prune", "prune", OperationState.DONE, PruneMemory(not_listed=("node b is offline",)), 1),
        ("prune", "prune", OperationState.FAILED, PruneMemory(), 1),
        ("prove#108", "restore-test", OperationState.DONE, judged(Verdict.PROVEN), 0),
        ("prove#108", "restore-test", OperationState.DONE, judged(Verdict.SIMULATED), 0),
        ("prove#108", "restore-test", OperationState.DONE, judged(Verdict.FAILED), 1),
        ("sample#108", "restore-test", OperationState.DONE, judged(Verdict.INCONCLUSIVE), 1),
    ],
)
def test_law_5_a_night_exits_as_its_log_line_judges_it(
    site: World, name: str, kind: str, state: OperationState, memory: Any, code: int
) -> None:
    night = night_of(site, name, kind, state, memory)
    assert showing.exit_code(site.catalog, night) == code
    assert job_run_outcome(site.catalog, night).good == (code == 0)


def test_law_4_a_night_whose_guest_was_expected_and_has_no_backup_at_all_is_not_good(
    site: World,
) -> None:
    assert (
        showing.exit_code(site.catalog, ended("night", memory=NightMemory("nightly", NOW, (108,))))
        == 1
    )


def test_what_came_of_it_is_said_in_a_few_words() -> None:
    assert (
        showing.result(ended("restore-test", memory=judged(Verdict.PROVEN)))
        == "proven, rung healthy"
    )
    assert (
        showing.result(ended("prune", memory=PruneMemory(removed=(("a", "b"),))))
        == "1 archives removed"
    )
    assert (
        showing.result(ended("backup", memory=replace(ASKED, archive=archive(108, 1))))
        == archive(108, 1).volid
    )
    assert showing.result(ended("backup")) == "done"
    assert showing.result(ended("backup", memory=FROZEN)) == "done; guest-left-frozen"
    assert (
        showing.result(ended("backup", OperationState.FAILED, error=StepError("dump", "no room")))
        == "no room"
    )


def test_what_an_operation_waits_for_is_known_to_whoever_looks_from_elsewhere(site: World) -> None:
    one = opened(site)
    kept = Kept(one.memory, replace(one.book, waits="vzdump is running"))
    site.catalog.operations.record(one.id, site.engine.executor.driver(), kept=kept)
    found = showing.summary(site, operation_of(site, one.id))
    assert found["waits"] == "vzdump is running"
    assert found["driver"] and found["standing"].startswith("driven by")
