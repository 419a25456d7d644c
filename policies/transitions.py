"""The state machines of operations, as values: which step comes next, and how an operation ends.

An operation walks through ``steps`` and then through ``cleanup``. A step that fails, a cancellation and a passed deadline all
lead to the first cleanup step; cleanup steps run one after the other whatever happened before, so that tear-down follows success,
failure, cancel and deadline alike. Nothing here has effects: the engine applies one transition at a time and records it.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.model import OperationState


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one kind of operation. ``failure_is_result``: a failed step is a result, not a failed operation.

    ``alone``: at most one such operation is open at a time for one subject; a night, which only opens others, needs no such rule.
    """

    kind: str
    steps: tuple[str, ...]
    cleanup: tuple[str, ...] = ()
    failure_is_result: bool = False
    alone: bool = True

    @property
    def first(self) -> str:
        """The step that a new operation starts with."""
        return (self.steps + self.cleanup)[0]


@dataclass(frozen=True, slots=True)
class Next:
    """What follows a step: another step, or the end in ``state``."""

    step: str | None
    state: OperationState


BACKUP = Plan("backup", ("locate", "dump", "read-back", "verify"))
RESTORE_TEST = Plan(
    "restore-test",
    ("choose", "reserve", "restore", "isolate", "start", "boot", "check"),
    ("tear-down", "judge"),
    failure_is_result=True,
)
RESTORE = Plan("restore", ("choose", "restore", "read-back", "start"))
PRUNE = Plan("prune", ("decide", "remove"))

NIGHT = Plan("night", ("back-up", "prune", "prove"), alone=False)

PLANS = {plan.kind: plan for plan in (BACKUP, RESTORE_TEST, RESTORE, PRUNE, NIGHT)}


def following(plan: Plan, step: str, *, failed: bool, failed_before: bool = False) -> Next:
    """Given a plan, the step just ended and how, return what follows.

    ``failed`` is this step's own outcome; ``failed_before`` that an earlier step had failed. A failed main step leads to
    cleanup. The operation ends FAILED when a main step failed (unless the plan makes that a result) or any cleanup step did.
    """
    if step in plan.steps and not failed:
        rest = (plan.steps + plan.cleanup)[plan.steps.index(step) + 1 :]
    elif step in plan.steps:
        rest = plan.cleanup
    else:
        rest = plan.cleanup[plan.cleanup.index(step) + 1 :]
    if rest:
        return Next(rest[0], OperationState.OPEN)
    bad = failed or failed_before
    return Next(None, OperationState.FAILED if bad else OperationState.DONE)


def interrupted(plan: Plan, step: str) -> Next:
    """Given the step at which an operation was cancelled or abandoned, return the cleanup that is still owed."""
    if step in plan.cleanup:
        return Next(step, OperationState.OPEN)
    if plan.cleanup:
        return Next(plan.cleanup[0], OperationState.OPEN)
    return Next(None, OperationState.CANCELLED)
