"""Moments that are remembered, by the wall clock and by one that nobody sets, and the time between
two of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment by both clocks: ``wall`` in epoch seconds, ``ticks`` in monotonic seconds since the
    boot that ``boot`` names.
    """

    wall: float
    ticks: float
    boot: str

    def until(self, later: Moment) -> float:
        """Given a later moment, return the seconds between the two: by the wall clock only where
        the machine was another one.
        """
        ticks = self._ticks_until(later)
        return max(0.0, later.wall - self.wall) if ticks is None else ticks

    def jump_until(self, later: Moment) -> float:
        """Given a later moment, return by how many seconds the wall clock was set in between, 0.0
        where that cannot be told.
        """
        ticks = self._ticks_until(later)
        return 0.0 if ticks is None else later.wall - self.wall - ticks

    def _ticks_until(self, later: Moment) -> float | None:
        return (
            later.ticks - self.ticks
            if later.boot == self.boot and later.ticks >= self.ticks
            else None
        )
