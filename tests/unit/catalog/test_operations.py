"""What the catalog remembers of operations, and that only one of many wins."""

from __future__ import annotations

import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import pytest

from backupsvc.catalog import Catalog, ulid
from backupsvc.errors import OperationFailed
from policies.model import Operation, OperationState, Transition


def opened(
    catalog: Catalog, kind: str = "backup", subject: int | None = 108, at: int = 1000, occurrence: str | None = None
) -> Operation:
    operation = catalog.open_operation(kind, subject, "locate", {}, at, occurrence)
    assert operation is not None
    return operation


def test_an_operation_is_remembered_with_its_data_in_plain_json(catalog: Catalog) -> None:
    data = MappingProxyType({"nodes": ("clovis",), "deep": MappingProxyType({"n": 1, "none": None})})
    made = catalog.open_operation("restore-test", 108, "choose", data, 1000)
    assert made is not None
    assert made == catalog.operation(made.id)
    assert made.data == {"nodes": ["clovis"], "deep": {"n": 1, "none": None}}
    assert (made.state, made.step, made.created, made.finished) == (OperationState.OPEN, "choose", 1000, None)
    assert ulid.time_of(made.id) == 1000
    assert catalog.operation("nothing") is None


def test_operations_come_newest_first_by_kind_guest_and_state(catalog: Catalog) -> None:
    ids = [opened(catalog, kind, subject).id for kind, subject in [("backup", 108), ("backup", 109), ("prune", None)]]
    catalog.finish(ids[0], OperationState.DONE, 2000)
    assert [item.id for item in catalog.operations()] == ids[::-1]
    assert [item.id for item in catalog.operations(kind="backup", limit=1)] == [ids[1]]
    assert [item.id for item in catalog.operations(subject=108)] == [ids[0]]
    assert [item.id for item in catalog.operations(state=OperationState.OPEN)] == [ids[2], ids[1]]


def test_law_9_an_occurrence_is_opened_once(catalog: Catalog) -> None:
    assert catalog.open_operation("backup", None, "a", {}, 1000, "nightly@2026-03-09T21:00") is not None
    assert catalog.open_operation("backup", None, "a", {}, 2000, "nightly@2026-03-09T21:00") is None
    assert catalog.open_operation("backup", None, "a", {}, 1000, "nightly@2026-03-10T21:00") is not None
    assert opened(catalog).occurrence is None and opened(catalog).occurrence is None
    found = catalog.occurrence("nightly@2026-03-09T21:00")
    assert found and found.created == 1000 and catalog.occurrence("nightly@1999") is None


def test_an_operation_has_one_driver_until_its_lease_runs_out(catalog: Catalog) -> None:
    id = opened(catalog).id
    assert catalog.claim(id, "a", 100, 60)
    assert not catalog.claim(id, "b", 159, 60)
    assert catalog.claim(id, "b", 160, 60)
    assert not catalog.renew(id, "a", 161, 60)
    found = catalog.operation(id)
    assert found and (found.lease_owner, found.lease_until, found.attempts) == ("b", 220, 2)


def test_the_driver_itself_may_claim_again_and_renew(catalog: Catalog) -> None:
    id = opened(catalog).id
    assert catalog.claim(id, "a", 100, 60) and catalog.claim(id, "a", 130, 60)
    assert catalog.renew(id, "a", 150, 60)
    found = catalog.operation(id)
    assert found and (found.lease_until, found.attempts) == (210, 1)


def test_a_released_operation_is_anybodys_and_only_its_driver_releases_it(catalog: Catalog) -> None:
    id = opened(catalog).id
    catalog.claim(id, "a", 100, 60)
    assert not catalog.release(id, "b")
    assert catalog.release(id, "a")
    assert catalog.claim(id, "b", 101, 60)


def test_an_ended_operation_is_ended_for_ever(catalog: Catalog) -> None:
    id = opened(catalog).id
    catalog.claim(id, "a", 100, 60)
    catalog.finish(id, OperationState.FAILED, 200, "the storage is full")
    found = catalog.operation(id)
    assert found and (found.state, found.finished, found.error) == (OperationState.FAILED, 200, "the storage is full")
    assert (found.lease_owner, found.lease_until) == (None, None)
    assert not catalog.claim(id, "b", 10_000, 60)
    with pytest.raises(OperationFailed, match="already ended"):
        catalog.finish(id, OperationState.DONE, 300)
    with pytest.raises(OperationFailed, match="already ended"):
        catalog.advance(id, step="x", data={}, at=300)
    assert catalog.operation(id) == found


def test_an_operation_cannot_end_open(catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="open"):
        catalog.finish(opened(catalog).id, OperationState.OPEN, 1)


def test_advancing_records_the_next_step_and_all_its_data(catalog: Catalog) -> None:
    id = opened(catalog).id
    catalog.advance(id, step="dump", data={"node": "clovis"}, at=1500)
    found = catalog.operation(id)
    assert found and (found.step, found.data, found.updated) == ("dump", {"node": "clovis"}, 1500)


def test_the_history_of_an_operation_is_numbered_and_only_grows(catalog: Catalog) -> None:
    first, second = opened(catalog).id, opened(catalog).id
    catalog.note(first, "locate", "started", 1000)
    catalog.note(second, "locate", "started", 1001)
    written = catalog.note(first, "dump", "started", 1002, "UPID:clovis:1", {"storage": "local"})
    assert written == Transition(first, 2, "dump", "started", 1002, "UPID:clovis:1", {"storage": "local"})
    assert catalog.transitions(first) == [Transition(first, 1, "locate", "started", 1000, None, {}), written]


def test_an_unknown_operation_is_an_error_that_names_it(catalog: Catalog) -> None:
    with pytest.raises(OperationFailed, match="no operation 01X"):
        catalog.note("01X", "a", "started", 1)
    with pytest.raises(OperationFailed, match="no operation 01X"):
        catalog.advance("01X", step="a", data={}, at=1)
    with pytest.raises(OperationFailed, match="no operation 01X"):
        catalog.finish("01X", OperationState.DONE, 1)


# --- scratch VMIDs ------------------------------------------------------------------------------------------------------


def test_law_1_a_vmid_has_one_holder_and_only_that_one_gives_it_back(catalog: Catalog) -> None:
    ours, theirs = opened(catalog).id, opened(catalog).id
    assert catalog.lease_vmid(9000, ours, 1) and catalog.lease_vmid(9000, ours, 2)
    assert not catalog.lease_vmid(9000, theirs, 3)
    assert catalog.lease_vmid(9001, theirs, 3)
    assert catalog.leased_vmids() == {9000: ours, 9001: theirs}
    assert not catalog.release_vmid(9000, theirs)
    assert catalog.lease_holder(9000) == ours
    assert catalog.release_vmid(9000, ours)
    assert catalog.lease_holder(9000) is None


# --- many at once -------------------------------------------------------------------------------------------------------


def _claim(url: str, id: str, owner: str) -> bool:
    with Catalog.open(url) as catalog:
        return catalog.claim(id, owner, 100, 60)


def _open(url: str, name: str) -> str | None:
    with Catalog.open(url) as catalog:
        made = catalog.open_operation("backup", None, name, {}, 1000, "nightly@1")
        return made.id if made else None


def test_law_9_of_many_processes_that_claim_one_operation_exactly_one_wins(url: str, catalog: Catalog) -> None:
    id = opened(catalog).id
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        won = pool.starmap(_claim, [(url, id, f"worker-{number}") for number in range(12)])
    assert won.count(True) == 1


def test_law_9_of_many_processes_that_open_one_occurrence_in_a_new_catalog_exactly_one_wins(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        made = pool.starmap(_open, [(url, f"beat-{number}") for number in range(12)])
    assert len([id for id in made if id]) == 1


def test_many_threads_lease_one_vmid_and_note_one_history_without_losing_a_line(catalog: Catalog) -> None:
    ids = [opened(catalog).id for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda id: catalog.lease_vmid(9000, id, 1), ids))
        list(pool.map(lambda number: catalog.note(ids[0], "s", "noted", number), range(40)))
    assert won.count(True) == 1
    assert [line.seq for line in catalog.transitions(ids[0])] == list(range(1, 41))


def test_the_history_refuses_a_line_of_an_operation_that_does_not_exist(tmp_path: Path) -> None:
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db"):
        raw = sqlite3.connect(tmp_path / "catalog.db")
    raw.execute("PRAGMA foreign_keys=ON")
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute("INSERT INTO transition (operation, seq, step, event, at, detail) VALUES ('x', 1, 's', 'e', 1, '{}')")
    raw.close()
