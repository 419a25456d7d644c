"""Tasks of a few lines: open what is due, wake an operation. No work is done here."""

from __future__ import annotations

from backupsvc.bootstrap import Service, open_service
from backupsvc.errors import Refused
from policies.model import OperationState
from workers.app import app

QUIET_SECONDS = 60  # an operation that nobody has touched for so long has lost its chain of messages


@app.task
def tick() -> None:
    """Open the nights that are due, and wake every open operation that nobody has touched for a while."""
    from backupsvc.operations.night import open_due

    with open_service() as service:
        open_due(service)
        silent = int(service.clock.now()) - QUIET_SECONDS
        waiting = [item.id for item in service.catalog.operations(state=OperationState.OPEN) if item.updated <= silent]
        hand_on(service)
    for id in waiting:
        advance.delay(id)


@app.task
def advance(id: str) -> None:
    """Do one step or one poll of an operation, and send the hint for the next. Whoever finds it held leaves it alone."""
    with open_service() as service:
        try:
            outcome = service.engine.advance(id)
        except Refused:
            return
        service.catalog.release(id, service.engine.owner)
        hand_on(service)
    if outcome.operation.state is OperationState.OPEN:
        advance.apply_async((id,), countdown=outcome.wait.most if outcome.wait else 0)


def hand_on(service: Service) -> None:
    """Given a service, let any worker drive what it has opened, and send the hints."""
    for id in service.engine.opened:
        service.catalog.release(id, service.engine.owner)
        advance.delay(id)
