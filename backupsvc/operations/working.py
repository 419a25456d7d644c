"""What workers do, without Celery: the tick that finds what is due, and one turn at an operation.

Hints say "look at this operation"; a hint that is lost costs a tick, one that comes twice costs a look at a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupsvc.engine.executor import HeldElsewhere
from backupsvc.errors import LeaseLost
from policies.model import Operation, OperationState
from policies.transitions import PLANS

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.engine.foreground import Engine

MOST_HINTS = 1000  # of one tick; what is left over is older at the next one, and comes first
PULSE = "tick"  # the name under which the catalog keeps when a tick was last here
SET_BACK = 600  # seconds by which the last tick may seem to come from the future: two machines' clocks are never quite the same
MOST_AHEAD = 7200  # seconds: no operation is parked, and no lease lasts, nearly so long, but for a clock that was set back
TOLD_SECONDS = 60  # an operation whose hint has brought nobody for so long is hinted at again


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn came to: operations that became due meanwhile, when to come again (seconds), and where.

    ``long`` if the operation's next step works for minutes, and belongs to those who do such steps.
    """

    hints: tuple[str, ...] = ()
    again: float | None = None
    long: bool = False


def tick(service: Service) -> list[str]:
    """Open what is due, pick up what lost its driver, and return the operations that somebody should look at now.

    When they have been told, ``told`` must be called with them.
    """
    from backupsvc.operations import telling
    from backupsvc.operations.job_run import steps as night
    from backupsvc.operations.scratch_cleanup import forgotten, taking_down

    engine, now = service.engine, int(service.clock.now())
    engine.free_orphans()
    service.catalog.cap_future_times(now, MOST_AHEAD)
    last = service.catalog.pulses().get(PULSE)
    night.open_due(service, since=None if last is None else int(last))
    _was_here(service, now)
    taking_down.open_reaps(service)
    forgotten.attend(service)
    telling.tell_due(service.catalog, now)
    due = service.catalog.due(now, MOST_HINTS)
    return list(dict.fromkeys([*_taken(engine), *due]))


def _was_here(service: Service, now: int) -> None:
    """Remember that the scheduler was at work now. A clock that was set back takes the memory back with it."""
    service.catalog.pulse(PULSE, now)
    if service.catalog.pulses()[PULSE] > now + SET_BACK:
        service.catalog.reset_pulse(PULSE, now)


def told(service: Service, ids: Sequence[str]) -> None:
    """Given the operations that hints were sent for, look at them again only if nobody comes."""
    service.catalog.postpone(ids, int(service.clock.now()) + TOLD_SECONDS)


def work(engine: Engine, id: str, *, long: bool) -> Turn:
    """Given an operation, take its steps until it must wait, ends, or is somebody else's; return what is to be sent on.

    Without ``long`` the turn ends before a step that works for minutes.
    """
    mine = False
    while (operation := engine.service.catalog.operation(id)) and operation.state is OperationState.OPEN:
        if not long and is_long(operation):
            if mine:
                engine.give_back(id)
            return Turn(_taken(engine), again=0.0, long=True)
        try:
            outcome = engine.advance(id)
        except (LeaseLost, HeldElsewhere):
            break
        mine = True
        if outcome.pause is not None:
            return Turn(_taken(engine), again=outcome.pause)
        if engine.hints and outcome.operation.state is OperationState.OPEN:
            engine.give_back(id)  # a node that became free does not wait until this operation's next steps are done too
            return Turn(_taken(engine), again=0.0)
    return Turn(_taken(engine))


def is_long(operation: Operation) -> bool:
    """Given an operation, return whether its next step works for minutes. One that is being cancelled goes to its cleanup."""
    return operation.step in PLANS[operation.kind].long and operation.cancel is None


def _taken(engine: Engine) -> tuple[str, ...]:
    hints, engine.hints = tuple(engine.hints), []
    return hints
