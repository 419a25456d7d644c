"""End an operation on request: by whoever drives it, by this process if nobody does, or by the
workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backupsvc.errors import Refused
from backupsvc.operations import showing
from backupsvc.operations.services import Opening
from policies.model import Operation, OperationState


class By(StrEnum):
    """Who ends it."""

    DRIVER = "driver"
    HERE = "here"
    WORKERS = "workers"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What a cancellation is, or came to: who ends the operation, its driver's name if it has one,
    the operation as it stands.
    """

    by: By
    driver: str | None
    operation: Operation


def plan(service: Opening, operation: Operation, *, enqueue: bool) -> Cancellation:
    """Given an operation, return who would end it. Raise Refused if it has ended."""
    if operation.state is not OperationState.OPEN:
        raise Refused(
            f"operation {operation.id} has already ended ({operation.state}), so there is nothing "
            "to cancel",
            f"see `backupsvc operations show {operation.id}`",
        )
    if showing.driven(service, operation):
        return Cancellation(By.DRIVER, showing.driver_name(operation), operation)
    return Cancellation(By.WORKERS if enqueue else By.HERE, None, operation)


def carry_out(service: Opening, planned: Cancellation, why: str) -> Cancellation:
    """Given a plan, ask that the operation end, and do its cleanup if that falls to this process;
    return what it came to.
    """
    id = planned.operation.id
    # only asked: a cleanup here would keep this command for as long as that takes
    if planned.by is By.WORKERS:
        asked = service.catalog.operations.request_cancel(id, why, int(service.clock.now()))
        return Cancellation(planned.by, None, asked or planned.operation)
    return Cancellation(planned.by, planned.driver, service.engine.cancel(id, why))
