"""Open several operations at once: one guest that is busy keeps no other from its operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backupsvc.errors import BackupsvcError, Refused
from policies.model import Operation

Opener = Callable[[], Operation | None]


@dataclass(frozen=True, slots=True)
class Opened:
    """The operations that were opened, in order, and for each guest whose was not, why."""

    operations: tuple[Operation, ...]
    refused: Mapping[int | None, BackupsvcError]


def open_all(openers: Mapping[int | None, Opener]) -> Opened:
    """Given what opens each guest's operation, open all that can be. Raise the first error if that
    is none of them.
    """
    operations, refused = [], {}
    for vmid, opener in openers.items():
        try:
            operation = opener()
            if operation is None:
                raise Refused(
                    "this was opened before, by somebody else",
                    "look at it with `backupsvc operations list`",
                )
            operations.append(operation)
        except BackupsvcError as error:
            refused[vmid] = error
    if refused and not operations:
        raise next(iter(refused.values()))
    return Opened(tuple(operations), refused)
