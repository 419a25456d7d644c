"""Time, in the one place that may read it, and the one way to wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """What the service asks of time."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump, for durations."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never jump, for durations."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment by both clocks: ``wall`` in epoch seconds, ``ticks`` in monotonic seconds since the boot that ``boot`` names."""

    wall: float
    ticks: float
    boot: str

    @classmethod
    def of(cls, clock: Clock) -> Moment:
        """Given a clock, return this moment."""
        return cls(clock.now(), clock.monotonic(), boot_id())

    def until(self, later: Moment) -> float:
        """Given a later moment, return the seconds between the two: by the wall clock only where the machine was another one."""
        ticks = self._ticks_until(later)
        return max(0.0, later.wall - self.wall) if ticks is None else ticks

    def jump_until(self, later: Moment) -> float:
        """Given a later moment, return by how many seconds the wall clock was set in between, 0.0 where that cannot be told."""
        ticks = self._ticks_until(later)
        return 0.0 if ticks is None else later.wall - self.wall - ticks

    def _ticks_until(self, later: Moment) -> float | None:
        return later.ticks - self.ticks if later.boot == self.boot and later.ticks >= self.ticks else None


@cache
def boot_id() -> str:
    """Return the kernel's name for this boot of this machine (Linux, admin-guide/sysctl/kernel.rst); "" elsewhere."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def polls(clock: Clock, timeout: float, *, first: float = 0.1, most: float = 2.0, growth: float = 1.5) -> Iterator[float]:
    """Given a timeout in seconds, yield the seconds passed before each attempt, waiting a little longer each time.

    The first attempt comes at once and one more comes when the time is up, so that a wait never misses the last moment.
    """
    start, pause = clock.monotonic(), first
    while (passed := clock.monotonic() - start) < timeout:
        yield passed
        clock.sleep(max(0.0, min(pause, timeout - (clock.monotonic() - start))))
        pause = min(most, pause * growth)
    yield clock.monotonic() - start


def iso(epoch: float) -> str:
    """Given epoch seconds, return ISO 8601 in UTC with second precision, as every ``--json`` answer writes times."""
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
