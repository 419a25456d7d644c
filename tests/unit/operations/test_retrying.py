"""What ended badly may be done again, as a new operation with what was asked; what must not be is
refused with the way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from backupsvc.catalog.operations import Kept
from backupsvc.errors import LawRefused, Refused
from backupsvc.operations import build_engine, cancelling, opening, retrying
from backupsvc.operations.backup import memory as backup_memory
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.cancelling import By
from backupsvc.operations.job_run.memory import NightMemory
from backupsvc.operations.opening import Opener
from backupsvc.operations.prune.memory import PruneMemory
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from policies.model import Archive, GuestType, Operation, OperationState
from tests.unit.operations.worlds import World, world


@pytest.fixture
def site(sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    made.engine = build_engine(made, foreground=False)
    yield made
    made.catalog.close()


JOB = BackupMemory("nightly", node="clovis")
MEMORIES = {"backup": JOB, "restore-test": RestoreTestMemory()}


def ended(
    site: World,
    kind: str,
    state: OperationState = OperationState.FAILED,
    subject: int | None = 108,
    memory: Any = JOB,
) -> Any:
    operation = site.engine.open(kind, subject, memory, timeout_s=600, rank=3)
    assert operation is not None
    driver = site.engine.executor.driver()
    claimed = site.catalog.operations.claim(operation.id, driver)
    assert claimed is not None
    learnt = Kept(dict(claimed.memory) | {"name": "found out later"}, claimed.book)
    return site.catalog.operations.finish(
        operation.id, driver, state, kept=learnt, error="no", note=None
    )


def test_a_retry_opens_a_new_operation_with_what_was_asked_and_its_deadline(site: World) -> None:
    failed = ended(site, "backup")
    opened = retrying.open_retry(site, retrying.plan(site, failed))
    assert opened is not None and opened.id != failed.id
    assert (opened.kind, opened.subject, opened.rank, opened.occurrence) == ("backup", 108, 3, None)
    assert (opened.book.asked, opened.book.retry_of) == (failed.book.asked, failed.id)
    assert opened.book.deadline == opened.created + 600
    assert backup_memory.recall(opened) == JOB


def test_a_retry_of_a_retry_names_the_one_before_it(site: World) -> None:
    first = ended(site, "backup")
    again = retrying.open_retry(site, retrying.plan(site, first))
    assert again is not None
    driver = site.engine.executor.driver()
    site.catalog.operations.claim(again.id, driver)
    kept = Kept(again.memory, again.book)
    second = site.catalog.operations.finish(
        again.id, driver, OperationState.CANCELLED, kept=kept, error="no", note=None
    )
    planned = retrying.plan(site, second)
    assert (planned.of, planned.memory) == (again.id, JOB)


def test_an_open_operation_is_not_retried(site: World) -> None:
    operation = site.engine.open("backup", 108, JOB)
    with pytest.raises(Refused, match="has not ended") as refused:
        retrying.plan(site, operation)
    assert "operations cancel" in refused.value.hint


@pytest.mark.parametrize(
    ("kind", "way_out"), [("backup", "backup run --vmid 108"), ("restore-test", "restore-test 108")]
)
def test_a_done_operation_is_not_retried_and_the_command_that_does_it_once_more_is_named(
    site: World, kind: str, way_out: str
) -> None:
    with pytest.raises(Refused, match="nothing to retry") as refused:
        retrying.plan(site, ended(site, kind, OperationState.DONE, memory=MEMORIES[kind]))
    assert way_out in refused.value.hint


def test_law_9_a_night_is_not_retried_but_what_failed_in_it_is_named(site: World) -> None:
    failed, good = ended(site, "backup"), ended(site, "backup", OperationState.DONE, subject=109)
    children = {"backup#108": failed.id, "backup#109": good.id}
    night = ended(site, "night", subject=None, memory=NightMemory("nightly", children=children))
    with pytest.raises(Refused) as refused:
        retrying.plan(site, night)
    assert failed.id in refused.value.hint and good.id not in refused.value.hint


def test_law_9_a_missed_night_points_to_its_job(site: World) -> None:
    night = ended(site, "night", OperationState.MISSED, subject=None, memory=NightMemory("nightly"))
    with pytest.raises(Refused) as refused:
        retrying.plan(site, night)
    assert "backupsvc backup run nightly" in refused.value.hint


def test_law_1_a_restore_is_retried_only_through_the_laws(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive("local:backup/x", "clovis", "local", 108, GuestType.QEMU, 1, 1)
    failed = ended(site, "restore", memory=RestoreMemory(archive, "clovis"))
    asked: list[Any] = []

    def plan(service: Any, vmid: int, **wanted: Any) -> dict[str, Any]:
        asked.append((vmid, wanted))
        raise LawRefused(1, "guest 108 exists", "look")

    monkeypatch.setattr("backupsvc.operations.restore.kind.plan_restore", plan)
    with pytest.raises(LawRefused):
        retrying.plan(site, failed)
    assert asked == [
        (
            108,
            {
                "at": None,
                "volid": "local:backup/x",
                "node": "clovis",
                "storage": None,
                "start": True,
                "into": None,
                "clone": False,
            },
        )
    ]


def test_an_operation_that_forgot_what_it_was_asked_is_not_guessed_at(site: World) -> None:
    old = Operation("01X", "backup", 108, OperationState.FAILED, "dump", {}, 1, 1, 1)
    with pytest.raises(Refused, match="does not remember"):
        retrying.plan(site, old)


def test_law_9_a_retry_waits_for_its_guests_other_operation(site: World) -> None:
    planned = retrying.plan(site, ended(site, "backup"))
    site.engine.open("backup", 108, JOB)
    with pytest.raises(Refused, match="already has an operation at work"):
        retrying.open_retry(site, planned)


def test_an_operation_that_nobody_drives_is_ended_here_or_by_the_workers(site: World) -> None:
    operation = site.engine.open("prune", None, PruneMemory())
    assert cancelling.plan(site, operation, enqueue=False).by is By.HERE
    asked = cancelling.carry_out(site, cancelling.plan(site, operation, enqueue=True), "enough")
    assert (asked.operation.state, asked.operation.cancel) == ("open", "enough")
    here = cancelling.carry_out(site, cancelling.plan(site, operation, enqueue=False), "enough")
    assert here.operation.state == "cancelled"


def test_whoever_drives_an_operation_is_asked_to_end_it(site: World) -> None:
    operation = site.engine.open("prune", None, PruneMemory())
    other = build_engine(site)
    driven = site.catalog.operations.claim(operation.id, other.executor.driver())
    assert driven is not None
    asked = cancelling.carry_out(site, cancelling.plan(site, driven, enqueue=False), "enough")
    assert (asked.by, asked.operation.state, asked.operation.cancel) == (
        By.DRIVER,
        "open",
        "enough",
    )
    assert asked.driver and asked.driver.count(":") == 1


def test_what_has_ended_is_not_cancelled(site: World) -> None:
    with pytest.raises(Refused, match="already ended"):
        cancelling.plan(site, ended(site, "backup"), enqueue=False)


def test_one_guest_that_is_busy_keeps_no_other_from_its_operation(site: World) -> None:
    site.engine.open("backup", 108, JOB)
    openers: dict[int | None, Opener] = {
        vmid: partial(site.engine.open, "backup", vmid, JOB) for vmid in (107, 108, 109)
    }
    opened = opening.open_all(openers)
    assert [operation.subject for operation in opened.operations] == [107, 109]
    assert [vmid for vmid, _ in opened.refused] == [108]
    with pytest.raises(Refused):
        opening.open_all({108: openers[108]})
