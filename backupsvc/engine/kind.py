"""What is different about one kind of operation: its steps, and how its end is read, told and done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backupsvc.catalog import Catalog
from backupsvc.engine.context import Handler
from backupsvc.errors import Refused
from policies import outcomes
from policies.model import Operation, OperationState
from policies.outcomes import Event
from policies.workflow import Workflow


def error_code(operation: Operation) -> int:
    """Given an operation that is not done, return the exit code of its error."""
    error: Any = operation.data.get("error") or {}
    return int(error.get("exit_code", 1))


def done_or_error(catalog: Catalog, operation: Operation) -> int:
    """Given an ended operation, return 0 if it is done, else the exit code of its error."""
    return 0 if operation.state is OperationState.DONE else error_code(operation)


def shown_again(operation: Operation) -> str:
    """The next action where nothing more fitting is known."""
    return f"see what came of it with `backupsvc operations show {operation.id}`"


def as_asked(service: Any, operation: Operation, asked: dict[str, Any]) -> dict[str, Any]:
    """Given what an operation was asked, ask the same of its retry."""
    return asked


@dataclass(frozen=True, slots=True)
class OperationKind:
    """One kind of operation. All that is specific to it stands in its folder; engine, commands and reports ask here.

    Args:
        workflow: its steps and its cleanup.
        handlers: what carries out each of them.
        result: in a few words, what came of one that is done.
        main_task: as what one remembers the PVE task that it is mainly about, None where it has none.
        event: what is told of one that has ended; None where that is its outcome.
        exit_code: of the command of one that has ended, however it did.
        done_hint: the next action for whoever wants to retry one that is done.
        retry: what a retry of one is asked, given the service, the operation and what that was asked. It raises what a new one
            would be refused with.
        never_again: why one must not be retried, None where it may be; given the catalog and the operation.
        summary: in one line, what has come of one so far; None where nothing has.
    """

    workflow: Workflow
    handlers: Mapping[str, Handler]
    result: Callable[[Operation], str]
    main_task: str | None = None
    event: Callable[[Catalog, Operation], Event] | None = None
    exit_code: Callable[[Catalog, Operation], int] = done_or_error
    done_hint: Callable[[Operation], str] = shown_again
    retry: Callable[[Any, Operation, dict[str, Any]], dict[str, Any]] = as_asked
    never_again: Callable[[Catalog, Operation], Refused] | None = None
    summary: Callable[[Operation], str | None] = lambda operation: None

    @property
    def name(self) -> str:
        """The word for it in the catalog and in commands."""
        return self.workflow.kind

    def told(self, catalog: Catalog, operation: Operation) -> Event:
        """Given one that has ended, return what is told of it."""
        return self.event(catalog, operation) if self.event else outcomes.of(operation, self.main_task)


Kinds = Mapping[str, OperationKind]
