"""What came of an operation is told at least once, whoever dies when, and by its id a second time
is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backupsvc import events
from backupsvc.catalog import Catalog
from backupsvc.catalog.untold import FORGOTTEN, HEAD_START, UntoldRepository
from backupsvc.engine import telling
from backupsvc.engine.foreground import Engine
from backupsvc.errors import CatalogUnreachable
from backupsvc.operations import tick
from backupsvc.operations.job_run.result import last_job_runs
from policies.model import Job, OperationState
from policies.outcomes import Event, JobRunOutcome, JobRunVerdict, Outcome
from tests.unit.engine.notes import NOTHING, kinds
from tests.unit.engine.test_engine import fail, opened
from tests.unit.operations.farm import at, policy, site
from tests.unit.operations.worlds import World, operation_of, world

NIGHTLY = Job("nightly", "21:00", "local")


@pytest.fixture
def here(catalog_url: str) -> Iterator[World]:
    made = world(catalog_url)
    yield made
    made.catalog.close()


@pytest.fixture
def heard() -> Iterator[list[Event]]:
    said: list[Event] = []
    with events.listening(said.append):
        yield said


def now(here: World) -> int:
    return int(here.clock.now())


def test_what_came_of_an_operation_is_told_once_when_it_ends(
    here: World, heard: list[Event]
) -> None:
    engine = Engine(here, kinds("backup", dump=fail("job errors")))
    id = engine.drive([opened(engine, "backup")])[0].id
    here.clock.sleep(10 * HEAD_START)
    telling.tell_due(here.catalog, engine.kinds, now(here))
    assert [(type(event), event.operation, event.state) for event in heard] == [
        (Outcome, id, OperationState.FAILED)
    ]


def test_a_driver_that_dies_between_the_end_and_the_telling_leaves_it_to_a_tick(
    here: World, heard: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(here, kinds("backup"))
    id = opened(engine, "backup")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(telling, "ended", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        while True:
            engine.executor.advance(id)
    assert operation_of(here, id).state is OperationState.DONE and not heard
    telling.tell_due(here.catalog, engine.kinds, now(here))
    assert not heard, "its driver may be about to tell it"
    here.clock.sleep(HEAD_START)
    telling.tell_due(here.catalog, engine.kinds, now(here))
    telling.tell_due(here.catalog, engine.kinds, now(here) + 10 * HEAD_START)
    assert [event.operation for event in heard] == [id]


def test_a_tick_that_dies_while_it_tells_is_followed_by_another_that_tells_it_again(
    here: World, heard: list[Event]
) -> None:
    engine = Engine(here, kinds("backup"))
    id = opened(engine, "backup")
    said, heard[:] = list(heard), []
    here.catalog.operations.claim(id, engine.executor.driver())
    here.catalog.operations.finish(
        id, engine.executor.driver(), OperationState.DONE, kept=NOTHING, error=None, note=None
    )
    here.clock.sleep(HEAD_START)

    def dies(event: Event) -> None:
        raise KeyboardInterrupt

    with events.listening(dies), pytest.raises(KeyboardInterrupt):
        telling.tell_due(here.catalog, engine.kinds, now(here))
    telling.tell_due(here.catalog, engine.kinds, now(here))
    here.clock.sleep(HEAD_START)
    telling.tell_due(here.catalog, engine.kinds, now(here))
    assert said == [] and [event.operation for event in heard] == [id, id], (
        "twice, and known by its id"
    )


def test_a_catalog_that_fails_after_the_telling_ends_no_operation_badly(
    here: World, heard: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(self: Catalog, operation: str) -> None:
        raise CatalogUnreachable("down")

    monkeypatch.setattr(UntoldRepository, "mark_told", down)
    engine = Engine(here, kinds("backup"))
    assert engine.drive([opened(engine, "backup")])[0].state is OperationState.DONE
    assert len(heard) == 1


def test_where_nobody_listens_it_is_left_to_a_process_with_a_log(here: World) -> None:
    engine = Engine(here, kinds("backup"))
    id = engine.drive([opened(engine, "backup")])[0].id
    here.clock.sleep(3600)
    telling.tell_due(here.catalog, engine.kinds, now(here))
    said: list[Event] = []
    with events.listening(said.append):
        telling.tell_due(here.catalog, engine.kinds, now(here))
    assert [event.operation for event in said] == [id]


def test_of_several_that_look_at_once_each_takes_others_and_what_is_too_old_is_dropped(
    here: World,
) -> None:
    engine = Engine(here, kinds("backup"))
    ids = {engine.drive([opened(engine, "backup", vmid)])[0].id for vmid in (101, 102, 103)}
    later = now(here) + HEAD_START
    first, second = here.catalog.untold.take(later, 2), here.catalog.untold.take(later, 2)
    assert len(first) == 2 and set(first) | set(second) == ids and not set(first) & set(second)
    assert here.catalog.untold.take(later, 9) == []
    for id in ids:
        assert here.catalog.operations.get(id)
    assert here.catalog.untold.take(later + HEAD_START + FORGOTTEN + 1, 9) == []


@pytest.mark.slow
def test_a_night_is_one_event_after_all_of_its_pieces(tmp_path: Path, heard: list[Event]) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.farm.sick = {102}
        found.farm.leave(102, at("2026-03-08 21:00"))
        found.live(at("2026-03-10 02:00"))
        nights = [event for event in heard if isinstance(event, JobRunOutcome)]
        assert (
            len(heard)
            == len({event.operation for event in heard})
            == len(found.world.catalog.operations.find())
        )
        assert heard[-1] is nights[0] and len(nights) == 1
        said = nights[0]
        assert (said.expected, said.ok, said.failed, said.missing, said.tests, said.proven) == (
            3,
            2,
            1,
            0,
            3,
            3,
        )
        assert (said.verdict, said.failed_guests) == (JobRunVerdict.DEGRADED, (102,))
        last = last_job_runs(found.world.catalog, ["nightly", "weekly"], {})
        assert list(last.values()) == nights
        assert last_job_runs(found.world.catalog, ["nightly"], last) == last


@pytest.mark.slow
def test_a_night_that_was_missed_is_told_and_is_the_last_one_only_while_no_later_one_ended(
    tmp_path: Path, heard: list[Event]
) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:00")) as found:
        found.live(at("2026-03-09 20:30"))
        found.live(at("2026-03-11 23:30"), beat=False)
        tick.tick(found.world)
        missed = [event for event in heard if isinstance(event, JobRunOutcome)]
        assert [event.state for event in missed] == [OperationState.MISSED] * 2
        last = last_job_runs(found.world.catalog, ["nightly"], {})
        assert [night.at for night in last.values()] == [at("2026-03-10 21:00")]
        found.live(at("2026-03-12 05:00"))
        last = last_job_runs(found.world.catalog, ["nightly"], last)
        assert [(night.at, night.verdict) for night in last.values()] == [
            (at("2026-03-11 21:00"), JobRunVerdict.GOOD)
        ]
