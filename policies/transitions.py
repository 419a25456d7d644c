"""The state machines of operations, as values: what an operation does next, decided from where it stands and what just happened.

An operation walks through ``steps`` and then through ``cleanup``. A step that fails, a cancellation, a passed deadline and a step
that lost its driver too often all lead to the first cleanup step; cleanup steps run one after the other whatever happened before,
so that tear-down follows success, failure, cancel and deadline alike. Nothing here has effects: ``before`` says whether the
present step may run at all, ``after`` what follows what it reported; the engine applies one answer at a time, records it, and
looks at the world anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policies.model import OperationState

MOST_LOST = 5  # drivers that may die at one step before the step itself is suspected
MOST_BACK = 3  # times that an operation may go back to an earlier step
HICCUP_PAUSES = (1.0, 4.0)  # seconds before a call that PVE refused with an error of its own is tried a second and a third time
OUTAGE_PAUSES = (2.0, 30.0)  # seconds: the first pause while nobody answers, and the longest


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one kind of operation. ``failure_is_result``: a failed step is a result, not a failed operation.

    ``alone``: at most one such operation is open at a time for one subject; a night, which only opens others, needs no such rule.
    ``back``: the step that each of these steps may return to, when the world has changed under it. ``long``: steps that work for
    minutes, so that nothing that only looks may wait behind them.
    """

    kind: str
    steps: tuple[str, ...]
    cleanup: tuple[str, ...] = ()
    failure_is_result: bool = False
    alone: bool = True
    back: tuple[tuple[str, str], ...] = ()
    long: frozenset[str] = frozenset()

    @property
    def first(self) -> str:
        """The step that a new operation starts with."""
        return (self.steps + self.cleanup)[0]


class Trouble(StrEnum):
    """What a failed step may hope for: NOTHING (it has failed), a HICCUP (try soon, a few times), an OUTAGE (wait it out)."""

    NOTHING = "nothing"
    HICCUP = "hiccup"
    OUTAGE = "outage"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an operation stands when it is decided upon. Times in epoch seconds.

    ``cancel`` is why it shall end, if somebody asked; ``lost`` how many drivers died at this step; ``tries`` how often this step
    has failed in a way that may pass, ``since`` when it did so first, ``patience`` how long that may go on (seconds); ``backs``
    how often it went back; ``failed``, ``cleanup_failed`` and ``cancelled`` what came of the steps before.
    """

    step: str
    now: float
    deadline: int | None = None
    cancel: str | None = None
    lost: int = 0
    tries: int = 0
    since: float | None = None
    patience: float = 0.0
    backs: int = 0
    failed: bool = False
    cleanup_failed: bool = False
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Waits:
    """A step's report that it must be called again, after at most ``most`` seconds."""

    most: float


@dataclass(frozen=True, slots=True)
class Done:
    """A step's report that it did what it was for."""


@dataclass(frozen=True, slots=True)
class Broke:
    """A step's report that it failed."""

    trouble: Trouble = Trouble.NOTHING


@dataclass(frozen=True, slots=True)
class Back:
    """A step's report that an earlier one must be done again."""

    to: str


Report = Done | Waits | Broke | Back


@dataclass(frozen=True, slots=True)
class Run:
    """Decision: run the present step."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Decision: do not run the present step; it counts as failed, for this reason. ``cancelled`` if somebody asked for it."""

    why: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Stay:
    """Decision: the same step again, after so many seconds. ``again`` if it failed and is tried once more."""

    pause: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class Go:
    """Decision: another step is next. ``failed`` if the one before it has failed."""

    step: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """Decision: the operation ends, in this state, for ever. ``failed`` if its last step has failed."""

    state: OperationState
    failed: bool = False


Move = Stay | Go | End


def before(plan: Plan, standing: Standing) -> Run | Stop:
    """Given a plan and where the operation stands, return whether its present step may run.

    Cleanup runs whatever was asked and however late it is; only a step that keeps losing its driver is given up.
    """
    if standing.lost >= MOST_LOST:
        return Stop(f"the process that drove it was lost {standing.lost} times at step {standing.step}")
    if standing.step in plan.cleanup:
        return Run()
    if standing.cancel is not None:
        return Stop(standing.cancel, cancelled=True)
    if standing.deadline is not None and standing.now > standing.deadline:
        return Stop(f"it passed its deadline at step {standing.step}")
    return Run()


def after(plan: Plan, standing: Standing, report: Report) -> Move:
    """Given a plan, where the operation stood and what its step reported, return what follows."""
    if isinstance(report, Waits):
        return Stay(report.most)
    if isinstance(report, Back) and (standing.step, report.to) in plan.back and standing.backs < MOST_BACK:
        return Go(report.to)
    if isinstance(report, Broke) and (pause := _another_try(standing, report.trouble)) is not None:
        return Stay(pause, again=True)
    return _onward(plan, standing, failed=not isinstance(report, Done))


def stopped(plan: Plan, standing: Standing, stop: Stop) -> Move:
    """Given a step that was not run, return what follows: the cleanup that is owed, or the end."""
    cancelled = standing.cancelled or stop.cancelled
    at = Standing(
        standing.step,
        standing.now,
        failed=standing.failed,
        cleanup_failed=standing.cleanup_failed,
        cancelled=cancelled,
    )
    return _onward(plan, at, failed=True)


def _another_try(standing: Standing, trouble: Trouble) -> float | None:
    """Seconds until the step is tried again, or None if it has failed for good."""
    if trouble is Trouble.HICCUP and standing.tries < len(HICCUP_PAUSES):
        return HICCUP_PAUSES[standing.tries]
    if (
        trouble is Trouble.OUTAGE
        and standing.now - (standing.now if standing.since is None else standing.since) < standing.patience
    ):
        first, longest = OUTAGE_PAUSES
        return float(min(longest, first * 2 ** min(standing.tries, 8)))
    return None


def _onward(plan: Plan, standing: Standing, *, failed: bool) -> Move:
    step = standing.step
    if step in plan.steps and not failed:
        rest = (plan.steps + plan.cleanup)[plan.steps.index(step) + 1 :]
    elif step in plan.steps:
        rest = plan.cleanup
    else:
        rest = plan.cleanup[plan.cleanup.index(step) + 1 :]
    if rest:
        return Go(rest[0], failed=failed)
    return End(_state(plan, standing, failed=failed), failed=failed)


def _state(plan: Plan, standing: Standing, *, failed: bool) -> OperationState:
    """How it ends: a failed cleanup outweighs all, then a cancellation, then a failed step unless that is its result."""
    in_cleanup = standing.step in plan.cleanup
    if standing.cleanup_failed or (failed and in_cleanup):
        return OperationState.FAILED
    if standing.cancelled:
        return OperationState.CANCELLED
    broken = standing.failed or (failed and not in_cleanup)
    return OperationState.FAILED if broken and not plan.failure_is_result else OperationState.DONE
