"""How much faster than real time the cluster's waits pass.

Stamps (task times, archive names, ``/nodes/{node}/time``) are always real time plus the node's
drift. Only what PVE makes one wait for after a loss (watchdog, locks, the HA manager's rounds) is
divided by the time factor, for a rehearsal of seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class ClusterClock:
    """Seconds of the cluster's waits since the lab was opened: ``factor`` of them pass in a real
    one.
    """

    def __init__(self, factor: float = 1.0, source: Callable[[], float] = time.monotonic) -> None:
        self._factor, self._source = factor, source
        self._since, self._before = source(), 0.0

    @property
    def factor(self) -> float:
        """How many of its seconds pass in a real one."""
        return self._factor

    @factor.setter
    def factor(self, factor: float) -> None:
        self._before, self._since, self._factor = self.seconds(), self._source(), factor

    def seconds(self) -> float:
        """Return how many cluster seconds have passed."""
        return self._before + (self._source() - self._since) * self._factor

    def real(self, seconds: float) -> float:
        """Given cluster seconds, return how many real ones they take."""
        return seconds / self._factor
