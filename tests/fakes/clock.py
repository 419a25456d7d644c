"""The clocks of tests: time passes only when somebody waits."""

from __future__ import annotations


class SteppingClock:
    """A clock that only sleeping moves, and that may be set. ``slept`` is how long each sleep
    was.
    """

    def __init__(self, start: float = 1_773_086_400.0) -> None:
        self.time, self._set_by = start, 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time - self._set_by

    def step(self, seconds: float) -> None:
        """Set the wall clock; no time passes."""
        self.time += seconds
        self._set_by += seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class StoppedClock(SteppingClock):
    """A clock that stands still: nothing may wait by it."""

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"somebody waits {seconds} s, and should not wait at all")
