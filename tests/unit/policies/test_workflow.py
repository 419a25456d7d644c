"""Every operation ends, and tear-down follows whatever happened."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.operations.kinds import KINDS
from policies.model import OperationState
from policies.workflow import (
    TRANSIENT_PAUSES,
    Done,
    Failed,
    Finish,
    NextStep,
    Report,
    RetryLater,
    Run,
    StepBack,
    StepStatus,
    Stop,
    Trouble,
    Waiting,
    Workflow,
    after,
    before,
    stopped,
)

PLANS = {kind.name: kind.workflow for kind in KINDS.values()}
plans = st.sampled_from(sorted(PLANS.values(), key=lambda plan: plan.kind))
BACKUP, TEST = PLANS["backup"], PLANS["restore-test"]


def walk(
    plan: Workflow, bad: set[str], cancel_at: str | None = None
) -> tuple[list[str], OperationState]:
    """Given the steps that fail, and the one before which somebody cancels, return the steps run
    and the state at the end.
    """
    at, seen = StepStatus(plan.first, 0.0), []
    while True:
        at = replace(at, cancel="asked" if at.step == cancel_at else at.cancel)
        allowed = before(plan, at)
        if isinstance(allowed, Stop):
            move = stopped(plan, at, allowed)
            at = replace(at, cancelled=at.cancelled or allowed.cancelled)
        else:
            seen.append(at.step)
            move = after(plan, at, Failed() if at.step in bad else Done())
        if isinstance(move, Finish):
            return seen, move.state
        assert isinstance(move, NextStep)
        failed = (
            {"cleanup_failed": True}
            if move.failed and at.step in plan.cleanup
            else {"failed": at.failed or move.failed}
        )
        at = replace(at, step=move.step, **failed)  # type: ignore[arg-type]


@given(plans, st.data())
def test_every_walk_ends_and_does_all_of_the_cleanup(plan: Workflow, data: st.DataObject) -> None:
    steps = plan.steps + plan.cleanup
    seen, state = walk(
        plan, data.draw(st.sets(st.sampled_from(steps))), data.draw(st.sampled_from((None, *steps)))
    )
    assert state in (OperationState.DONE, OperationState.FAILED, OperationState.CANCELLED)
    assert [step for step in seen if step in plan.cleanup] == list(plan.cleanup)
    assert len(seen) == len(set(seen))


@given(plans)
def test_without_a_failure_every_step_is_walked_in_order(plan: Workflow) -> None:
    assert walk(plan, set()) == (list(plan.steps + plan.cleanup), OperationState.DONE)


@given(plans.filter(lambda plan: bool(plan.steps)), st.data())
def test_a_failed_main_step_is_the_last_main_step(plan: Workflow, data: st.DataObject) -> None:
    bad = data.draw(st.sampled_from(plan.steps))
    seen, state = walk(plan, {bad})
    assert [step for step in seen if step in plan.steps][-1] == bad
    assert state is (OperationState.DONE if plan.failure_is_result else OperationState.FAILED)


@given(plans.filter(lambda plan: bool(plan.steps)), st.data())
def test_a_cancelled_operation_does_its_cleanup_and_ends_cancelled(
    plan: Workflow, data: st.DataObject
) -> None:
    step = data.draw(st.sampled_from(plan.steps))
    seen, state = walk(plan, set(), cancel_at=step)
    assert step not in seen
    assert state is OperationState.CANCELLED


@given(plans.filter(lambda plan: bool(plan.cleanup)), st.data())
def test_a_cleanup_that_fails_is_never_a_good_end(plan: Workflow, data: st.DataObject) -> None:
    bad = data.draw(st.sampled_from(plan.cleanup))
    assert (
        walk(plan, {bad}, data.draw(st.sampled_from((None, *plan.steps))))[1]
        is OperationState.FAILED
    )


def test_a_passed_deadline_stops_a_step_but_never_the_cleanup() -> None:
    late = StepStatus("boot", 101.0, deadline=100)
    assert before(TEST, late) == Stop("it passed its deadline at step boot")
    assert before(TEST, replace(late, now=100.0)) == Run()
    assert before(TEST, replace(late, step="tear-down", cancel="asked")) == Run()


def test_a_step_that_was_stopped_leads_to_the_cleanup_and_no_further_main_step() -> None:
    late = Stop("it passed its deadline at step boot")
    assert not late.cancelled
    assert stopped(TEST, StepStatus("boot", 101.0, deadline=100), late) == NextStep(
        "tear-down", failed=True
    )
    assert stopped(PLANS["night"], StepStatus("back-up", 101.0, deadline=100), late) == Finish(
        OperationState.FAILED, failed=True
    )


def test_what_was_cancelled_before_stays_cancelled_whatever_stops_the_next_step() -> None:
    at = StepStatus("back-up", 101.0, cancelled=True)
    assert stopped(PLANS["night"], at, Stop("it is late")) == Finish(
        OperationState.CANCELLED, failed=True
    )


def test_a_failed_step_is_the_result_of_a_restore_test_and_fails_all_else() -> None:
    ends = {kind: walk(plan, set(plan.steps[:1]))[1] for kind, plan in PLANS.items() if plan.steps}
    assert ends.pop("restore-test") is OperationState.DONE
    assert set(ends.values()) == {OperationState.FAILED} and len(ends) >= 4


def test_only_a_night_may_be_open_beside_another_of_its_subject() -> None:
    assert [plan.kind for plan in PLANS.values() if not plan.exclusive] == ["night"]


def test_an_operation_of_which_only_the_step_is_known_has_lost_and_failed_nothing() -> None:
    new = StepStatus("dump", 0.0)
    assert (new.lost, new.tries, new.backs) == (0, 0, 0)
    assert not (new.failed or new.cleanup_failed or new.cancelled)


def test_a_move_after_a_step_that_did_well_says_nothing_of_failing() -> None:
    at = StepStatus("dump", 0.0)
    waits, went = after(BACKUP, at, Waiting(5.0)), after(BACKUP, at, Done())
    ended = after(BACKUP, replace(at, step="settle"), Done())
    assert isinstance(waits, RetryLater) and not waits.again
    assert isinstance(went, NextStep) and not went.failed
    assert isinstance(ended, Finish) and not ended.failed and ended.state is OperationState.DONE
    assert not NextStep("dump").failed and not Finish(OperationState.DONE).failed


def test_a_step_that_keeps_losing_its_driver_is_given_up_in_cleanup_too() -> None:
    for step in ("boot", "tear-down"):
        assert before(TEST, StepStatus(step, 0.0, lost=4)) == Run()
        assert before(TEST, StepStatus(step, 0.0, lost=5)) == Stop(
            f"the process that drove it was lost 5 times at step {step}"
        )


def test_a_wait_keeps_the_step_and_an_outage_is_sat_through_for_as_long_as_patience_goes() -> None:
    at = StepStatus("dump", 1000.0, retry_for_s=3600)
    assert after(BACKUP, at, Waiting(5.0)) == RetryLater(5.0)
    assert after(BACKUP, at, Failed(Trouble.UNAVAILABLE)) == RetryLater(2.0, again=True)
    assert after(
        BACKUP, replace(at, tries=9, since=0.0), Failed(Trouble.UNAVAILABLE)
    ) == RetryLater(30.0, again=True)
    assert after(
        BACKUP, replace(at, tries=9, since=1000.0 - 3600), Failed(Trouble.UNAVAILABLE)
    ) == NextStep("settle", failed=True)
    assert after(BACKUP, replace(at, retry_for_s=0.0), Failed(Trouble.UNAVAILABLE)) == NextStep(
        "settle", failed=True
    )


def test_the_pauses_of_an_outage_double_up_to_half_a_minute() -> None:
    at = StepStatus("dump", 0.0, retry_for_s=3600)
    moves = [
        after(BACKUP, replace(at, tries=tries), Failed(Trouble.UNAVAILABLE)) for tries in range(6)
    ]
    assert moves == [RetryLater(pause, again=True) for pause in (2.0, 4.0, 8.0, 16.0, 30.0, 30.0)]


def test_a_hiccup_is_tried_a_few_times_and_a_plain_failure_never() -> None:
    at = StepStatus("dump", 0.0, retry_for_s=3600)
    for tries, pause in enumerate(TRANSIENT_PAUSES):
        assert after(BACKUP, replace(at, tries=tries), Failed(Trouble.TRANSIENT)) == RetryLater(
            pause, again=True
        )
    assert after(
        BACKUP, replace(at, tries=len(TRANSIENT_PAUSES)), Failed(Trouble.TRANSIENT)
    ) == NextStep("settle", failed=True)
    assert after(BACKUP, at, Failed()) == NextStep("settle", failed=True)


def test_only_a_step_that_the_plan_names_goes_back_and_not_for_ever() -> None:
    at = StepStatus("dump", 0.0)
    assert after(BACKUP, at, StepBack("locate")) == NextStep("locate")
    assert after(BACKUP, replace(at, backs=2), StepBack("locate")) == NextStep("locate")
    assert after(BACKUP, replace(at, backs=3), StepBack("locate")) == NextStep(
        "settle", failed=True
    )
    assert after(BACKUP, replace(at, step="read-back"), StepBack("locate")) == NextStep(
        "settle", failed=True
    )


@given(plans, st.data())
def test_whatever_is_asked_has_an_answer_that_keeps_to_the_plan(
    plan: Workflow, data: st.DataObject
) -> None:
    step = data.draw(st.sampled_from(plan.steps + plan.cleanup))
    numbers = st.integers(0, 10)
    at = StepStatus(
        step,
        float(data.draw(numbers)),
        deadline=data.draw(st.none() | numbers),
        cancel=data.draw(st.none() | st.just("asked")),
        lost=data.draw(numbers),
        tries=data.draw(numbers),
        since=data.draw(st.none() | st.floats(0, 10)),
        retry_for_s=data.draw(st.floats(0, 10)),
        backs=data.draw(numbers),
    )
    reports: st.SearchStrategy[Report] = st.sampled_from(
        [
            Done(),
            Waiting(1.0),
            Failed(),
            Failed(Trouble.TRANSIENT),
            Failed(Trouble.UNAVAILABLE),
            StepBack("locate"),
        ]
    )
    allowed = before(plan, at)
    move = (
        stopped(plan, at, allowed)
        if isinstance(allowed, Stop)
        else after(plan, at, data.draw(reports))
    )
    assert isinstance(move, RetryLater | Finish) or move.step in plan.steps + plan.cleanup
    assert not (isinstance(move, NextStep) and step in plan.cleanup and move.step in plan.steps)


@pytest.mark.parametrize("kind", sorted(PLANS))
def test_every_kind_has_handlers_for_exactly_its_steps(kind: str) -> None:
    assert set(KINDS[kind].handlers) == set(PLANS[kind].steps + PLANS[kind].cleanup)
    assert PLANS[kind].long <= set(PLANS[kind].steps + PLANS[kind].cleanup)
