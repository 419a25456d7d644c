"""An operation is found by a part of its id, and says where it stands and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from backupsvc.errors import UsageError
from backupsvc.operations import build_engine, showing
from backupsvc.operations.job_run.result import failed_children, night_outcome
from policies.model import Operation, OperationState
from tests.unit.operations.worlds import World, operation_of, world

NOW = 1_773_086_400


@pytest.fixture
def site(sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    made.engine = build_engine(made)
    yield made
    made.catalog.close()


def opened(site: World, subject: int = 108, kind: str = "backup", **data: Any) -> Operation:
    operation: Operation | None = site.engine.open(kind, subject, data)
    assert operation is not None
    return operation


def ended(kind: str, state: OperationState = OperationState.DONE, **data: Any) -> Operation:
    error = (data.get("error") or {}).get("message")
    return Operation("01X", kind, 108, state, "settle", data, NOW, NOW, NOW + 9, error=error)


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
    assert "its driver vm:12 is gone" in standing(False, lease_owner="vm:12:abcd", lease_until=NOW + 9)
    assert standing(lease_owner="vm:12:abcd", lease_until=NOW - 9).startswith("its driver vm:12 was lost; due since")


def test_an_operation_that_nobody_drives_is_due_at_a_time() -> None:
    assert standing(due=NOW + 60) == "due at 2026-03-09T20:01:00Z"
    assert standing(due=NOW) == "due since 2026-03-09T20:00:00Z"
    assert standing(False, due=NOW - 600).endswith("and nobody came")


def test_an_operation_that_is_being_cancelled_says_so() -> None:
    assert standing(cancel="enough").startswith("ending; ")


def test_a_restore_test_that_is_done_and_not_proven_exits_1(site: World) -> None:
    assert showing.exit_code(site.catalog, ended("restore-test", proof={"verdict": "proven"})) == 0
    assert showing.exit_code(site.catalog, ended("restore-test", proof={"verdict": "inconclusive"})) == 1


def test_a_failed_operation_exits_as_its_error_says(site: World) -> None:
    error = {"message": "no", "hint": "", "exit_code": 4}
    assert showing.exit_code(site.catalog, ended("backup", OperationState.FAILED, error=error)) == 4
    assert showing.exit_code(site.catalog, ended("backup", OperationState.CANCELLED)) == 1
    assert showing.exit_code(site.catalog, ended("backup")) == 0


def test_a_night_is_as_good_as_what_it_opened(site: World) -> None:
    child = opened(site)
    night = ended("night", children={"backup#108": child.id}, vmids=[108])
    site.catalog.finish(child.id, site.engine.driver(), OperationState.FAILED, data={}, error="no", note=None)
    assert showing.exit_code(site.catalog, night) == 1
    assert [item.id for item in failed_children(site.catalog, night)] == [child.id]


def night_of(site: World, name: str, state: OperationState, **data: Any) -> Operation:
    """A night that backed one guest up, and of which one operation ended so."""
    pieces: dict[str, tuple[OperationState, dict[str, Any]]] = {"backup#108": (OperationState.DONE, {})} | {name: (state, data)}
    children = {}
    for piece, (end, memory) in pieces.items():
        child = opened(site)
        site.catalog.finish(child.id, site.engine.driver(), end, data=memory, error=None, note=None)
        children[piece] = child.id
    return ended("night", children=children, vmids=[108])


@pytest.mark.parametrize(
    ("name", "state", "data", "code"),
    [
        ("backup#108", OperationState.DONE, {}, 0),
        ("backup#108", OperationState.CANCELLED, {}, 1),
        ("prune", OperationState.DONE, {}, 0),
        ("prune", OperationState.FAILED, {}, 1),
        ("prove#108", OperationState.DONE, {"proof": {"verdict": "proven"}}, 0),
        ("prove#108", OperationState.DONE, {"proof": {"verdict": "simulated"}}, 0),
        ("prove#108", OperationState.DONE, {"proof": {"verdict": "failed"}}, 1),
        ("sample#108", OperationState.DONE, {"proof": {"verdict": "inconclusive"}}, 1),
    ],
)
def test_law_5_a_night_exits_as_its_log_line_judges_it(
    site: World, name: str, state: OperationState, data: dict[str, Any], code: int
) -> None:
    night = night_of(site, name, state, **data)
    assert showing.exit_code(site.catalog, night) == code
    assert night_outcome(site.catalog, night).good == (code == 0)


def test_law_4_a_night_whose_guest_was_expected_and_has_no_backup_at_all_is_not_good(site: World) -> None:
    assert showing.exit_code(site.catalog, ended("night", children={}, vmids=[108])) == 1


def test_what_came_of_it_is_said_in_a_few_words() -> None:
    assert showing.result(ended("restore-test", proof={"verdict": "proven", "rung": "healthy"})) == "proven, rung healthy"
    assert showing.result(ended("prune", removed=[["a", "b"]])) == "1 archives removed"
    assert showing.result(ended("backup", archive={"volid": "local:backup/x"})) == "local:backup/x"
    assert showing.result(ended("backup", OperationState.FAILED, error={"message": "no room"})) == "no room"


def test_what_an_operation_waits_for_is_known_to_whoever_looks_from_elsewhere(site: World) -> None:
    one = opened(site)
    site.catalog.record(one.id, site.engine.driver(), data={"waits": "vzdump is running"})
    found = showing.summary(site, operation_of(site, one.id))
    assert found["waits"] == "vzdump is running"
    assert found["driver"] and found["standing"].startswith("driven by")
