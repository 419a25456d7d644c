"""A service that is asked ten times a second, beside whatever else is done: each question in a
thread of its own, so that one which hangs keeps no other from being asked.

When a question was asked is noted, not when it was due: a machine that stood still shows it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType

from backupsvc.checks import Target, outside, run
from backupsvc.clock import Clock
from policies.ha.drill_measure import EVERY, Sample
from policies.model import CheckSpec, Outcome

GIVEN_UP = 1  # seconds after which a question counts as not answered
MOST = 24  # questions under way: twice as many as can be
FIRST = 10  # questions that are asked before anything is done


class Watch:
    """Questions that go on from ``with`` to its end. ``spec`` says what is asked, at ``address``."""

    def __init__(
        self, spec: CheckSpec, vmid: int, address: str, routes: Mapping[str, str], clock: Clock
    ) -> None:
        self._spec = replace(spec, timeout=GIVEN_UP)
        self._target = Target(vmid, address, connect=outside.connector(routes))
        self._clock, self._began = clock, clock.monotonic()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._under_way: dict[int, float] = {}
        self._ended: list[Sample] = []
        self._detail = ""
        self._pool = ThreadPoolExecutor(MOST, thread_name_prefix="drill")
        self._ticker = threading.Thread(target=self._tick, name="drill", daemon=True)

    def __enter__(self) -> Watch:
        self._began = self._clock.monotonic()
        self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._ticker.join()
        self._pool.shutdown(wait=True)

    def heard(self) -> tuple[list[Sample], float]:
        """Return the questions of which it is known how they ended, up to the first that is still
        under way, and the seconds until then.
        """
        with self._lock:
            until = min([self._passed(), *self._under_way.values()])
            return [one for one in self._ended if one.at <= until], until

    @property
    def detail(self) -> str:
        """What came last in the place of a good answer, "" if nothing did."""
        return self._detail

    def _passed(self) -> float:
        return self._clock.monotonic() - self._began

    def _tick(self) -> None:
        number, due = 0, 0.0
        while not self._over.wait(max(0.0, due - self._passed())):
            at = self._passed()
            with self._lock:
                room = len(self._under_way) < MOST
                if room:
                    number += 1
                    self._under_way[number] = at
            if room:
                self._pool.submit(self._ask, number, at)
            # what was missed is not made up for: nobody watched then
            due = max(due + EVERY, at)

    def _ask(self, number: int, at: float) -> None:
        # a pool that is busy may begin later than it was told to
        at, good, detail = max(at, self._passed()), False, "it could not be asked"
        try:
            answer = run(self._spec, self._target, self._clock)
            good, detail = answer.outcome is Outcome.PASSED, answer.detail
        finally:
            with self._lock:
                del self._under_way[number]
                self._ended.append(Sample(at, self._passed() - at, good))
                if not good:
                    self._detail = detail


def listen(
    spec: CheckSpec, vmid: int, address: str, routes: Mapping[str, str], clock: Clock
) -> tuple[list[Sample], str]:
    """Ask ``FIRST`` times, and return the answers and what came in the place of a good one."""
    with Watch(spec, vmid, address, routes, clock) as watch:
        while len(watch.heard()[0]) < FIRST:
            clock.sleep(EVERY)
    return watch.heard()[0], watch.detail
