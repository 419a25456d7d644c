"""Who waits says at once for what, and nobody waits for what nobody drives: a cleanup that is left
is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog.locks import LEFT_ALONE
from backupsvc.catalog.operations import Driver, Kept
from backupsvc.engine.context import Wait
from backupsvc.engine.events import StepEvent
from backupsvc.engine.foreground import Engine
from backupsvc.engine.kind import OperationKind
from backupsvc.errors import PveAnswerUnreadable, PveError, Refused
from backupsvc.operations import retrying
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.memories import ScratchPlace
from backupsvc.operations.restore_test import clearing
from backupsvc.operations.restore_test.memory import FORM, RestoreTestMemory
from backupsvc.operations.scratch_cleanup import taking_down
from backupsvc.operations.scratch_cleanup.memory import recall
from policies.bookkeeping import Bookkeeping, StepError, TaskRecord
from policies.model import Operation, OperationState
from policies.moments import Moment
from tests import held
from tests.unit.operations.test_restore_test import TestRun
from tests.unit.operations.worlds import World, dead_command, kinds_with, operation_of, world

UNREADABLE = "it answered with something that cannot be read"
LOCK = "restore clovis"


@pytest.fixture
def site(catalog_url: str) -> Iterator[World]:
    made = world(catalog_url)
    yield made
    made.catalog.close()


def kinds(**special: Callable[[TestRun], Wait | None]) -> dict[str, OperationKind[Any, Any]]:
    """Every kind; each step of a restore test does nothing, unless it is given."""
    plan = KINDS["restore-test"].workflow
    steps: dict[str, Callable[[TestRun], Wait | None]] = {
        step: lambda run: None for step in plan.steps + plan.cleanup
    }
    return kinds_with(
        {
            "restore-test": steps
            | {name.replace("_", "-"): handler for name, handler in special.items()}
        }
    )


def fail(message: str) -> Callable[[TestRun], Wait | None]:
    def step(run: TestRun) -> Wait | None:
        raise PveError(message, "look there")

    return step


def opened(engine: Engine, subject: int = 108) -> str:
    operation = engine.open("restore-test", subject, RestoreTestMemory())
    assert operation is not None
    return operation.id


class Person:
    """A command: its engine, and what it says."""

    def __init__(self, site: World, **special: Callable[[TestRun], Wait | None]) -> None:
        self.said: list[str] = []
        self.engine = Engine(site, kinds(**special) | special_reap(special), [self._hear])
        site.engine = self.engine

    def _hear(self, event: StepEvent) -> None:
        if event.kind == "say":
            self.said.append(event.text)


def special_reap(special: dict[str, Any]) -> dict[str, OperationKind[Any, Any]]:
    return {
        "reap": kinds_with({"reap": {"tear-down": special.get("tear_down", lambda run: None)}})[
            "reap"
        ]
    }


def on_the_node(run: TestRun) -> Wait | None:
    return run.turn(LOCK, "another copy is being tested on clovis")


# --- behind somebody else -------------------------------------------------------------------------


def a_tear_down_that_a_worker_left(site: World) -> str:
    """It holds the node's lock, waits for PVE, and its time comes while no worker is there any
    more.
    """
    special = kinds(
        reserve=on_the_node, start=fail("x"), tear_down=lambda run: Wait("it goes", most=1.0)
    )
    worker = Engine(site, special, foreground=False)
    id = opened(worker, subject=107)
    while worker.executor.advance(id).pause is None:
        pass
    site.clock.sleep(5.0)
    return id


def test_a_tear_down_that_nobody_is_at_is_done_by_the_command_that_waits_for_it_and_it_says_so(
    site: World,
) -> None:
    left = a_tear_down_that_a_worker_left(site)
    person = Person(site, reserve=on_the_node, tear_down=lambda run: run.leave())
    began = site.clock.monotonic()
    ended = person.engine.drive([opened(person.engine)])[0]
    assert (
        ended.state is OperationState.DONE and operation_of(site, left).state is OperationState.DONE
    )
    assert site.clock.monotonic() - began < LEFT_ALONE / 4
    assert person.said == [
        f"it waits for restore-test {left} of guest 107, at step tear-down, which this command "
        f"goes on with; see `backupsvc operations show {left}`"
    ]


def test_who_waits_for_what_somebody_drives_says_at_once_who_does(site: World) -> None:
    other = Engine(site, kinds(reserve=on_the_node))
    other.executor.owner = "clovis:4711:x"
    left = opened(other, subject=107)
    while other.executor.advance(left).operation.step != "restore":
        pass
    person = Person(site, reserve=on_the_node)
    sleep, seen = site.clock.sleep, list[list[str]]()

    def meanwhile(seconds: float) -> None:
        sleep(seconds)
        if seconds and len(seen) < 3:
            seen.append(list(person.said))
        elif seconds:
            other.drive([left])

    site.clock.sleep = meanwhile  # type: ignore[method-assign]
    person.engine.drive([opened(person.engine)])
    told = (
        f"it waits for restore-test {left} of guest 107, at step restore, which process 4711 on "
        "clovis drives; "
    )
    assert person.said == [f"{told}see `backupsvc operations show {left}`"]
    assert seen[0] == person.said, "it is said before anybody has waited"


def test_a_guest_that_is_at_work_is_refused_with_who_drives_it_and_what_ends_it(
    site: World,
) -> None:
    worker = Engine(site, kinds(), foreground=False)
    id = opened(worker)
    person = Person(site)
    with pytest.raises(Refused, match="which workers are expected to go on with") as refused:
        opened(person.engine)
    assert f"backupsvc operations cancel {id}" in refused.value.hint
    assert site.catalog.operations.claim(id, Driver("clovis:4711:x", 60, int(site.clock.now())))
    with pytest.raises(Refused, match="which process 4711 on clovis drives") as refused:
        opened(person.engine)
    assert "cancel" not in refused.value.hint


def test_a_command_that_first_cleans_up_after_a_dead_one_says_so_before_it_does(
    site: World,
) -> None:
    person = Person(site, tear_down=lambda run: order.append("tear-down"))
    order: list[str] = person.said
    id = opened(person.engine)
    assert site.catalog.operations.claim(id, person.engine.executor.driver())
    site.catalog.operations.expire(id, person.engine.executor.owner, 0)
    assert site.catalog.operations.claim(id, Driver(dead_command(), 600, int(site.clock.now())))
    opened(person.engine)
    assert order == [
        "its driver disappeared, so its cleanup is done first; see `backupsvc operations show "
        f"{id}`",
        "tear-down",
    ]


def test_operations_of_one_command_that_wait_for_one_another_are_nothing_to_be_told(
    site: World,
) -> None:
    person = Person(
        site,
        reserve=on_the_node,
        restore=lambda run: Wait("it lasts") if run.passed("restore") < 60 else None,
    )
    ids = [opened(person.engine, subject=subject) for subject in (107, 108, 109)]
    assert {one.state for one in person.engine.drive(ids)} == {
        OperationState.DONE
    } and person.said == []


def test_what_is_only_helped_along_does_not_end_the_command_that_helps(site: World) -> None:
    a_tear_down_that_a_worker_left(site)

    def breaks(run: TestRun) -> None:
        if run.operation.subject == 107:
            raise PveAnswerUnreadable(UNREADABLE)

    person = Person(site, reserve=on_the_node, tear_down=breaks)
    assert person.engine.drive([opened(person.engine)])[0].state is OperationState.DONE


# --- copies that ended tests left -----------------------------------------------------------------


def left_copy(
    site: World,
    vmid: int = 9000,
    tasks: Mapping[str, TaskRecord] | None = None,
    version: int = FORM.version,
) -> Operation:
    """A test that has ended and could not take its copy down; ``version``: of the form of what it
    remembers.
    """
    engine = Engine(site, kinds())
    id = opened(engine, subject=100 + vmid % 100)
    assert held.lease(site.catalog, vmid, id, 1)
    claimed = site.catalog.operations.claim(id, engine.executor.driver())
    assert claimed
    memory = FORM.write(RestoreTestMemory(ScratchPlace(vmid, "clovis", "local"))) | {
        "version": version
    }
    book = Bookkeeping(cleanup_error=StepError("tear-down", UNREADABLE), tasks=tasks or {})
    kept = Kept(memory, book)
    return site.catalog.operations.finish(
        id, engine.executor.driver(), OperationState.FAILED, kept=kept, error=UNREADABLE, note=None
    )


def take_down(site: World) -> Callable[[TestRun], Wait | None]:
    def step(run: TestRun) -> Wait | None:
        if run.operation.kind == "reap":
            taking_down.release_vmids(run, str(run.memory.copy_of))
        return None

    return step


def reserve(run: TestRun) -> Wait | None:
    return clearing.take_down_left_copies(run)


def test_a_command_takes_down_what_ended_tests_left_before_it_makes_a_copy_and_says_so(
    site: World,
) -> None:
    left = [left_copy(site, 9000), left_copy(site, 9001)]
    person = Person(site, reserve=reserve, tear_down=take_down(site))
    assert person.engine.drive([opened(person.engine)])[0].state is OperationState.DONE
    reaps = site.catalog.operations.find(kind="reap")[::-1]
    assert [reap.state for reap in reaps] == [
        OperationState.DONE
    ] * 2 and site.catalog.leases.holders() == {}
    assert [text for text in person.said if "first, by reap" in text] == [
        f"restore-test {one.id} left its copy in scratch VMID {vmid} ({UNREADABLE}); it is taken "
        f"down first, by reap {reap.id}: see `backupsvc operations show {reap.id}`"
        for one, vmid, reap in zip(left, (9000, 9001), reaps, strict=True)
    ]


def test_a_copy_that_cannot_be_taken_down_keeps_its_vmid_and_holds_up_nobody(site: World) -> None:
    left, _ = left_copy(site, 9000), left_copy(site, 9001)
    person = Person(site, reserve=reserve, tear_down=unreadable_reap)
    began = site.clock.monotonic()
    assert person.engine.drive([opened(person.engine)])[0].state is OperationState.DONE
    assert site.clock.monotonic() - began < 30, (
        "the second is not tried where the first could not be read"
    )
    assert site.catalog.leases.holders()[9000] == left.id, "the copy is not lost"
    assert (
        f"the copy in scratch VMID 9000 is still there ({UNREADABLE}): the VMID stays reserved, "
        "and another one is used" in person.said
    )


def unreadable_reap(run: TestRun) -> None:
    if run.operation.kind == "reap":
        raise PveAnswerUnreadable(UNREADABLE)


def test_a_copy_that_lasts_goes_on_beside_the_test_and_the_next_command_takes_it_up(
    site: World,
) -> None:
    left_copy(site)
    lasts = Person(
        site,
        reserve=reserve,
        tear_down=lambda run: Wait("it goes", most=5.0) if run.operation.kind == "reap" else None,
    )
    began = site.clock.monotonic()
    assert lasts.engine.drive([opened(lasts.engine)])[0].state is OperationState.DONE
    assert site.clock.monotonic() - began < clearing.MAX_WAIT_S + 30
    (reap,) = site.catalog.operations.find(kind="reap")
    site.catalog.operations.expire(reap.id, str(reap.lease_owner), 0)  # the command has ended
    following = Person(site, reserve=reserve, tear_down=take_down(site))
    assert following.engine.drive([opened(following.engine)])[0].state is OperationState.DONE
    assert (
        operation_of(site, reap.id).state is OperationState.DONE
        and site.catalog.leases.holders() == {}
    )


def test_workers_leave_it_to_their_tick(site: World) -> None:
    left_copy(site)
    worker = Engine(site, kinds(reserve=reserve), foreground=False)
    site.engine = worker
    id = opened(worker)
    for _ in range(20):
        worker.executor.advance(id)
    assert site.catalog.operations.find(kind="reap") == []


def test_a_tear_down_whose_answers_cannot_be_read_names_the_copy_that_it_leaves(
    site: World,
) -> None:
    def cannot(run: TestRun) -> Wait | None:
        run.memory = replace(run.memory, scratch=ScratchPlace(9000, "clovis", "local"))
        run.keep_task("restore", upid="UPID:x")
        return None

    class Tasks:
        def poll(self, upid: str) -> None:
            raise PveAnswerUnreadable(UNREADABLE, "is that Proxmox VE itself?")

    site.pve = type("Pve", (), {"tasks": Tasks()})()
    person = Person(site, reserve=cannot, tear_down=taking_down.tear_down)
    ended = person.engine.drive([opened(person.engine)])[0]
    error = ended.book.cleanup_error
    assert error and error.message == UNREADABLE and error.exit_code == 3
    assert error.hint.startswith(
        "is that Proxmox VE itself?; the copy in scratch VMID 9000 on clovis may still be there"
    )
    assert "`backupsvc restore-test`" in error.hint


# --- what a reap knows of the test after which it cleans up ---------------------------------------

INTENDED = Moment(1_773_086_000.0, 4.0, "a boot")


def test_law_1_a_reap_and_a_retry_of_it_know_the_restore_that_made_the_copy_and_ask_themselves_how_it_fares(
    site: World,
) -> None:
    restore = TaskRecord(INTENDED, "UPID:x", asked=7.0, told=True, stopped=True)
    left = left_copy(site, tasks={"restore": restore})
    polled: list[str] = []

    def poll(upid: str) -> None:
        polled.append(upid)
        raise PveAnswerUnreadable(UNREADABLE)

    site.pve = SimpleNamespace(tasks=SimpleNamespace(poll=poll))
    site.engine = Engine(site, KINDS)
    first = taking_down.open_reap(site, 9000, left)
    ended = site.engine.drive_one(first)
    again = site.engine.drive_one(retrying.open_retry(site, retrying.plan(site, ended)))
    for reap in (ended, again):
        assert (reap.state, reap.error) == (OperationState.FAILED, UNREADABLE)
        assert (recall(reap).copy_of, recall(reap).scratch) == (
            left.id,
            ScratchPlace(9000, "clovis", "local"),
        )
        assert reap.book.task("restore") == TaskRecord(INTENDED, "UPID:x")
    assert (
        len(polled) >= 2
        and set(polled) == {"UPID:x"}
        and site.catalog.leases.holders() == {9000: left.id}
    )


def test_a_copy_whose_restore_was_never_begun_has_no_restore_to_be_ended(site: World) -> None:
    left = left_copy(site)
    site.engine = Engine(site, KINDS)
    assert (
        site.engine.drive_one(taking_down.open_reap(site, 9000, left)).state is OperationState.DONE
    )
    assert site.catalog.leases.holders() == {}


def test_a_copy_of_which_only_a_newer_version_knows_is_told_and_keeps_none_of_the_others_from_its_reap(
    site: World, caplog: pytest.LogCaptureFixture
) -> None:
    newer, _ = left_copy(site, 9000, version=FORM.version + 1), left_copy(site, 9001)
    site.engine = Engine(site, KINDS, foreground=False)
    with caplog.at_level("WARNING"):
        assert [reap.subject for reap in taking_down.open_reaps(site)] == [9001]
    assert newer.id in caplog.text and "newer version" in caplog.text
    assert site.catalog.leases.holders()[9000] == newer.id
