"""What /healthz knows: the children, from their supervisor, and the catalog's pulses, read by a thread of their own.

A catalog that does not answer must not make /healthz hang: it tells what was last read, and the silence in it grows by itself.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from backupsvc.clock import iso
from backupsvc.errors import BackupsvcError
from backupsvc.operations.job_run.result import last_nights
from backupsvc.operations.tick import PULSE
from policies.outcomes import Night
from policies.serving import TICKS_OF_SILENCE, ChildFact, Health, Vitals, judge

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.clock import Clock


class Observer:
    """Keeps the vitals up to date. ``read`` is called by its own thread, ``children`` is set by the supervisor."""

    def __init__(self, catalog: Catalog, clock: Clock, tick: float, queues: tuple[str, ...], jobs: tuple[str, ...] = ()) -> None:
        self._catalog, self._clock = catalog, clock
        self._vitals = Vitals(clock.now(), tick, queues, scheduler=PULSE)
        self._children: tuple[ChildFact, ...] = ()
        self._stop = threading.Event()
        self._jobs, self._nights, self._nights_due = jobs, dict[str, Night](), 0.0

    def start(self) -> None:
        """Start to read the catalog, several times a tick."""
        threading.Thread(target=self._watch, name="vitals", daemon=True).start()

    def stop(self) -> None:
        """Read no more."""
        self._stop.set()

    def saw(self, children: tuple[ChildFact, ...]) -> None:
        """Given how the children stand, remember it."""
        self._children = children

    def vitals(self) -> Vitals:
        """Return what is known now."""
        return replace(self._vitals, children=self._children)

    def read(self) -> None:
        """Read the catalog once; a failure is a finding."""
        try:
            pulses, (count, due) = self._catalog.pulses(), self._catalog.backlog(int(self._clock.now()))
            self._look_at_nights()
        except BackupsvcError as error:
            self._vitals = replace(self._vitals, catalog_error=error.message)
        else:
            nights = tuple(self._nights.values())
            self._vitals = replace(self._vitals, pulses=pulses, open=count, due=due, catalog_error=None, nights=nights)

    def _look_at_nights(self) -> None:
        """Read how the last nights ended: once a tick, for they are searched for among all that ever were."""
        if (now := self._clock.monotonic()) >= self._nights_due:
            self._nights = last_nights(self._catalog, self._jobs, self._nights)
            self._nights_due = now + self._vitals.tick

    def report(self) -> tuple[Health, dict[str, Any]]:
        """Return the judgement, and it as /healthz prints it."""
        now, vitals = self._clock.now(), self.vitals()
        health = judge(vitals, now)
        return health, as_dict(vitals, health, now)

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.read()
            self._stop.wait(min(2.0, self._vitals.tick / 4))


def as_dict(vitals: Vitals, health: Health, now: float) -> dict[str, Any]:
    """Given a judgement, return it as one JSON object."""
    limit = TICKS_OF_SILENCE * vitals.tick
    return {
        "status": health.status,
        "reasons": list(health.reasons),
        "since": iso(vitals.started),
        "queues": {
            queue: {
                "seconds_since_consumed": round(silent, 1),
                "limit": limit,
                "last_consumed": iso(vitals.pulses[queue]) if queue in vitals.pulses else None,
            }
            for queue, silent in health.silence.items()
        },
        "children": {
            child.name: {"up": child.up, "pid": child.pid, "restarts": child.restarts, "last_end": child.last}
            for child in vitals.children
        },
        "operations": {
            "open": vitals.open,
            "oldest_due_seconds": max(0, round(now - vitals.due)) if vitals.due is not None else None,
        },
        "last_nights": [
            {
                "job": night.job,
                "at": iso(night.at),
                "ended": iso(night.ended),
                "operation": night.operation,
                "state": str(night.state),
                "verdict": str(night.verdict),
                "expected": night.expected,
                "ok": night.ok,
                "failed": night.failed,
                "missing": night.missing,
                "tests": night.tests,
                "proven": night.proven,
            }
            for night in vitals.nights
        ],
    }
