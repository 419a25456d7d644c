"""Whoever follows an operation by the catalog sees what its driver tells, and says what it waits
for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backupsvc.engine import worker_loop
from backupsvc.engine.context import Wait
from backupsvc.engine.events import StepEvent
from backupsvc.engine.foreground import Engine
from backupsvc.errors import OperationFailed, PveError
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.following import follow, watch
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.services import Run
from tests.fakes.clock import SteppingClock
from tests.unit.operations.worlds import World, kinds_with, operation_of, world


class WorkedClock(SteppingClock):
    """While somebody waits, a worker takes its turns."""

    def __init__(self, turn: Callable[[], None]) -> None:
        super().__init__()
        self._turn = turn

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._turn()


@pytest.fixture
def site(sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    made.engine = Engine(made, KINDS, foreground=False)
    yield made
    made.catalog.close()


def worker(site: World, **special: Any) -> Callable[[], None]:
    plan = KINDS["backup"].workflow
    handlers = {
        step: special.get(step.replace("-", "_"), lambda run: None)
        for step in plan.steps + plan.cleanup
    }
    engine = Engine(site, kinds_with({"backup": handlers}), foreground=False)

    def turn() -> None:
        for id in site.catalog.operations.due(int(site.clock.now()), 10):
            worker_loop.work(engine.executor, id, long=True)

    return turn


def opened(site: World, subject: int = 108) -> str:
    operation = site.engine.open("backup", subject, BackupMemory("nightly"))
    assert operation is not None
    return str(operation.id)


def test_a_follower_is_told_what_a_watcher_of_the_driver_is_told(site: World) -> None:
    told: list[StepEvent] = []

    def read_back(run: Run[BackupMemory]) -> None:
        run.conclude("an archive")

    site.clock = WorkedClock(worker(site, read_back=read_back))
    ended = watch(site, [opened(site)], told.append)
    assert [item.state for item in ended] == ["done"]
    steps = [(event.kind, event.step) for event in told if event.kind in ("step", "done", "end")]
    assert steps[:2] == [("step", "locate"), ("done", "locate")] and steps[-1][0] == "end"
    assert [event.text for event in told if event.kind == "done" and event.step == "read-back"] == [
        "an archive"
    ]


def test_a_follower_says_that_nobody_has_begun_and_then_what_is_waited_for_once(
    site: World,
) -> None:
    calls = iter(range(100))
    site.clock = WorkedClock(
        worker(
            site, dump=lambda run: Wait("vzdump is running", most=1.0) if next(calls) < 5 else None
        )
    )
    id = opened(site)
    standings = [look.standing for look in follow(site, [id])]
    assert standings[0] == "nobody has begun it yet"
    assert standings.count("vzdump is running") == 1
    assert operation_of(site, id).book.waits == ""


def test_every_transition_is_seen_exactly_once(site: World) -> None:
    site.clock = WorkedClock(worker(site))
    id = opened(site)
    seen = [line.seq for look in follow(site, [id]) for line in look.transitions]
    assert seen == [line.seq for line in site.catalog.operations.transitions(id)]


def test_a_failed_step_is_told_as_one(site: World) -> None:
    told: list[StepEvent] = []

    def dump(run: Run[BackupMemory]) -> None:
        raise PveError("no room")

    site.clock = WorkedClock(worker(site, dump=dump))
    ended = watch(site, [opened(site)], told.append)
    assert ended[0].state == "failed"
    assert [(event.step, event.text) for event in told if event.kind == "failed"] == [
        ("dump", "no room")
    ]


def test_when_nobody_comes_the_follower_says_so(site: World) -> None:
    id = opened(site)
    looks = follow(site, [id])
    next(looks)
    site.clock.time += 600
    assert "nobody came" in next(looks).standing


def test_an_operation_that_is_not_there_is_not_followed(site: World) -> None:
    with pytest.raises(OperationFailed):
        list(follow(site, ["01NONE"]))
