"""Whatever is done to the wall clock, no wait of the engine is without an end: each is measured by
a clock that nobody sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backupsvc.catalog.operations import Driver
from backupsvc.clock import moment
from backupsvc.engine.context import Wait
from backupsvc.engine.executor import FOREGROUND_RETRY_FOR_S, LEASE_SECONDS, HeldElsewhere
from backupsvc.engine.foreground import Engine
from backupsvc.errors import LeaseLost, OperationFailed, PveUnreachable
from backupsvc.operations import tick
from policies.model import Operation, OperationState
from tests.fakes.clock import SteppingClock
from tests.unit.engine.notes import NOTES, NOTHING, Notes, Run, kinds
from tests.unit.engine.test_engine import opened
from tests.unit.operations.worlds import World, emptied, operation_of, world

YEAR = 366 * 86_400


class RestlessClock(SteppingClock):
    """It is set at each look: a year ahead, a year back, and so on; ``asked`` ends a test that
    would go on for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self.looks, self.restless = 0, False

    def now(self) -> float:
        self.looks += 1
        assert self.looks < 5_000, "it goes on for ever"
        if self.restless:
            self.step(YEAR if self.looks % 2 else -YEAR)
        return super().now()


@pytest.fixture
def site(catalog_url: str) -> Iterator[World]:
    made = world(catalog_url)
    made.clock = RestlessClock()
    yield made
    made.catalog.close()


def silent(run: Run) -> None:
    raise PveUnreachable("nobody answers")


def restless(site: World) -> RestlessClock:
    assert isinstance(site.clock, RestlessClock)
    return site.clock


def test_a_claim_ends_though_the_clock_is_set_at_each_look(site: World) -> None:
    engine = Engine(site, kinds("restore-test"))
    id = opened(engine)
    restless(site).restless = True
    for _ in range(20):
        outcome = engine.executor.advance(id)
    assert outcome.operation.state is not OperationState.OPEN


def test_abandoning_ends_while_nobody_answers_and_the_clock_goes_back_and_forth(
    site: World,
) -> None:
    engine = Engine(site, kinds("restore-test", tear_down=silent))
    id = opened(engine)
    restless(site).restless = True
    began = site.clock.monotonic()
    engine.abandon(id, "no longer wanted")
    assert operation_of(site, id).state is OperationState.FAILED
    assert site.clock.monotonic() - began < 2 * FOREGROUND_RETRY_FOR_S


def test_silence_is_counted_in_full_though_the_clock_is_set_back_each_time(site: World) -> None:
    def set_back(run: Run) -> None:
        site.clock.step(-3600)
        raise PveUnreachable("nobody answers")

    engine = Engine(site, kinds("restore-test", start=set_back))
    began = site.clock.monotonic()
    ended = engine.drive([opened(engine)])[0]
    assert ended.book.failed_at("start")
    assert FOREGROUND_RETRY_FOR_S <= site.clock.monotonic() - began < 2 * FOREGROUND_RETRY_FOR_S


def test_silence_is_not_cut_short_by_a_clock_that_is_set_ahead(site: World) -> None:
    asked = []

    def set_ahead(run: Run) -> None:
        asked.append(1)
        if len(asked) == 1:
            site.clock.step(3600)
        if len(asked) < 5:
            raise PveUnreachable("nobody answers")

    engine = Engine(site, kinds("restore-test", start=set_ahead))
    assert engine.drive([opened(engine)])[0].state is OperationState.DONE and len(asked) == 5


def test_a_deadline_comes_though_the_clock_is_set_back(site: World) -> None:
    def waits(run: Run) -> Wait:
        if run.passed("boot") < 60:
            site.clock.step(-YEAR)
        return Wait("it boots", most=30.0)

    engine = Engine(site, kinds("restore-test", boot=waits))
    operation = engine.open("restore-test", 108, Notes(), timeout_s=600)
    assert operation
    began = site.clock.monotonic()
    ended = engine.drive([operation.id])[0]
    assert "deadline" in str(ended.book.error)
    assert 600 <= site.clock.monotonic() - began < 700


def test_an_answer_that_was_lost_is_given_its_seconds_by_a_clock_that_nobody_sets(
    site: World,
) -> None:
    engine = Engine(site, kinds("restore-test"), lost_reply_grace_s=10.0)
    claimed = site.catalog.operations.claim(opened(engine), engine.executor.driver())
    assert claimed
    run: Run = Run(engine.executor, site, claimed, NOTES)
    run.keep_task("start", intended=moment(site.clock))
    site.clock.step(-YEAR)
    assert run.unsettled("start")
    site.clock.sleep(11)
    assert not run.unsettled("start")
    run.keep_task("start", intended=moment(site.clock))
    site.clock.step(YEAR)
    assert run.unsettled("start"), "its answer may still come"


# --- leases that end in a future ------------------------------------------------------------------


def held_for_a_year(site: World, engine: Engine) -> str:
    """An operation whose driver, of another machine, took its lease when the clock stood a year
    ahead, and is no more.
    """
    worker = Engine(site, engine.kinds, foreground=False)
    id = opened(worker)
    site.clock.step(YEAR)
    assert site.catalog.operations.claim(
        id, Driver("elsewhere:1:x", LEASE_SECONDS, int(site.clock.now()))
    )
    site.clock.step(-YEAR)
    return id


def test_a_lease_that_nobody_renews_is_followed_no_longer_than_it_lasts(site: World) -> None:
    engine = Engine(site, kinds("restore-test"))
    id = held_for_a_year(site, engine)
    began = site.clock.monotonic()
    assert engine.drive([id])[0].state is OperationState.DONE
    assert site.clock.monotonic() - began < LEASE_SECONDS + 60


def test_a_lease_that_is_renewed_is_followed_and_left_alone(site: World) -> None:
    engine = Engine(site, kinds("restore-test"))
    id = held_for_a_year(site, engine)
    sleep, driver = site.clock.sleep, "elsewhere:1:x"
    ended: list[Operation] = []

    def renewing(seconds: float) -> None:
        sleep(seconds)
        if seconds and site.clock.monotonic() < ended_at:
            site.catalog.operations.renew_all(
                Driver(driver, LEASE_SECONDS, int(site.clock.now()) + YEAR)
            )
        elif not ended:
            held = Driver(driver, LEASE_SECONDS, int(site.clock.now()))
            ended.append(
                site.catalog.operations.finish(
                    id, held, OperationState.DONE, kept=NOTHING, error=None, note=None
                )
            )

    ended_at = site.clock.monotonic() + 3 * LEASE_SECONDS
    site.clock.sleep = renewing  # type: ignore[method-assign]
    assert engine.drive([id])[0].memory == {}, "nobody took it over"


def test_who_abandons_does_not_wait_for_whoever_has_it_by_now(site: World) -> None:
    engine = Engine(site, kinds("restore-test"))
    id = held_for_a_year(site, engine)
    began = site.clock.monotonic()
    engine.abandon(id, "no longer wanted")
    left = site.catalog.operations.get(id)
    assert site.clock.monotonic() == began and left and left.cancel == "no longer wanted"


@pytest.mark.parametrize("at", ["before the turn", "within the turn"])
def test_abandoning_ends_on_a_catalog_that_was_wiped_while_the_clock_jumps(
    site: World, at: str
) -> None:
    def wipe(run: Run) -> Any:
        emptied(site.catalog)
        return Wait("it goes", most=1.0)

    engine = Engine(site, kinds("restore-test", tear_down=wipe))
    id = opened(engine)
    restless(site).restless = True
    if at == "before the turn":
        emptied(site.catalog)
        engine.abandon(id, "no longer wanted")
    else:
        with pytest.raises((OperationFailed, LeaseLost, HeldElsewhere)):
            engine.abandon(id, "no longer wanted")
            raise LeaseLost("nothing is left of it")
    assert site.catalog.operations.find() == []


def test_a_tick_brings_back_what_was_parked_while_the_clock_stood_ahead(site: World) -> None:
    worker = Engine(
        site, kinds("restore-test", boot=lambda run: Wait("it boots", most=30.0)), foreground=False
    )
    id = opened(worker)
    site.clock.step(YEAR)
    while worker.executor.advance(id).pause is None:
        pass
    leased = opened(worker, subject=109)
    assert site.catalog.operations.claim(
        leased, Driver("elsewhere:1:x", LEASE_SECONDS, int(site.clock.now()))
    )
    site.clock.step(-YEAR)
    now = int(site.clock.now())
    assert site.catalog.operations.due(now, 9) == []
    site.catalog.operations.cap_future_times(now, tick.MAX_AHEAD)
    assert site.catalog.operations.due(now, 9) == [id, leased]
