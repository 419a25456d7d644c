"""Time, in the one place that may read it, and the one way to wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol

from policies.moments import Moment


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


def moment(clock: Clock) -> Moment:
    """Given a clock, return this moment."""
    return Moment(clock.now(), clock.monotonic(), boot_id())


@cache
def boot_id() -> str:
    """Return the kernel's name for this boot of this machine (Linux,
    admin-guide/sysctl/kernel.rst); "" elsewhere.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def polls(
    clock: Clock, timeout: float, *, first: float = 0.1, most: float = 2.0, growth: float = 1.5
) -> Iterator[float]:
    """Given a timeout in seconds, yield the seconds passed before each attempt, waiting a little
    longer each time.

    The first attempt comes at once and one more comes when the time is up, so that a wait never
    misses the last moment.
    """
    start, pause = clock.monotonic(), first
    while (passed := clock.monotonic() - start) < timeout:
        yield passed
        clock.sleep(max(0.0, min(pause, timeout - (clock.monotonic() - start))))
        pause = min(most, pause * growth)
    yield clock.monotonic() - start


def iso(epoch: float) -> str:
    """Given epoch seconds, return ISO 8601 in UTC with second precision, as every ``--json`` answer
    writes times.
    """
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
