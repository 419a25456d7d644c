"""What the model test is worth: each guard of the engine is taken out, and the model must notice in
the history that needs it.

The same histories pass with the guard in place. They are what Hypothesis would have to come across:
here nothing is left to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update

from backupsvc import events
from backupsvc.catalog import leases, locks, operations
from backupsvc.catalog.operations import OPEN
from backupsvc.catalog.tables import LOCK, OPERATION, UNTOLD
from backupsvc.catalog.untold import HEAD_START, UntoldRepository
from backupsvc.engine import telling
from backupsvc.engine.kind import OperationKind
from backupsvc.operations.kinds import KINDS
from backupsvc.pve.scratch import RestoreStubs
from tests.unit.operations import test_engine_model
from tests.unit.operations.actors import Fate
from tests.unit.operations.test_engine_model import START, EngineModel, watched
from tests.unit.operations.worlds import emptied

Guard = Callable[[pytest.MonkeyPatch], None]
History = Callable[[EngineModel], None]
# the point of a restore test's first turn at which it is about to lease its scratch VMID
LEASES = 51


@pytest.fixture
def model() -> Iterator[Callable[[], EngineModel]]:
    """Makes a model with its invariants looked at after every rule, as Hypothesis does."""
    with watched() as catalog:
        EngineModel.catalog = catalog
        yield EngineModel


def live(model: EngineModel, history: History) -> None:
    """Let a history happen, look at every invariant, and let all come to its end."""
    try:
        history(model)
        check(model)
    except BaseException:
        model.stage.close()
        emptied(model.catalog)
        raise
    model.teardown()


def check(model: EngineModel) -> None:
    for name in dir(EngineModel):
        if hasattr(getattr(EngineModel, name), test_engine_model.INVARIANT):
            getattr(model, name)()


def a_late_answer(model: EngineModel) -> None:
    model.begin(wanted=[("backup", 0)])
    model.workers_go_about_their_work(
        turns=[(0, Fate("late", 1, 8.0)), *[(0, None)] * 8], seconds=2.0
    )


def two_backups_on_a_node(model: EngineModel) -> None:
    """Nobody comes for the first while its dump goes on, so that it no longer counts among those
    who wait.
    """
    model.begin(wanted=[("backup", 0), ("backup", 1)])
    model.cluster.seconds = {**model.cluster.seconds, "vzdump": 600.0}
    model.workers_go_about_their_work(turns=[(0, None)] * 3, seconds=2.0)
    model.time_passes(130.0)
    waiting = [
        one.step == "locate" for one in map(model.catalog.operations.get, model._open_ids()) if one
    ]
    model.a_hint_reaches_a_worker(worker=0, which=waiting.index(True), whole=True, fate=None)


def the_same_guest_twice(model: EngineModel) -> None:
    model.begin(wanted=[("backup", 0), ("backup", 0)])


def cancelled_and_begun_anew_in_the_same_second(model: EngineModel) -> None:
    model.begin(wanted=[("backup", 0)])
    model.workers_go_about_their_work(turns=[(0, None)], seconds=0.0)
    model.a_person_cancels_an_operation(which=0, fate=None, sure=3)
    model.somebody_opens_an_operation(
        worker=1, kind="backup", which=0, keyed=False, twice=False, fate=None
    )
    model.a_hint_reaches_a_worker(worker=1, which=0, whole=True, fate=Fate("before", 1))
    model.time_passes(605.0)
    model.workers_go_about_their_work(turns=[(0, None)] * 2, seconds=2.0)


def overtaken_before_a_write(model: EngineModel) -> None:
    model.begin(wanted=[("backup", 0)])
    model.a_hint_reaches_a_worker(
        worker=0, which=0, whole=True, fate=Fate("sleep", 3, 610.0, (1, 1))
    )


def overtaken_before_a_vmid_is_leased(model: EngineModel) -> None:
    """When the sleeper wakes up, the restore test has ended; what it then took would be
    nobody's.
    """
    model.begin(wanted=[("restore-test", 2)])
    model.a_hint_reaches_a_worker(
        worker=0, which=0, whole=True, fate=Fate("sleep", LEASES, 610.0, (1,) * 12)
    )


def an_interrupted_prune(model: EngineModel) -> None:
    model.begin(wanted=[])
    for vmid in range(101, 104):
        model.cluster.add_archive("n1", vmid, int(START) - 10)
    for point in range(41, 91):
        model.a_person_runs_a_command(kind="prune", which=0, fate=None, interrupted=point)
        check(model)


def a_command_ends(model: EngineModel) -> None:
    """It has no log: what came of it is left to the workers."""
    model.begin(wanted=[])
    model.a_person_runs_a_command(kind="backup", which=0, fate=None, interrupted=0)


def a_tick_that_tells(kind: str, seconds: float, *meanwhile: int) -> History:
    """Something happens at each point of the tick that tells what came of a command."""

    def history(model: EngineModel) -> None:
        model.begin(wanted=[])
        for point in range(1, 14):
            model.a_person_runs_a_command(kind="backup", which=0, fate=None, interrupted=0)
            model.time_passes(HEAD_START + 1.0)
            model._act(0, Fate(kind, point, seconds, meanwhile), model._tick)
            check(model)

    return history


def a_driver_that_sleeps_before_it_tells(model: EngineModel) -> None:
    """Just after the end was written down; another has told it meanwhile."""
    model.begin(wanted=[("backup", 0)])
    ended, slept = telling.ended, list[str]()

    def late(catalog: Any, kinds: Any, operation: Any, now: int) -> None:
        if not slept:
            slept.append(operation.id)
            model.stage._sleep(Fate("sleep", 1, 130.0, (2, 2)))
        ended(catalog, kinds, operation, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telling, "ended", late)
        model.workers_go_about_their_work(turns=[(0, None)] * 12, seconds=15.0)
    assert slept


def a_restore_fails_and_then(happens: Callable[[EngineModel], None]) -> History:
    def history(model: EngineModel) -> None:
        model.begin(wanted=[])
        model.the_next_task_will_fail(type="qmrestore")
        model.a_person_runs_a_command(kind="restore", which=0, fate=None, interrupted=0)
        happens(model)
        model.a_person_runs_a_command(kind="restore", which=0, fate=None, interrupted=0)

    return history


def somebody_elses_fails_there_too(model: EngineModel) -> None:
    model.time_passes(50.0)
    model.a_restore_of_somebody_else_fails_under_a_lost_vmid(which=0, sure=3)
    assert model.others, "nobody's restore stood in the way"


def without_fence(patch: pytest.MonkeyPatch) -> None:
    anybody = (OPERATION.c.id == bindparam("its_id"), OPERATION.c.state == OPEN)
    patch.setattr(operations, "_MINE", update(OPERATION).where(*anybody))


def without_fence_of_what_it_holds(patch: pytest.MonkeyPatch) -> None:
    for holding in (leases, locks):
        patch.setattr(holding, "hold", lambda connection, fence: None)


def without_lock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        locks,
        "insert",
        lambda table: update(LOCK).where(LOCK.c.name == "none") if table is LOCK else None,
    )


def without_others(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operations.OperationRepository, "upids_of_others", lambda self, id, upids: set())


def struck_off_first(patch: pytest.MonkeyPatch) -> None:
    tell = telling._tell

    def early(catalog: Any, kinds: Any, operation: Any) -> None:
        catalog.untold.mark_told(operation.id)
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(catalog.untold, "mark_told", lambda id: None, raising=False)
            inner.setattr(EngineModel, "_noted", lambda self: {operation.id})
            tell(catalog, kinds, operation)

    patch.setattr(telling, "_tell", early)


def tells_whenever_it_wakes_up(patch: pytest.MonkeyPatch) -> None:
    def whenever(catalog: Any, kinds: Any, operation: Any, now: int) -> None:
        if events.anybody():
            telling._tell(catalog, kinds, operation)

    patch.setattr(telling, "ended", whenever)


def taken_by_all(patch: pytest.MonkeyPatch) -> None:
    def look(self: UntoldRepository, now: int, limit: int) -> list[str]:
        query = select(UNTOLD.c.operation).where(UNTOLD.c.due <= now).limit(limit)
        with self._database.write() as connection:
            return [str(row.operation) for row in connection.execute(query)]

    patch.setattr(UntoldRepository, "take", look)


def planned(kind: str, **changes: Any) -> OperationKind[Any, Any]:
    """A kind of operation with another plan."""
    return replace(KINDS[kind], workflow=replace(KINDS[kind].workflow, **changes))


CASES: dict[str, tuple[Guard, History]] = {
    "the fence of every write": (without_fence, overtaken_before_a_write),
    "the fence of what it holds": (
        without_fence_of_what_it_holds,
        overtaken_before_a_vmid_is_leased,
    ),
    "time for a lost answer to show up": (
        lambda patch: patch.setattr(EngineModel, "lost_reply_grace_s", 0.0),
        a_late_answer,
    ),
    "one operation a guest": (
        lambda patch: patch.setitem(KINDS, "backup", planned("backup", exclusive=False)),
        the_same_guest_twice,
    ),
    "one operation a lock": (without_lock, two_backups_on_a_node),
    "tasks of others are not adopted": (
        without_others,
        cancelled_and_begun_anew_in_the_same_second,
    ),
    "an outcome is noted with the end": (
        lambda patch: patch.setattr(operations, "note_untold", lambda *_: None),
        a_command_ends,
    ),
    "an outcome is struck off after it was told": (
        struck_off_first,
        a_tick_that_tells("crash", 0.0),
    ),
    "an outcome that one tells is left to that one": (
        taken_by_all,
        a_tick_that_tells("sleep", 5.0, 1),
    ),
    "an outcome that was told is struck off": (
        lambda patch: patch.setattr(UntoldRepository, "mark_told", lambda self, operation: None),
        a_command_ends,
    ),
    "a driver's head start ends": (
        tells_whenever_it_wakes_up,
        a_driver_that_sleeps_before_it_tells,
    ),
    "only the rest of our own restore": (
        lambda patch: patch.setattr(RestoreStubs, "why_not", lambda self, node, vmid, upid: None),
        a_restore_fails_and_then(somebody_elses_fails_there_too),
    ),
    "nothing that has a disk": (
        lambda patch: patch.setattr(RestoreStubs, "_volumes", lambda self, node, vmid: []),
        a_restore_fails_and_then(
            lambda model: model.a_disk_appears_under_a_lost_vmid(which=0, sure=3)
        ),
    ),
    "what became of a removal": (
        lambda patch: patch.setitem(KINDS, "prune", planned("prune", cleanup=())),
        an_interrupted_prune,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("guard", CASES)
def test_the_model_notices_that_a_guard_is_missing(
    guard: str, model: Callable[[], EngineModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, history = CASES[guard]
    live(model(), history)
    remove(monkeypatch)
    with pytest.raises(AssertionError):
        live(model(), history)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "points"), [("backup", 75), ("restore-test", 100), ("prune", 30), ("restore", 60)]
)
def test_law_9_a_worker_may_sleep_through_its_lease_at_any_point(
    kind: str, points: int, model: Callable[[], EngineModel]
) -> None:
    def overtaken(at: int) -> History:
        def history(model: EngineModel) -> None:
            model.begin(wanted=[(kind, 0)])
            model.a_hint_reaches_a_worker(
                worker=0, which=0, whole=True, fate=Fate("sleep", at, 610.0, (1,) * 12)
            )

        return history

    for at in range(1, points):
        live(model(), overtaken(at))
