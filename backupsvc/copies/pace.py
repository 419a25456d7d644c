"""Keeping a copy below its bandwidth."""

from __future__ import annotations

from collections.abc import Callable

from backupsvc.clock import Clock

BURST = 1.0  # seconds' worth that may be caught up after a lull
LONGEST = 1.0  # seconds of sleep without a sign of life


class Pace:
    """A limit in KiB/s, None for none."""

    def __init__(self, limit: int | None, clock: Clock, alive: Callable[[], None]) -> None:
        self._limit, self._clock, self._alive = limit, clock, alive
        # when the line has carried, at the limit, all that was sent
        self._free_at = clock.monotonic()

    def sent(self, count: int) -> None:
        """Given how many bytes were just sent, wait until as much time has passed as they may
        take.
        """
        if self._limit is None:
            return
        self._free_at = max(self._free_at, self._clock.monotonic() - BURST) + count / (
            self._limit * 1024
        )
        while (left := self._free_at - self._clock.monotonic()) > 0:
            self._clock.sleep(min(left, LONGEST))
            self._alive()
