"""An operation on paper: a head, and a line for each transition with PVE's own log below it, to be
read at 3 a.m.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from backupsvc.cli.driving import left_to_others
from backupsvc.cli.output import say, table
from backupsvc.cli.values import in_words, label
from backupsvc.clock import iso
from backupsvc.operations import showing
from backupsvc.operations.following import follow
from policies.task_logs import without_progress

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from policies.model import Operation, Transition

# keys of a transition's detail that stand in a place of their own, not among the others
_OWN_PLACE = ("log", "seconds", "said", "message", "hint", "kind", "why", "what")


def as_dict(service: Service, operation: Operation) -> dict[str, Any]:
    """Given an operation, return it as ``operations show --json`` prints it."""
    rows = service.catalog.operations.transitions(operation.id)
    transitions = [asdict(row) | {"detail": dict(row.detail), "time": iso(row.at)} for row in rows]
    return showing.summary(service, operation) | {
        "data": showing.remembered(operation),
        "transitions": transitions,
    }


class Sheet:
    """Prints one operation, from its head to its end; unless ``whole``, logs without their
    progress.
    """

    def __init__(self, service: Service, *, whole: bool = False) -> None:
        self._service, self._whole = service, whole

    def head(self, operation: Operation) -> None:
        """Print what it is, and how it stands."""
        found = showing.summary(self._service, operation)
        name = showing.name_of(operation)
        about = (
            ""
            if operation.subject is None
            else f" of guest {operation.subject}" + (f" ({name})" if name else "")
        )
        say(
            f"{operation.kind} {operation.id}{about}: {found['state']}, at step {found['step']} "
            f"since {found['since']}"
        )
        lines = [
            (
                "opened",
                f"{found['created']}, for occurrence {found['occurrence']}"
                if found["occurrence"]
                else found["created"],
            )
        ]
        lines += [("asked by", found["asked_by"])]
        lines += [
            ("retry of", operation.book.retry_of),
            ("stands", found["standing"]),
            ("waits", found["waits"]),
        ]
        lines += [
            ("cancelled", found["cancel"]),
            ("ended", found["finished"] and f"{found['finished']}, after {found['seconds']} s"),
        ]
        lines += [("result", found["result"]), ("next", showing.next_action(operation))]
        for word, value in lines:
            if value:
                say(f"  {word:<9} {value}")

    def history(self, operation: Operation) -> Operation:
        """Print every transition there is, and what its parts came to; return the operation."""
        for line in self._service.catalog.operations.transitions(operation.id):
            self._line(operation, line)
        show_parts(operation)
        return operation

    def live(self, operation: Operation) -> Operation:
        """Print every transition, and those that come until the operation has ended; return it
        then. Ctrl-C ends the looking.
        """
        with left_to_others([operation.id]):
            for look in follow(self._service, [operation.id]):
                operation = look.operation
                for line in look.transitions:
                    self._line(operation, line)
                if look.standing:
                    now = iso(self._service.clock.now())
                    say(f"{now}  {operation.step:<10} ...        {look.standing}")
        say(f"{operation.state}: {showing.result(operation)}")
        show_parts(operation)
        return operation

    def _line(self, operation: Operation, line: Transition) -> None:
        detail: Any = line.detail
        seconds = f"{detail['seconds']:.1f} s" if "seconds" in detail else ""
        text = next(
            (detail[key] for key in ("message", "said", "what", "why") if detail.get(key)), ""
        )
        others = {
            key: value
            for key, value in detail.items()
            if key not in _OWN_PLACE and value is not None
        }
        rest = ", ".join(f"{label(key)} {in_words(value)}" for key, value in others.items())
        words = "  ".join(in_words(part) for part in (seconds, text, rest, line.upid) if part)
        say(f"{iso(line.at)}  {line.step:<10} {line.event:<10} {words}".rstrip())
        if detail.get("hint"):
            say(f"{'':<22}-> {detail['hint']}")
        log = [str(entry) for entry in detail.get("log", ())]
        # a restore logs hundreds of lines of percents, which tell nothing afterwards
        for entry in log if self._whole else without_progress(log):
            say(f"{'':<22}| {entry}")


def show_parts(operation: Operation) -> None:
    """Given an operation, print what its parts came to, if it consists of any."""
    if found := showing.table(operation):
        table(found.head, found.rows)
        for line in found.below:
            say(line)
