"""Do again what an ended operation was asked to do: a new operation of the same kind, never the old
one once more (law 9).

What may be retried is decided here. A restore goes through the laws again, as if it were asked for
the first time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backupsvc.errors import Refused
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.services import Opening
from policies.model import Operation, OperationState


@dataclass(frozen=True, slots=True)
class Retry:
    """What will be opened, with the memory that it begins with.

    ``of`` is the operation that it repeats, ``timeout_s`` the seconds until its deadline.
    """

    of: str
    kind: str
    subject: int | None
    memory: Any
    timeout_s: int | None
    rank: int


def plan(service: Opening, operation: Operation) -> Retry:
    """Given an operation, return what a retry of it would open. Raise Refused, with the next
    action, if it must not be.
    """
    id, kind, asked = operation.id, KINDS[operation.kind], operation.book.asked
    if operation.state is OperationState.OPEN:
        raise Refused(
            f"operation {id} has not ended: it is at step {operation.step}",
            f"wait for it with `backupsvc operations show {id} --follow`, or end it with "
            f"`backupsvc operations cancel {id}`",
        )
    # before the state is looked at: its reason holds whatever came of it
    if kind.never_again:
        raise kind.never_again(service.catalog, operation)
    if operation.state is OperationState.DONE:
        raise Refused(
            f"operation {id} is done, so there is nothing to retry", kind.done_hint(operation)
        )
    if asked is None:
        raise Refused(
            f"operation {id} does not remember what it was asked to do (it was opened "
            "by an older version)",
            f"give its command anew: a {operation.kind}"
            + (f" of guest {operation.subject}" if operation.subject else ""),
        )
    # as it was asked, not as far as it came: what it found may be otherwise by now
    memory = kind.retry(service, operation, kind.form.read(asked))
    return Retry(
        operation.id,
        operation.kind,
        operation.subject,
        memory,
        operation.book.timeout_s,
        operation.rank,
    )


def open_retry(service: Opening, retry: Retry) -> Operation | None:
    """Given what shall be opened, open it. Raise Refused while its guest has another operation at
    work.
    """
    return service.engine.open(
        retry.kind,
        retry.subject,
        retry.memory,
        timeout_s=retry.timeout_s,
        rank=retry.rank,
        retry_of=retry.of,
    )
