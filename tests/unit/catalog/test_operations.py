"""What the catalog remembers of operations, and that only one of many wins."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog import Catalog, ulid
from backupsvc.catalog.database import Database
from backupsvc.catalog.operations import Driver, Kept, NewOperation, Note
from backupsvc.catalog.tables import TRANSITION
from backupsvc.errors import LeaseLost, OperationFailed
from policies.bookkeeping import Bookkeeping
from policies.model import Operation, OperationState, Transition
from tests import held

NOTHING = Kept({}, Bookkeeping())
A, B = Driver("a", 60, 100), Driver("b", 60, 100)


def new(kind: str = "backup", subject: int | None = 108, **more: Any) -> NewOperation:
    return NewOperation(kind, subject, more.pop("step", "locate"), more.pop("memory", {}), **more)


def opened(
    catalog: Catalog, kind: str = "backup", subject: int | None = 108, at: int = 100, **more: Any
) -> Operation:
    operation = catalog.operations.open(new(kind, subject, **more), at)
    assert operation is not None
    return operation


def at(driver: Driver, now: int) -> Driver:
    return replace(driver, now=now)


def finish(
    catalog: Catalog, id: str, driver: Driver = A, state: OperationState = OperationState.DONE
) -> Operation:
    catalog.operations.claim(id, driver)
    return catalog.operations.finish(id, driver, state, kept=NOTHING, error=None, note=None)


def test_an_operation_is_remembered_with_its_data_in_plain_json(catalog: Catalog) -> None:
    data = MappingProxyType(
        {"nodes": ("clovis",), "deep": MappingProxyType({"n": 1, "none": None})}
    )
    made = catalog.operations.open(NewOperation("restore-test", 108, "choose", data), 1000)
    assert made is not None
    assert made == catalog.operations.get(made.id)
    assert made.memory == {"nodes": ["clovis"], "deep": {"n": 1, "none": None}}
    assert (made.state, made.step, made.created, made.due, made.finished) == (
        OperationState.OPEN,
        "choose",
        1000,
        1000,
        None,
    )
    assert ulid.time_of(made.id) == 1000
    assert catalog.operations.get("nothing") is None


def test_operations_come_newest_first_by_kind_guest_and_state(catalog: Catalog) -> None:
    ids = [
        opened(catalog, kind, subject).id
        for kind, subject in [("backup", 108), ("backup", 109), ("prune", None)]
    ]
    finish(catalog, ids[0])
    assert [item.id for item in catalog.operations.find()] == ids[::-1]
    assert [item.id for item in catalog.operations.find(kind="backup", limit=1)] == [ids[1]]
    assert [item.id for item in catalog.operations.find(subject=108)] == [ids[0]]
    assert [item.id for item in catalog.operations.find(state=OperationState.OPEN)] == [
        ids[2],
        ids[1],
    ]
    assert catalog.operations.still_open(ids) == {ids[1], ids[2]}


def test_law_9_an_occurrence_is_opened_once(catalog: Catalog) -> None:
    assert catalog.operations.open(new(occurrence="nightly@2026-03-09T21:00"), 1000) is not None
    assert catalog.operations.open(new(occurrence="nightly@2026-03-09T21:00"), 2000) is None
    assert catalog.operations.open(new(occurrence="nightly@2026-03-10T21:00"), 1000) is not None
    assert opened(catalog).occurrence is None and opened(catalog).occurrence is None
    found = catalog.operations.by_occurrence("nightly@2026-03-09T21:00")
    assert (
        found and found.created == 1000 and catalog.operations.by_occurrence("nightly@1999") is None
    )


def test_law_9_a_missed_occurrence_is_recorded_once_and_never_opened_afterwards(
    catalog: Catalog,
) -> None:
    missed = catalog.operations.record_missed(
        new("night", None, occurrence="nightly@1"), 5000, "no scheduler ran"
    )
    assert missed and (missed.state, missed.finished, missed.error) == (
        OperationState.MISSED,
        5000,
        "no scheduler ran",
    )
    assert (
        catalog.operations.record_missed(
            new("night", None, occurrence="nightly@1"), 6000, "no scheduler ran"
        )
        is None
    )
    assert catalog.operations.open(new("night", None, occurrence="nightly@1"), 6000) is None
    assert catalog.operations.due(10_000, 10) == []


def test_law_9_a_guest_has_one_open_operation_and_another_when_that_has_ended(
    catalog: Catalog,
) -> None:
    first = opened(catalog, exclusive_key="guest 108")
    assert catalog.operations.open(new("restore-test", exclusive_key="guest 108"), 200) is None
    assert catalog.operations.by_exclusive_key("guest 108") == first
    opened(catalog, subject=109, exclusive_key="guest 109")
    finish(catalog, first.id)
    assert catalog.operations.by_exclusive_key("guest 108") is None
    opened(catalog, "restore-test", exclusive_key="guest 108")


def test_an_operation_has_one_driver_until_its_lease_runs_out(catalog: Catalog) -> None:
    id = opened(catalog).id
    assert catalog.operations.claim(id, A)
    assert not catalog.operations.claim(id, at(B, 159))
    assert catalog.operations.claim(id, at(B, 160))
    assert catalog.operations.renew_all(at(A, 161)) == {}
    found = catalog.operations.get(id)
    assert found and (found.lease_owner, found.lease_until) == ("b", 220)


def test_the_driver_itself_may_claim_again_and_renew(catalog: Catalog) -> None:
    id = opened(catalog).id
    assert catalog.operations.claim(id, A) and catalog.operations.claim(id, at(A, 130))
    assert catalog.operations.renew_all(at(A, 150)) == {id: None}
    found = catalog.operations.get(id)
    assert found and (found.lease_until, found.attempts) == (210, 0)


def test_an_operation_may_be_driven_from_the_moment_it_is_opened(catalog: Catalog) -> None:
    made = catalog.operations.open(new(), 100, A)
    assert made and (made.lease_owner, made.lease_until) == ("a", 160)
    assert catalog.operations.claim(made.id, B) is None


def test_lost_drivers_are_counted_and_forgotten_at_the_next_step(catalog: Catalog) -> None:
    id = opened(catalog).id
    for number in range(3):
        claimed = catalog.operations.claim(id, Driver(f"worker-{number}", 60, 100 + 60 * number))
        assert claimed and claimed.attempts == number
    last = Driver("worker-2", 60, 230)
    catalog.operations.record(id, last, step="dump")
    found = catalog.operations.get(id)
    assert found and (found.step, found.attempts) == ("dump", 0)


def test_a_parked_operation_is_anybodys_and_due_at_its_time(catalog: Catalog) -> None:
    id = opened(catalog).id
    catalog.operations.claim(id, A)
    catalog.operations.record(id, A, kept=Kept({"x": 1}, Bookkeeping()), park=500)
    found = catalog.operations.get(id)
    assert found and (found.due, found.lease_owner, found.lease_until, found.memory) == (
        500,
        None,
        None,
        {"x": 1},
    )
    assert catalog.operations.due(499, 10) == [] and catalog.operations.due(500, 10) == [id]
    claimed = catalog.operations.claim(id, at(B, 101))
    assert claimed and claimed.attempts == 0


def test_law_9_a_driver_that_lost_its_lease_can_write_nothing(catalog: Catalog) -> None:
    id = opened(catalog).id
    catalog.operations.claim(id, A)
    catalog.operations.claim(id, at(B, 200))
    slept = at(A, 201)
    with pytest.raises(LeaseLost, match="driven by another process"):
        catalog.operations.record(
            id,
            slept,
            step="dump",
            kept=Kept({"late": True}, Bookkeeping()),
            note=Note("locate", "finished"),
        )
    with pytest.raises(LeaseLost):
        catalog.operations.finish(
            id, slept, OperationState.DONE, kept=NOTHING, error=None, note=None
        )
    found = catalog.operations.get(id)
    assert found and (found.step, found.memory, found.lease_owner) == ("locate", {}, "b")
    assert catalog.operations.transitions(id) == []


def test_an_ended_operation_is_ended_for_ever(catalog: Catalog) -> None:
    id = opened(catalog).id
    catalog.operations.claim(id, A)
    ended = catalog.operations.finish(
        id,
        A,
        OperationState.FAILED,
        kept=NOTHING,
        error="the storage is full",
        note=Note("dump", "failed"),
    )
    assert (ended.state, ended.finished, ended.error) == (
        OperationState.FAILED,
        100,
        "the storage is full",
    )
    assert (ended.lease_owner, ended.lease_until) == (None, None)
    assert not catalog.operations.claim(id, at(B, 10_000))
    with pytest.raises(LeaseLost, match="has ended"):
        catalog.operations.finish(id, A, OperationState.DONE, kept=NOTHING, error=None, note=None)
    with pytest.raises(LeaseLost, match="has ended"):
        catalog.operations.record(id, A, step="x", kept=NOTHING)
    assert catalog.operations.get(id) == ended


def test_an_operation_cannot_end_open(catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="open"):
        catalog.operations.finish(
            opened(catalog).id, A, OperationState.OPEN, kept=NOTHING, error=None, note=None
        )


def test_step_data_and_history_are_written_together(catalog: Catalog) -> None:
    id = opened(catalog).id
    catalog.operations.claim(id, A)
    catalog.operations.record(
        id,
        at(A, 150),
        step="dump",
        kept=Kept({"node": "clovis"}, Bookkeeping()),
        note=Note("locate", "finished", None, {"seconds": 1}),
    )
    found = catalog.operations.get(id)
    assert found and (found.step, found.memory, found.updated, found.lease_until) == (
        "dump",
        {"node": "clovis"},
        150,
        210,
    )
    assert catalog.operations.transitions(id) == [
        Transition(id, 1, "locate", "finished", 150, None, {"seconds": 1})
    ]


def test_the_history_of_an_operation_is_numbered_and_only_grows(catalog: Catalog) -> None:
    first, second = opened(catalog).id, opened(catalog).id
    for id in (first, second, first):
        catalog.operations.claim(id, A)
        catalog.operations.record(
            id, A, note=Note("dump", "task", f"UPID:{id}", {"storage": "local"})
        )
    assert [line.seq for line in catalog.operations.transitions(first)] == [1, 2]
    assert [line.seq for line in catalog.operations.transitions(first, after=1)] == [2]
    assert catalog.operations.transitions(second) == [
        Transition(second, 1, "dump", "task", 100, f"UPID:{second}", {"storage": "local"})
    ]


def test_a_task_that_another_operations_history_names_is_that_ones(catalog: Catalog) -> None:
    first, second = opened(catalog).id, opened(catalog).id
    catalog.operations.claim(first, A)
    catalog.operations.record(first, A, note=Note("dump", "task", "UPID:1"))
    assert catalog.operations.upids_of_others(second, ["UPID:1", "UPID:2"]) == {"UPID:1"}
    assert catalog.operations.upids_of_others(first, ["UPID:1", "UPID:2"]) == set()


def test_an_unknown_operation_is_an_error_that_names_it(catalog: Catalog) -> None:
    with pytest.raises(OperationFailed, match="no operation 01X"):
        catalog.operations.record("01X", A, note=Note("a", "started"))
    with pytest.raises(OperationFailed, match="no operation 01X"):
        catalog.operations.finish(
            "01X", A, OperationState.DONE, kept=NOTHING, error=None, note=None
        )


# --- what is due ----------------------------------------------------------------------------------


def test_what_is_due_is_what_nobody_drives_the_longest_due_first(catalog: Catalog) -> None:
    late, driven, expired, future = (opened(catalog, at=when).id for when in (50, 40, 30, 900))
    catalog.operations.claim(driven, A)
    catalog.operations.claim(expired, Driver("gone", 10, 60))
    assert catalog.operations.due(100, 10) == [expired, late]
    assert catalog.operations.due(100, 1) == [expired]
    catalog.operations.postpone([late], 500)
    assert catalog.operations.due(100, 10) == [expired]
    assert late in catalog.operations.due(500, 10)
    assert future not in catalog.operations.due(899, 10) and future in catalog.operations.due(
        900, 10
    )


def test_a_driver_that_is_known_to_be_gone_is_not_waited_for(catalog: Catalog) -> None:
    id = opened(catalog).id
    catalog.operations.claim(id, A)
    assert catalog.operations.drivers(100) == {id: "a"}
    catalog.operations.expire(id, "b", 100)
    assert catalog.operations.due(100, 10) == []
    catalog.operations.expire(id, "a", 100)
    assert catalog.operations.due(100, 10) == [id]
    claimed = catalog.operations.claim(id, B)
    assert claimed and claimed.attempts == 1


def test_whoever_drives_hears_of_a_cancellation_and_its_first_reason_stands(
    catalog: Catalog,
) -> None:
    id = opened(catalog, at=900).id
    catalog.operations.claim(id, A)
    asked = catalog.operations.request_cancel(id, "the administrator asked", 100)
    assert asked and (asked.cancel, asked.due) == ("the administrator asked", 100)
    catalog.operations.request_cancel(id, "again", 101)
    assert catalog.operations.renew_all(A) == {id: "the administrator asked"}
    finish(catalog, id)
    assert catalog.operations.request_cancel(id, "too late", 102) is None


# --- locks ----------------------------------------------------------------------------------------


def test_a_lock_has_room_for_one_and_the_next_is_woken(catalog: Catalog) -> None:
    first, second = opened(catalog).id, opened(catalog).id
    assert held.enter(catalog, "vzdump clovis", first, 100) is None
    assert held.enter(catalog, "vzdump clovis", first, 100) is None
    assert held.enter(catalog, "vzdump clovis", second, 100) == first
    assert held.enter(catalog, "vzdump lge-pve02", second, 100) is None
    assert held.enter(catalog, "vzdump clovis", second, 100) == first
    catalog.operations.claim(second, A)
    catalog.operations.record(second, A, park=900)
    assert held.leave(catalog, first, 110) == second
    found = catalog.operations.get(second)
    assert found and found.due == 110
    assert held.enter(catalog, "vzdump clovis", second, 110) is None
    assert catalog.locks.holders()["vzdump clovis"] == second


def test_those_who_wait_go_by_rank_and_then_by_age(catalog: Catalog) -> None:
    holder = opened(catalog).id
    held.enter(catalog, "lock", holder, 100)
    standard, critical = opened(catalog, rank=2).id, opened(catalog, rank=0).id
    assert (
        held.enter(catalog, "lock", standard, 100) == holder
        and held.enter(catalog, "lock", critical, 100) == holder
    )
    assert held.leave(catalog, holder, 100) == critical
    assert held.enter(catalog, "lock", standard, 100) == critical
    assert held.enter(catalog, "lock", critical, 100) is None


def test_an_ended_holder_and_one_that_was_left_alone_in_the_queue_hold_up_nobody(
    catalog: Catalog,
) -> None:
    ended, forgotten, mine = (opened(catalog).id for _ in range(3))
    held.enter(catalog, "lock", ended, 100)
    held.enter(catalog, "lock", forgotten, 100)
    finish(catalog, ended)
    assert held.enter(catalog, "lock", mine, 219) == forgotten
    assert held.enter(catalog, "lock", mine, 221) is None
    with pytest.raises(LeaseLost):
        catalog.locks.leave(221, ("01NONE", "me"))


# --- scratch VMIDs --------------------------------------------------------------------------------


def test_law_1_a_vmid_has_one_holder_and_only_that_one_gives_it_back(catalog: Catalog) -> None:
    ours, theirs = opened(catalog).id, opened(catalog).id
    assert held.lease(catalog, 9000, ours, 1) and held.lease(catalog, 9000, ours, 2)
    assert not held.lease(catalog, 9000, theirs, 3)
    assert held.lease(catalog, 9001, theirs, 3)
    assert catalog.leases.holders() == {9000: ours, 9001: theirs}
    assert not held.release(catalog, 9000, theirs)
    assert catalog.leases.holder(9000) == ours
    assert held.release(catalog, 9000, ours)
    assert catalog.leases.holder(9000) is None


def test_law_1_what_an_ended_operation_held_is_freed_with_no_driver_and_only_then(
    catalog: Catalog,
) -> None:
    ours, theirs = opened(catalog).id, opened(catalog).id
    assert held.lease(catalog, 9000, ours, 1)
    assert not catalog.leases.release_of_ended(9000, ours)
    finish(catalog, ours)
    finish(catalog, theirs)
    assert not catalog.leases.release_of_ended(9000, theirs)
    assert catalog.leases.release_of_ended(9000, ours) and catalog.leases.holders() == {}


# --- many at once ---------------------------------------------------------------------------------


def _claim(url: str, id: str, owner: str) -> bool:
    with Catalog.open(url) as catalog:
        return catalog.operations.claim(id, Driver(owner, 60, 100)) is not None


def _open(url: str, name: str) -> str | None:
    with Catalog.open(url) as catalog:
        made = catalog.operations.open(new(step=name, occurrence="nightly@1"), 1000)
        return made.id if made else None


def _open_alone(url: str, name: str) -> str | None:
    with Catalog.open(url) as catalog:
        made = catalog.operations.open(new(step=name, exclusive_key="guest 108"), 1000)
        return made.id if made else None


def _enter(url: str, id: str) -> bool:
    with Catalog.open(url) as catalog:
        return held.enter(catalog, "vzdump clovis", id, 100) is None


@pytest.mark.slow
def test_law_9_of_many_processes_that_open_an_operation_on_one_guest_exactly_one_wins(
    catalog_url: str, catalog: Catalog
) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        made = pool.starmap(
            _open_alone, [(catalog_url, f"opener-{number}") for number in range(12)]
        )
    assert len([id for id in made if id]) == 1


@pytest.mark.slow
def test_of_many_processes_that_enter_one_lock_exactly_one_is_in_it(
    catalog_url: str, catalog: Catalog
) -> None:
    ids = [opened(catalog).id for _ in range(12)]
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        entered = pool.starmap(_enter, [(catalog_url, id) for id in ids])
    assert entered.count(True) == 1
    assert len(catalog.locks.holders()) == 1


@pytest.mark.slow
def test_law_9_of_many_processes_that_claim_one_operation_exactly_one_wins(
    catalog_url: str, catalog: Catalog
) -> None:
    id = opened(catalog).id
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        won = pool.starmap(_claim, [(catalog_url, id, f"worker-{number}") for number in range(12)])
    assert won.count(True) == 1


@pytest.mark.slow
def test_law_9_of_many_processes_that_open_one_occurrence_in_a_new_catalog_exactly_one_wins(
    new_url: str,
) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        made = pool.starmap(_open, [(new_url, f"beat-{number}") for number in range(12)])
    assert len([id for id in made if id]) == 1


def test_many_threads_lease_one_vmid_and_note_one_history_without_losing_a_line(
    catalog: Catalog,
) -> None:
    ids = [opened(catalog).id for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda id: held.lease(catalog, 9000, id, 1), ids))
        catalog.operations.claim(ids[0], A)
        list(
            pool.map(
                lambda number: catalog.operations.record(
                    ids[0], A, note=Note("s", "noted", f"UPID:{number}")
                ),
                range(40),
            )
        )
    assert won.count(True) == 1
    assert [line.seq for line in catalog.operations.transitions(ids[0])] == list(range(1, 41))


def test_the_history_refuses_a_line_of_an_operation_that_does_not_exist(
    catalog_url: str, catalog: Catalog
) -> None:
    database = Database.open(catalog_url)
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(
            insert(TRANSITION).values(operation="x", seq=1, step="s", event="e", at=1, detail={})
        )
    database.close()
