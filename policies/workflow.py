"""The state machines of operations, as values: what an operation does next, decided from where it
stands and what just happened.

An operation walks through ``steps`` and then through ``cleanup``. A step that fails, a
cancellation, a passed deadline and a step that lost its driver too often all lead to the first
cleanup step; cleanup steps run one after the other whatever happened before, so that tear-down
follows success, failure, cancel and deadline alike. Nothing here has effects: ``before`` says
whether the present step may run at all, ``after`` what follows what it reported; the engine applies
one answer at a time, records it, and looks at the world anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policies.model import OperationState

MAX_LOST = 5  # drivers that may die at one step before the step itself is suspected
MAX_BACK = 3  # times that an operation may go back to an earlier step
# seconds before a call that PVE failed at itself is tried a second and a third time
TRANSIENT_PAUSES = (1.0, 4.0)
UNAVAILABLE_PAUSES = (2.0, 30.0)  # seconds: the first pause while nobody answers, and the longest


@dataclass(frozen=True, slots=True)
class Workflow:
    """The steps of one kind of operation. ``failure_is_result``: a failed step is a result, not a
    failed operation.

    ``exclusive``: at most one such operation is open at a time for one subject; a night, which only
    opens others, needs no such rule. ``back``: the step that each of these steps may return to,
    when the world has changed under it. ``long``: steps that work for minutes, so that nothing that
    only looks may wait behind them.
    """

    kind: str
    steps: tuple[str, ...]
    cleanup: tuple[str, ...] = ()
    failure_is_result: bool = False
    exclusive: bool = True
    back: tuple[tuple[str, str], ...] = ()
    long: frozenset[str] = frozenset()

    @property
    def first(self) -> str:
        """The step that a new operation starts with."""
        return (self.steps + self.cleanup)[0]


class Trouble(StrEnum):
    """What a failed step may hope for: PERMANENT (nothing), TRANSIENT (try soon, a few times),
    UNAVAILABLE (wait it out).
    """

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class StepStatus:
    """Where an operation stands when it is decided upon. Times in epoch seconds.

    ``cancel`` is why it shall end, if somebody asked; ``lost`` how many drivers died at this step;
    ``tries`` how often this step has failed in a way that may pass, ``since`` when it did so first,
    ``retry_for_s`` how long that may go on (seconds); ``backs`` how often it went back; ``failed``,
    ``cleanup_failed`` and ``cancelled`` what came of the steps before.
    """

    step: str
    now: float
    deadline: int | None = None
    cancel: str | None = None
    lost: int = 0
    tries: int = 0
    since: float | None = None
    retry_for_s: float = 0.0
    backs: int = 0
    failed: bool = False
    cleanup_failed: bool = False
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A step's report that it must be called again, after at most ``most`` seconds."""

    most: float


@dataclass(frozen=True, slots=True)
class Done:
    """A step's report that it did what it was for."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A step's report that it failed."""

    trouble: Trouble = Trouble.PERMANENT


@dataclass(frozen=True, slots=True)
class StepBack:
    """A step's report that an earlier one must be done again."""

    to: str


Report = Done | Waiting | Failed | StepBack


@dataclass(frozen=True, slots=True)
class Run:
    """Decision: run the present step."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Decision: do not run the present step; it counts as failed, for this reason. ``cancelled`` if
    somebody asked for it.
    """

    why: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Decision: the same step again, after so many seconds. ``again`` if it failed and is tried
    once more.
    """

    pause: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class NextStep:
    """Decision: another step is next. ``failed`` if the one before it has failed."""

    step: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """Decision: the operation ends, in this state, for ever. ``failed`` if its last step has
    failed.
    """

    state: OperationState
    failed: bool = False


Move = RetryLater | NextStep | Finish


def before(workflow: Workflow, status: StepStatus) -> Run | Stop:
    """Given a workflow and where the operation stands, return whether its present step may run.

    Cleanup runs whatever was asked and however late it is; only a step that keeps losing its driver
    is given up.
    """
    if status.lost >= MAX_LOST:
        return Stop(f"the process that drove it was lost {status.lost} times at step {status.step}")
    if status.step in workflow.cleanup:
        return Run()
    if status.cancel is not None:
        return Stop(status.cancel, cancelled=True)
    if status.deadline is not None and status.now > status.deadline:
        return Stop(f"it passed its deadline at step {status.step}")
    return Run()


def after(workflow: Workflow, status: StepStatus, report: Report) -> Move:
    """Given a workflow, where the operation stood and what its step reported, return what
    follows.
    """
    if isinstance(report, Waiting):
        return RetryLater(report.most)
    if (
        isinstance(report, StepBack)
        and (status.step, report.to) in workflow.back
        and status.backs < MAX_BACK
    ):
        return NextStep(report.to)
    if isinstance(report, Failed):
        if report.trouble is Trouble.TRANSIENT and status.tries < len(TRANSIENT_PAUSES):
            return RetryLater(TRANSIENT_PAUSES[status.tries], again=True)
        tried_for = 0.0 if status.since is None else status.now - status.since
        if report.trouble is Trouble.UNAVAILABLE and tried_for < status.retry_for_s:
            first, longest = UNAVAILABLE_PAUSES
            pause = min(longest, first * 2 ** min(status.tries, 8))
            return RetryLater(float(pause), again=True)
    return _onward(workflow, status, failed=not isinstance(report, Done))


def stopped(workflow: Workflow, status: StepStatus, stop: Stop) -> Move:
    """Given a step that was not run, return what follows: the cleanup that is owed, or the end."""
    cancelled = status.cancelled or stop.cancelled
    at = StepStatus(
        status.step,
        status.now,
        failed=status.failed,
        cleanup_failed=status.cleanup_failed,
        cancelled=cancelled,
    )
    return _onward(workflow, at, failed=True)


def _onward(workflow: Workflow, status: StepStatus, *, failed: bool) -> Move:
    step = status.step
    if step in workflow.steps and not failed:
        rest = (workflow.steps + workflow.cleanup)[workflow.steps.index(step) + 1 :]
    elif step in workflow.steps:
        rest = workflow.cleanup
    else:
        rest = workflow.cleanup[workflow.cleanup.index(step) + 1 :]
    if rest:
        return NextStep(rest[0], failed=failed)
    # A failed cleanup outweighs all, for what it left stays; then a cancellation, then a failed
    # step unless that is the operation's result.
    in_cleanup = step in workflow.cleanup
    broken = status.failed or (failed and not in_cleanup)
    if status.cleanup_failed or (failed and in_cleanup):
        state = OperationState.FAILED
    elif status.cancelled:
        state = OperationState.CANCELLED
    elif broken and not workflow.failure_is_result:
        state = OperationState.FAILED
    else:
        state = OperationState.DONE
    return Finish(state, failed=failed)
