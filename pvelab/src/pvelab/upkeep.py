"""What a running lab does by itself: the HA manager's rounds and the replications that are due."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pvelab.ha_manager import ROUND, HaManager
from pvelab.kernel import Lab
from pvelab.moves import Replication
from pvelab.nodes_life import BOOTED

_SHORTEST, _NAP = 0.1, 1.0  # seconds of sleep between two looks at the clock
_MAX_STOP = 5.0
_log = logging.getLogger(__name__)


class Upkeep:
    """The lab's own threads. ``start`` them when its guests run."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._ended = lab, threading.Event()
        rounds = {"ha-manager": HaManager(lab).round, "replication": Replication(lab).round}
        self._threads = [
            threading.Thread(target=self._run, args=(fn,), name=name, daemon=True)
            for name, fn in rounds.items()
        ]

    def start(self) -> None:
        """Begin."""
        for node in self._lab.nodes:
            self._lab.ha_says(node, BOOTED)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, after the rounds that run now."""
        self._ended.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_MAX_STOP)

    def _run(self, once: Callable[[], None]) -> None:
        clock = self._lab.clock
        last = clock.seconds()
        # short sleeps: the clock may be set faster meanwhile
        while not self._ended.wait(max(_SHORTEST, min(_NAP, clock.real(ROUND)))):
            if clock.seconds() - last >= ROUND:
                last = clock.seconds()
                try:
                    once()
                except Exception:  # noqa: BLE001 - one round that failed is logged, and the next one comes
                    _log.exception("a round failed")
