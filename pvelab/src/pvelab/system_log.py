"""What the daemons of a node write to its system log: here those of HA alone, a line each, in a
file of the node. Only a node that lives writes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

MANAGER = "pve-ha-crm"
_PID = 1409
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Entry:
    """A line: when it was written, by the node's own clock, by whom, and what it says."""

    at: int
    who: str
    text: str

    def shown(self, node: str, zone: ZoneInfo) -> str:
        """Return it as journalctl does in its short form: local time, no year."""
        when = datetime.fromtimestamp(self.at, zone)
        day = f"{_MONTHS[when.month - 1]} {when.day:02}"
        return f"{day} {when:%H:%M:%S} {node} {self.who}[{_PID}]: {self.text}"


class SystemLog:
    """A node's log below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._path, self._mutex = directory / "var" / "log" / "syslog", threading.Lock()

    def write(self, at: int, who: str, text: str) -> None:
        """Append a line."""
        with self._mutex:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{at} {who} {text}\n")

    def entries(self, who: str = "") -> Iterator[Entry]:
        """Yield the lines, oldest first (of one daemon)."""
        if not self._path.is_file():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            at, name, text = line.split(" ", 2)
            if who in ("", name):
                yield Entry(int(at), name, text)
