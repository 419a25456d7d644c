"""What is different about one kind of operation: its steps, and how its end is read, told and done
again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from backupsvc.catalog import Catalog
from backupsvc.engine.context import Handler, M, S
from backupsvc.engine.memory import MemoryForm, MemoryUnreadable
from backupsvc.errors import Refused
from policies import outcomes
from policies.model import Operation, OperationState
from policies.outcomes import Event, Facts
from policies.workflow import Workflow


def error_code(operation: Operation) -> int:
    """Given an operation that is not done, return the exit code of its error."""
    return operation.book.error.exit_code if operation.book.error else 1


def done_or_error(catalog: Catalog, operation: Operation) -> int:
    """Given an ended operation, return 0 if it is done, else the exit code of its error."""
    return 0 if operation.state is OperationState.DONE else error_code(operation)


def good_or_bad(
    good: Callable[[Catalog, Operation], bool],
) -> Callable[[Catalog, Operation], int]:
    """Given what says of one that is done whether it came to something good, return what says the
    exit code of one that has ended: 1 also where it is done, and that is bad.
    """

    def exit_code(catalog: Catalog, operation: Operation) -> int:
        if operation.state is not OperationState.DONE:
            return error_code(operation)
        return 0 if good(catalog, operation) else 1

    return exit_code


def shown_again(operation: Operation) -> str:
    """The next action where nothing more fitting is known."""
    return f"see what came of it with `backupsvc operations show {operation.id}`"


@dataclass(frozen=True, slots=True)
class Table:
    """What is shown of one as a table: its columns' names, its rows, and lines below it."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    below: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OperationKind(Generic[S, M]):
    """One kind of operation. All that is specific to it stands in its folder; engine, commands and
    reports ask here.

    Args:
        workflow: its steps and its cleanup.
        handlers: what carries out each of them.
        form: the form of what they remember.
        result: in a few words, what came of one that is done.
        facts: what is known of one for its outcome.
        event: what is told of one that has ended; None where that is its outcome.
        exit_code: of the command of one that has ended, however it did.
        done_hint: the next action for whoever wants to retry one that is done.
        retry: the memory that a retry of one begins with, given the service, the operation and the
        memory that it began with
            itself. It raises what a new one would be refused with.
        never_again: why one must not be retried, None where it may be; given the catalog and the
        operation.
        summary: in one line, what has come of one so far; None where nothing has.
        name_of: the name of the guest that one is about, "" where it is not known.
        table: what one consists of, each part with what came of it so far; None where that is told
        otherwise.
        exclusive_key: what only one open operation may be about, given its memory; None: its guest.
    """

    workflow: Workflow
    handlers: Mapping[str, Handler[S, M]]
    form: MemoryForm[M]
    result: Callable[[Operation], str]
    facts: Callable[[Operation], Facts] = lambda operation: Facts()
    event: Callable[[Catalog, Operation], Event] | None = None
    exit_code: Callable[[Catalog, Operation], int] = done_or_error
    done_hint: Callable[[Operation], str] = shown_again
    retry: Callable[[S, Operation, M], M] = lambda service, operation, asked: asked
    never_again: Callable[[Catalog, Operation], Refused] | None = None
    summary: Callable[[Operation], str | None] = lambda operation: None
    name_of: Callable[[Operation], str] = lambda operation: ""
    table: Callable[[Operation], Table] | None = None
    exclusive_key: Callable[[M], str] | None = None

    @property
    def name(self) -> str:
        """The word for it in the catalog and in commands."""
        return self.workflow.kind

    def known(self, operation: Operation) -> Facts:
        """Given one, return what is known of it; nothing is where another version wrote what it
        remembers.
        """
        try:
            return self.facts(operation)
        except MemoryUnreadable:
            return Facts()

    def told(self, catalog: Catalog, operation: Operation) -> Event:
        """Given one that has ended, return what is told of it."""
        try:
            return (
                self.event(catalog, operation)
                if self.event
                else outcomes.of(operation, self.facts(operation))
            )
        except MemoryUnreadable:  # that it has ended is told all the same
            return outcomes.of(operation, Facts())


Kinds = Mapping[str, OperationKind[Any, Any]]
