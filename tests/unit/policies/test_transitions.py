"""Every operation ends, and tear-down follows whatever happened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import OperationState
from policies.transitions import PLANS, Plan, following, interrupted

plans = st.sampled_from(sorted(PLANS.values(), key=lambda plan: plan.kind))


def walk(plan: Plan, bad: set[str]) -> tuple[list[str], OperationState]:
    """Given the steps that fail, return the steps walked and the state at the end."""
    step, seen, failed_before, state = plan.first, [], False, OperationState.OPEN
    while state is OperationState.OPEN:
        seen.append(step)
        then = following(plan, step, failed=step in bad, failed_before=failed_before and not plan.failure_is_result)
        failed_before = failed_before or step in bad
        state = then.state
        step = then.step or step
    return seen, state


@given(plans, st.data())
def test_every_walk_ends_and_does_all_of_the_cleanup(plan: Plan, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.sampled_from(plan.steps + plan.cleanup)))
    seen, state = walk(plan, bad)
    assert state in (OperationState.DONE, OperationState.FAILED)
    assert [step for step in seen if step in plan.cleanup] == list(plan.cleanup)
    assert len(seen) == len(set(seen))


@given(plans)
def test_without_a_failure_every_step_is_walked_in_order(plan: Plan) -> None:
    assert walk(plan, set()) == (list(plan.steps + plan.cleanup), OperationState.DONE)


@given(plans, st.data())
def test_a_failed_main_step_is_the_last_main_step(plan: Plan, data: st.DataObject) -> None:
    bad = data.draw(st.sampled_from(plan.steps))
    seen, state = walk(plan, {bad})
    assert [step for step in seen if step in plan.steps][-1] == bad
    assert state is (OperationState.DONE if plan.failure_is_result else OperationState.FAILED)


@given(plans, st.data())
def test_an_interruption_owes_the_cleanup_from_where_it_struck(plan: Plan, data: st.DataObject) -> None:
    step = data.draw(st.sampled_from(plan.steps + plan.cleanup))
    then = interrupted(plan, step)
    if step in plan.cleanup:
        assert then.step == step
    elif plan.cleanup:
        assert then.step == plan.cleanup[0]
    else:
        assert (then.step, then.state) == (None, OperationState.CANCELLED)


@pytest.mark.parametrize("kind", sorted(PLANS))
def test_every_kind_has_handlers_for_exactly_its_steps(kind: str) -> None:
    from backupsvc.operations import backup, night, prune, restore, restore_test

    modules = {"backup": backup, "night": night, "prune": prune, "restore": restore, "restore-test": restore_test}
    assert set(modules[kind].HANDLERS) == set(PLANS[kind].steps + PLANS[kind].cleanup)
