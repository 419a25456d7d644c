"""A dump's two logs: the task's, and the file next to the archive that repeats most of it with
times (pve-facts 3.7).
"""

from __future__ import annotations

from collections.abc import Callable

from pvelab.guests.names import stamp
from pvelab.kernel import TaskLog


class DumpLog:
    """Writes a guest's lines to the task's log and keeps them, with their times, for the file next
    to the archive.
    """

    def __init__(self, task: TaskLog, now: Callable[[], int], tz: str) -> None:
        self.task, self._now, self._tz = task, now, tz
        self._kept: list[str] = []

    @property
    def time(self) -> str:
        """The node's clock as the log writes it."""
        return stamp(self._now(), self._tz)

    def info(self, text: str) -> None:
        """Write an ordinary line to both logs."""
        self._keep(f"INFO: {text}")
        self.task.line(f"INFO: {text}")

    def error(self, text: str) -> None:
        """Write an error line to both logs."""
        self._keep(f"ERROR: {text}")
        self.task.line(f"ERROR: {text}")

    def raw(self, text: str) -> None:
        """Write a line of some program to the task's log alone."""
        self.task.line(text)

    def only_task(self, text: str) -> None:
        """Write one of the lines that the file does not repeat."""
        self.task.line(f"INFO: {text}")

    def text(self) -> str:
        """Return what goes into the file next to the archive."""
        return "".join(f"{line}\n" for line in self._kept)

    def _keep(self, line: str) -> None:
        self._kept.append(f"{self.time} {line}")
