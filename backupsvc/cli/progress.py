"""Progress of long work, on standard error: live lines on a terminal, plain lines in a pipe,
nothing when asked for silence.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupsvc.cli.output import console, guard, interactive, paragraph, tell
from backupsvc.clock import Clock, SystemClock
from backupsvc.visible import one_line

if TYPE_CHECKING:
    from backupsvc.engine.events import StepEvent

_WORDS = {"done": "ok", "failed": "FAILED"}
SHOWN = 8  # live lines at once; the rest is counted
SILENT_WAIT_S = 5.0  # seconds that a wait may last in a pipe before it is worth a line


@dataclass
class LiveLine:
    """Where an operation stands: its step since when, what it waits for, and the wait that was last
    printed.
    """

    about: str
    step: str
    since: float
    waits: str = ""
    printed: str = ""


class Progress:
    """Watches operations. Call it with each event; use it as a context manager, so that the live
    lines go away.
    """

    def __init__(self, *, quiet: bool = False, clock: Clock | None = None) -> None:
        self.quiet, self._clock = quiet, clock or SystemClock()
        self._open: dict[str, LiveLine] = {}
        self._live: Any = None
        if not quiet and interactive(sys.stderr):
            from rich.live import Live

            self._console = console(stderr=True)
            self._live = Live(
                get_renderable=self._render,
                console=self._console,
                refresh_per_second=4,
                transient=True,
            )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
            # rich now stands between us and the terminal, and reads styles in what others print
            guard()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: StepEvent) -> None:
        """Show one event."""
        if self.quiet:
            return
        about = f"{event.operation.kind} {event.operation.subject or ''}".rstrip()
        if event.kind == "step":
            self._open[event.operation.id] = LiveLine(about, event.step, self._clock.monotonic())
        elif event.kind == "wait":
            now = self._clock.monotonic()
            standing = self._open.setdefault(event.operation.id, LiveLine(about, event.step, now))
            standing.waits, lasted = event.text, now - standing.since
            # in a pipe a wait is a line once it lasts, and another only when it has changed
            if not self._live and lasted >= SILENT_WAIT_S and standing.printed != event.text:
                standing.printed = event.text
                self._line(f"{about:<18} {event.step:<10} {lasted:6.1f} s  ...  {event.text}")
        elif event.kind in _WORDS:
            # that there was nothing to settle is not worth a line
            if event.step == "settle" and event.kind == "done" and not event.text:
                return
            cancelled = event.kind == "failed" and event.operation.cancel
            word = "CANCELLED" if cancelled else _WORDS[event.kind]
            took = f"{event.seconds:6.1f} s"
            self._line(f"{about:<18} {event.step:<10} {took}  {word}  {event.text}".rstrip())
        elif event.kind == "say":
            self._line(f"{about:<18} {event.text}")
        elif event.kind == "end":
            self._open.pop(event.operation.id, None)

    def line(self, text: str) -> None:
        """Show a line of its own."""
        if not self.quiet:
            self._line(text)

    def _render(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        # a copy: rich calls this from a thread of its own, while events change the dict
        now, open = self._clock.monotonic(), list(self._open.values())
        lines = [
            f"{s.about:<18} {s.step:<10} {now - s.since:6.0f} s  ...  {s.waits}".rstrip()
            for s in open[:SHOWN]
        ]
        if len(open) > SHOWN:
            lines.append(f"and {len(open) - SHOWN} more")
        return Group(
            *(
                Text(one_line(line), no_wrap=True, overflow="ellipsis", style="dim")
                for line in lines
            )
        )

    def _line(self, text: str) -> None:
        if self._live:
            self._console.print(paragraph(text))
        else:
            tell(text)
