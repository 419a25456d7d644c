"""Progress of long work, on standard error: a live line on a terminal, plain lines in a pipe, nothing when asked for silence."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from backupsvc.cli.output import interactive, tell

if TYPE_CHECKING:
    from backupsvc.operations.engine import Event

_WORDS = {"done": "ok", "failed": "FAILED"}


class Progress:
    """Watches operations. Call it with each event; use it as a context manager, so that the live line goes away."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._status = None
        if not quiet and interactive(sys.stderr):
            from rich.console import Console

            self._console = Console(stderr=True)
            self._status = self._console.status("starting")

    def __enter__(self) -> Progress:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._status:
            self._status.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self.quiet:
            return
        about = f"{event.operation.kind} {event.operation.subject or ''}".rstrip()
        if event.kind == "step":
            if self._status:
                self._status.update(f"{about}: {event.step} ...")
        elif event.kind in _WORDS:
            self._line(f"{about:<18} {event.step:<10} {event.seconds:6.1f} s  {_WORDS[event.kind]}  {event.text}".rstrip())
        elif event.kind == "say":
            self._line(f"{about:<18} {event.text}")

    def line(self, text: str) -> None:
        """Show a line of its own."""
        if not self.quiet:
            self._line(text)

    def _line(self, text: str) -> None:
        if self._status:
            self._console.print(text, highlight=False, markup=False)
        else:
            tell(text)
