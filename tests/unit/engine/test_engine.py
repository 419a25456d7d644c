"""The engine records before it acts, resumes what it finds, and cleans up whatever happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog.operations import Driver, Kept
from backupsvc.clock import moment
from backupsvc.engine.context import Again, Wait
from backupsvc.engine.events import StepEvent
from backupsvc.engine.foreground import Engine
from backupsvc.errors import LeaseLost, OperationFailed, PveError, PveUnreachable, Refused
from backupsvc.operations.kinds import KINDS
from policies.bookkeeping import Bookkeeping, StepError, TaskRecord
from policies.error_kinds import ErrorKind
from policies.model import OperationState
from tests.unit.engine.notes import Handler, Notes, Run, kinds, read
from tests.unit.operations.worlds import Row, Tasks, World, dead_command, world


@pytest.fixture
def site(catalog_url: str) -> Iterator[World]:
    made = world(catalog_url)
    yield made
    made.catalog.close()


def test_who_asked_is_written_down_with_what_is_opened_and_not_with_what_is_asked_again(
    site: World,
) -> None:
    engine = Engine(site, kinds("backup"))
    engine.asked_by = "alice@desk"
    operation = site.catalog.operations.get(opened(engine, "backup"))
    assert (
        operation
        and operation.book.asked_by == "alice@desk"
        and operation.book.asked == {"version": 1}
    )


def fail(message: str) -> Callable[[Run], None]:
    def step(run: Run) -> None:
        raise PveError(message, "look there")

    return step


def opened(engine: Engine, kind: str = "restore-test", subject: int = 108) -> str:
    operation = engine.open(kind, subject, Notes())
    assert operation is not None
    return operation.id


def test_steps_follow_one_another_to_the_end(site: World) -> None:
    engine = Engine(site, kinds("restore-test"))
    ended = engine.drive([opened(engine)])[0]
    assert ended.state is OperationState.DONE
    assert (
        read(ended).walked
        == KINDS["restore-test"].workflow.steps + KINDS["restore-test"].workflow.cleanup
    )


def test_a_failed_step_skips_to_the_cleanup_and_is_remembered_with_its_hint(site: World) -> None:
    engine = Engine(site, kinds("restore-test", start=fail("it does not start")))
    ended = engine.drive([opened(engine)])[0]
    assert read(ended).walked == (
        "choose",
        "reserve",
        "begin",
        "read",
        "restore",
        "isolate",
        "tear-down",
        "judge",
    )
    assert ended.book.error == StepError(
        "start", "it does not start", "look there", ErrorKind.PVE, 1
    )


def test_a_failed_tear_down_fails_the_operation_though_the_verdict_was_given(site: World) -> None:
    engine = Engine(site, kinds("restore-test", tear_down=fail("it does not go away")))
    ended = engine.drive([opened(engine)])[0]
    assert (ended.state, ended.error) == (OperationState.FAILED, "it does not go away")
    assert "judge" in read(ended).walked


def test_a_backup_that_fails_ends_failed(site: World) -> None:
    engine = Engine(site, kinds("backup", dump=fail("job errors")))
    ended = engine.drive([opened(engine, "backup")])[0]
    assert (ended.state, ended.error) == (OperationState.FAILED, "job errors")


def test_every_step_is_recorded_before_and_after(site: World) -> None:
    engine = Engine(site, kinds("backup", dump=fail("job errors")))
    id = opened(engine, "backup")
    engine.drive([id])
    rows = [(row.step, row.event) for row in site.catalog.operations.transitions(id)]
    expected = [
        ("locate", "started"),
        ("locate", "finished"),
        ("dump", "started"),
        ("dump", "failed"),
    ]
    assert rows == [*expected, ("settle", "started"), ("settle", "finished")]


def test_waiting_pauses_and_calls_the_step_again(site: World) -> None:
    calls: list[float] = []

    def boot(run: Run) -> Wait | None:
        calls.append(run.clock.now())
        return Wait("booting", most=2.0) if len(calls) < 4 else None

    engine = Engine(site, kinds("restore-test", boot=boot))
    assert engine.drive([opened(engine)])[0].state is OperationState.DONE
    pauses = [later - earlier for earlier, later in pairwise(calls)]
    assert len(calls) == 4
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.2


def test_operations_are_driven_side_by_side(site: World) -> None:
    order: list[tuple[int, str]] = []

    def dump(run: Run) -> Wait | None:
        order.append((run.vmid, "dump"))
        if run.memory.polled == 2:
            return None
        run.memory = replace(run.memory, polled=run.memory.polled + 1)
        return Wait("dumping")

    engine = Engine(site, kinds("backup", dump=dump))
    engine.drive([opened(engine, "backup", 101), opened(engine, "backup", 102)])
    assert [vmid for vmid, _ in order[:2]] == [101, 102]


def with_tasks(site: World, tasks: Tasks) -> Any:
    site.pve = SimpleNamespace(tasks=tasks)
    return site.pve


def dumping(started: list[str]) -> Callable[[Run], Wait | None]:
    def dump(run: Run) -> Wait | None:
        def start() -> str:
            started.append("UPID:1")
            return "UPID:1"

        pve = run.service.pve
        result = run.task(
            "dump",
            start,
            pve=pve,
            node="clovis",
            type="vzdump",
            vmid=run.vmid,
            what="back up guest 108",
        )
        if result is None:
            return Wait("dumping")
        run.memory = replace(run.memory, result=str(result))
        return None

    return dump


def test_a_task_is_started_once_however_often_it_is_polled(site: World) -> None:
    with_tasks(site, Tasks({"UPID:1": 3}))
    started: list[str] = []
    engine = Engine(site, kinds("backup", dump=dumping(started)))
    ended = engine.drive([opened(engine, "backup")])[0]
    assert started == ["UPID:1"]
    assert read(ended).result == "result of UPID:1"


def test_the_intent_is_written_before_the_task_is_started(site: World) -> None:
    with_tasks(site, Tasks())
    seen: list[Any] = []

    def dump(run: Run) -> Wait | None:
        def start() -> str:
            stored = site.catalog.operations.get(run.id)
            assert stored is not None
            seen.append(stored.book.task("dump").intended)
            return "UPID:1"

        run.task(
            "dump",
            start,
            pve=run.service.pve,
            node="clovis",
            type="vzdump",
            vmid=108,
            what="back up",
        )
        return None

    engine = Engine(site, kinds("backup", dump=dump))
    engine.drive([opened(engine, "backup")])
    assert [intended.wall for intended in seen] == [int(site.clock.now())]


def test_a_resumed_step_adopts_the_task_that_was_started_before_the_crash(site: World) -> None:
    tasks = Tasks(listed=[Row("UPID:1")])
    with_tasks(site, tasks)
    started: list[str] = []
    engine = Engine(site, kinds("backup", dump=dumping(started)))
    id = opened(engine, "backup")
    engine.executor.advance(id)
    intended = Bookkeeping(tasks={"dump": TaskRecord(intended=moment(site.clock))})
    site.catalog.operations.record(
        id, engine.executor.driver(), step="dump", kept=Kept({}, intended)
    )
    ended = engine.drive([id])[0]
    assert started == []
    assert ended.book.upid("dump") == "UPID:1"
    assert "adopted" in [row.event for row in site.catalog.operations.transitions(id)]


def test_a_call_that_started_no_task_fails_the_step_with_the_next_action(site: World) -> None:
    with_tasks(site, Tasks())

    def dump(run: Run) -> Wait | None:
        run.task(
            "dump",
            lambda: None,
            pve=run.service.pve,
            node="clovis",
            type="vzdump",
            vmid=108,
            what="back up guest 108",
        )
        return None

    engine = Engine(site, kinds("backup", dump=dump))
    ended = engine.drive([opened(engine, "backup")])[0]
    assert ended.error == "PVE accepted to back up guest 108 but started no task"
    assert ended.book.tasks == {}


def test_law_9_a_guest_has_at_most_one_operation_at_a_time(site: World) -> None:
    first, second = Engine(site, kinds("backup")), Engine(site, kinds("backup"))
    second.executor.owner = "elsewhere:1:x"
    opened(first, "backup")
    with pytest.raises(Refused, match="guest 108 already has an operation at work"):
        second.open("backup", 108, {})


def test_law_9_an_occurrence_opens_once(site: World) -> None:
    engine = Engine(site, kinds("backup"))
    first = engine.open("backup", 108, Notes(), occurrence="nightly@2026-03-09T21:00#108")
    assert first is not None
    engine.drive([first.id])
    assert engine.open("backup", 108, Notes(), occurrence="nightly@2026-03-09T21:00#108") is None


def test_an_operation_whose_driver_is_gone_is_cleaned_up_before_the_next_begins(
    site: World,
) -> None:
    dead = Engine(site, kinds("restore-test", boot=lambda run: Wait("booting")))
    dead.executor.owner = "elsewhere:1:x"
    id = opened(dead)
    for _ in range(6):
        dead.executor.advance(id)
    site.clock.sleep(3600)
    engine = Engine(site, kinds("restore-test"))
    opened(engine)
    left = site.catalog.operations.get(id)
    assert left is not None
    assert left.state is not OperationState.OPEN
    assert read(left).walked[-2:] == ("tear-down", "judge")
    assert left.book.error and left.book.error.message == "its driver disappeared"


def test_a_dead_process_of_this_machine_does_not_hold_a_guest_for_its_lease(site: World) -> None:
    dead = Engine(site, kinds("restore-test"))
    dead.executor.owner = dead_command()
    id = opened(dead)
    engine = Engine(site, kinds("restore-test"))
    opened(engine)
    left = site.catalog.operations.get(id)
    assert left is not None
    assert left.state is not OperationState.OPEN


def test_an_interrupt_does_the_cleanup_that_is_owed_and_goes_on(site: World) -> None:
    def boot(run: Run) -> Wait | None:
        raise KeyboardInterrupt

    engine = Engine(site, kinds("restore-test", boot=boot))
    id = opened(engine)
    with pytest.raises(KeyboardInterrupt):
        engine.drive([id])
    ended = site.catalog.operations.get(id)
    assert ended is not None
    assert read(ended).walked[-2:] == ("tear-down", "judge")
    assert "cancelled" in [row.event for row in site.catalog.operations.transitions(id)]


def test_a_passed_deadline_leads_to_the_cleanup(site: World) -> None:
    engine = Engine(site, kinds("restore-test", boot=lambda run: Wait("booting")))
    operation = engine.open("restore-test", 108, Notes(), timeout_s=60)
    assert operation is not None
    ended = engine.drive([operation.id])[0]
    assert (
        ended.book.error
        and ended.book.error.message
        == "restore-test of guest 108: it passed its deadline at step boot"
    )
    assert read(ended).walked[-2:] == ("tear-down", "judge")


def test_an_operation_that_another_process_holds_is_not_touched(site: World) -> None:
    mine, other = Engine(site, kinds("backup")), Engine(site, kinds("backup"))
    other.executor.owner = "elsewhere:1:x"
    id = opened(mine, "backup")
    with pytest.raises(Refused, match="driven by another process"):
        other.executor.advance(id)


def test_an_unknown_operation_says_where_to_look(site: World) -> None:
    with pytest.raises(OperationFailed, match="there is no operation 01NONE"):
        Engine(site, kinds("backup")).executor.advance("01NONE")


def test_whoever_watches_hears_of_every_step(site: World) -> None:
    heard: list[StepEvent] = []
    engine = Engine(site, kinds("backup"), [heard.append])
    engine.drive([opened(engine, "backup")])
    assert [(event.kind, event.step) for event in heard[:2]] == [
        ("step", "locate"),
        ("done", "locate"),
    ]
    assert heard[-1].kind == "end"
    assert heard[-1].operation.state is OperationState.DONE


# --- somebody else --------------------------------------------------------------------------------


def workers(site: World, kind: str, **special: Handler) -> Engine:
    """An engine as a worker has it."""
    return Engine(site, kinds(kind, **special), foreground=False)


def test_law_9_a_driver_that_slept_through_its_lease_starts_nothing(site: World) -> None:
    with_tasks(site, Tasks())
    started: list[str] = []

    def dump(run: Run) -> Wait | None:
        site.clock.sleep(700)  # the machine was suspended, say
        site.catalog.operations.claim(run.id, Driver("elsewhere:1:x", 600, int(site.clock.now())))
        return dumping(started)(run)

    engine = Engine(site, kinds("backup", dump=dump))
    id = opened(engine, "backup")
    engine.executor.advance(id)
    with pytest.raises(LeaseLost):
        engine.executor.advance(id)
    assert started == []


def test_law_9_a_driver_that_slept_through_its_lease_takes_and_frees_no_lock(site: World) -> None:
    def locate(run: Run) -> Wait | None:
        site.clock.sleep(700)
        other.drive([run.id])
        return run.turn("vzdump clovis", "another is at work")

    def settle(run: Run) -> None:
        site.clock.sleep(700)
        assert site.catalog.operations.claim(run.id, other.executor.driver())
        run.leave()

    other = Engine(site, kinds("backup"))
    other.executor.owner = "elsewhere:1:x"
    late = workers(site, "backup", locate=locate)
    with pytest.raises(LeaseLost):
        late.executor.advance(opened(late, "backup"))
    assert site.catalog.locks.holders() == {}
    late = workers(site, "backup", locate=lambda run: run.turn("vzdump clovis", ""), settle=settle)
    id = opened(late, "backup")
    with pytest.raises(LeaseLost):
        while True:
            late.executor.advance(id)
    assert site.catalog.locks.holders() == {"vzdump clovis": id}


def test_an_operation_that_another_process_took_over_is_followed_to_its_end(site: World) -> None:
    engine, other = Engine(site, kinds("backup")), Engine(site, kinds("backup"))
    other.executor.owner = "elsewhere:1:x"

    def taken(run: Run) -> None:
        site.clock.sleep(700)
        other.drive([run.id])
        raise LeaseLost("gone", operation=run.id)

    engine.kinds = kinds("backup", dump=taken)
    ended = engine.drive([opened(engine, "backup")])[0]
    assert ended.state is OperationState.DONE


def test_a_worker_gives_an_operation_back_between_two_polls(site: World) -> None:
    engine = workers(site, "backup", dump=lambda run: Wait("dumping", most=5.0))
    id = opened(engine, "backup")
    assert engine.executor.hints == [id]
    assert engine.executor.advance(id).pause is None
    outcome = engine.executor.advance(id)
    left = site.catalog.operations.get(id)
    assert left and left.lease_owner is None and left.due > site.clock.now()
    assert outcome.pause is not None


def test_an_outage_is_sat_through_and_the_step_is_done_when_pve_is_back(site: World) -> None:
    times: list[float] = []

    def dump(run: Run) -> None:
        times.append(run.clock.now())
        if len(times) < 6:
            raise PveUnreachable("nobody answers", "is it up?")

    engine = Engine(site, kinds("backup", dump=dump))
    id = opened(engine, "backup")
    ended = engine.drive([id])[0]
    assert ended.state is OperationState.DONE and ended.book.error is None and ended.book.tries == 0
    assert [
        row.event for row in site.catalog.operations.transitions(id) if row.step == "dump"
    ].count("retry") == 5
    assert 2 <= times[-1] - times[0] < 120


def test_a_person_is_not_made_to_wait_for_a_cluster_that_is_not_there_at_all(site: World) -> None:
    def locate(run: Run) -> None:
        raise PveUnreachable("nobody answers", "is it up?")

    engine = Engine(site, kinds("backup", locate=locate))
    ended = engine.drive([opened(engine, "backup")])[0]
    assert ended.state is OperationState.FAILED
    assert ended.book.error and ended.book.error.exit_code == 3


def test_an_intent_whose_answer_was_lost_is_given_time_to_show_up_before_it_is_repeated(
    site: World,
) -> None:
    tasks = Tasks()
    with_tasks(site, tasks)
    started: list[float] = []

    def dump(run: Run) -> Wait | None:
        def start() -> str:
            started.append(run.clock.now())
            if len(started) == 1:
                raise PveUnreachable("timed out; whether it was carried out is not known")
            return "UPID:2"

        result = run.task(
            "dump",
            start,
            pve=run.service.pve,
            node="clovis",
            type="vzdump",
            vmid=108,
            what="back up",
        )
        return Wait("dumping") if result is None else None

    engine = Engine(site, kinds("backup", dump=dump))
    assert engine.drive([opened(engine, "backup")])[0].state is OperationState.DONE
    assert len(started) == 2 and started[1] - started[0] >= engine.executor.lost_reply_grace_s - 1


def test_a_call_that_pve_refused_for_sure_is_no_intent_any_more(site: World) -> None:
    with_tasks(site, Tasks())
    started: list[float] = []

    def dump(run: Run) -> Wait | None:
        def start() -> str:
            started.append(run.clock.now())
            if len(started) == 1:
                raise PveError("cluster not ready - no quorum?", status=500)
            return "UPID:2"

        result = run.task(
            "dump",
            start,
            pve=run.service.pve,
            node="clovis",
            type="vzdump",
            vmid=108,
            what="back up",
        )
        return Wait("dumping") if result is None else None

    engine = Engine(site, kinds("backup", dump=dump))
    assert engine.drive([opened(engine, "backup")])[0].state is OperationState.DONE
    assert len(started) == 2 and started[1] - started[0] <= 2


def test_a_task_that_another_operation_started_is_not_adopted(site: World) -> None:
    with_tasks(site, Tasks(listed=[Row("UPID:1")]))
    first = Engine(site, kinds("backup", dump=dumping([])))
    first.drive([opened(first, "backup")])
    started: list[str] = []

    def dump(run: Run) -> Wait | None:
        if run.book.task("dump").intended is None:
            run.keep_task("dump", intended=replace(moment(run.clock), wall=run.clock.now() - 60))
        return dumping(started)(run)

    second = Engine(site, kinds("backup", dump=dump))
    second.drive([opened(second, "backup")])
    assert started == ["UPID:1"]


def test_a_guest_that_moved_sends_its_backup_back_to_look_for_it(site: World) -> None:
    moves: list[int] = []

    def dump(run: Run) -> Again | None:
        moves.append(1)
        return Again("locate", "it moved") if len(moves) < 3 else None

    engine = Engine(site, kinds("backup", dump=dump))
    ended = engine.drive([opened(engine, "backup")])[0]
    assert ended.state is OperationState.DONE and len(moves) == 3
    moves.clear()
    restless = Engine(site, kinds("backup", dump=lambda run: Again("locate", "it moved")))
    ended = restless.drive([opened(restless, "backup")])[0]
    assert (ended.state, ended.error) == (OperationState.FAILED, "it moved, again and again")


def test_a_cancellation_is_noticed_by_whoever_drives(site: World) -> None:
    def boot(run: Run) -> Wait:
        site.catalog.operations.request_cancel(run.id, "cancelled by the administrator", run.now())
        return Wait("booting")

    engine = Engine(site, kinds("restore-test", boot=boot))
    ended = engine.drive([opened(engine)])[0]
    assert (ended.state, ended.error) == (
        OperationState.CANCELLED,
        "cancelled by the administrator",
    )
    assert read(ended).walked[-2:] == ("tear-down", "judge") and "check" not in read(ended).walked


def test_a_step_that_works_for_minutes_notices_a_cancellation_and_keeps_its_lease(
    site: World,
) -> None:
    def verify(run: Run) -> None:
        for _ in range(60):
            site.clock.sleep(31)
            run.heartbeat()
            if run.clock.now() > run.book.entered["verify"].wall + 1500:
                site.catalog.operations.request_cancel(run.id, "enough", run.now())

    engine = Engine(site, kinds("backup", verify=verify))
    heartbeats: list[float] = []
    engine.executor.on_heartbeat = lambda: heartbeats.append(site.clock.now())
    ended = engine.drive([opened(engine, "backup")])[0]
    assert (ended.state, ended.error) == (OperationState.CANCELLED, "enough")
    assert len(heartbeats) > 40


def test_an_operation_that_nobody_drives_is_cancelled_here_with_its_cleanup(site: World) -> None:
    engine = workers(site, "restore-test", boot=lambda run: Wait("booting"))
    id = opened(engine)
    while engine.executor.advance(id).pause is None:
        pass
    ended = Engine(site, kinds("restore-test")).cancel(id, "cancelled by the administrator")
    assert ended.state is OperationState.CANCELLED
    assert read(ended).walked[-2:] == ("tear-down", "judge")
    with pytest.raises(OperationFailed, match="has already ended"):
        engine.cancel(id, "once more")


def test_a_fault_of_ours_is_kept_without_its_text_and_tried_again_but_not_for_ever(
    site: World,
) -> None:
    def dump(run: Run) -> None:
        raise KeyError("pbs-token-s3cr3t")

    engine = workers(site, "backup", dump=dump)
    id = opened(engine, "backup")
    engine.executor.advance(id)
    for _ in range(5):
        with pytest.raises(KeyError):
            engine.executor.advance(id)
        site.clock.sleep(61)
    assert site.catalog.operations.due(int(site.clock.now()), 10) == [id]
    while (outcome := engine.executor.advance(id)).operation.state is OperationState.OPEN:
        pass
    assert "was lost 5 times at step dump" in str(outcome.operation.error)
    history = str([row.detail for row in site.catalog.operations.transitions(id)])
    assert "KeyError" in history and "s3cr3t" not in history


def test_what_a_dead_process_left_in_a_lock_is_finished_by_whoever_waits_behind_it(
    site: World,
) -> None:
    def dump(run: Run) -> Wait | None:
        return run.turn("vzdump clovis", "another is being dumped") or (
            Wait("dumping") if run.vmid == 101 and dying else None
        )

    dying = True
    dead = Engine(site, kinds("backup", dump=dump))
    dead.executor.owner = dead_command()
    left = opened(dead, "backup", 101)
    for _ in range(3):
        dead.executor.advance(left)
    dying = False
    engine = Engine(site, kinds("backup", dump=dump))
    assert engine.drive([opened(engine, "backup", 102)])[0].state is OperationState.DONE
    finished = site.catalog.operations.get(left)
    assert finished and finished.state is OperationState.DONE
