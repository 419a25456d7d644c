"""Open several operations at once: one guest that is busy keeps no other from its operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backupsvc.errors import BackupsvcError, Refused
from policies.model import Operation

Opener = Callable[[], Operation | None]


@dataclass(frozen=True, slots=True)
class Opened:
    """The operations that were opened, in order, and of those that were not, of which guest and
    why: a guest may have several.
    """

    operations: tuple[Operation, ...]
    refused: tuple[tuple[int | None, BackupsvcError], ...]


def opened_by(opener: Opener) -> Operation:
    """Return the operation that is opened by ``opener``. Raise Refused if it was opened before."""
    operation = opener()
    if operation is None:
        raise Refused(
            "this was opened before, by somebody else",
            "look at it with `backupsvc operations list`",
        )
    return operation


def open_all(openers: Mapping[int | None, Opener]) -> Opened:
    """Given what opens each guest's operation, open all that can be. Raise the first error if that
    is none of them.
    """
    operations: list[Operation] = []
    refused: list[tuple[int | None, BackupsvcError]] = []
    for vmid, opener in openers.items():
        try:
            operations.append(opened_by(opener))
        except BackupsvcError as error:
            refused.append((vmid, error))
    # one guest that is busy is no failure of the others
    if refused and not operations:
        raise refused[0][1]
    return Opened(tuple(operations), tuple(refused))
