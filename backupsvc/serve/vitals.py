"""What /healthz knows: the children, from their supervisor, and the catalog's heartbeats, read by a
thread of their own.

A catalog that does not answer must not make /healthz hang: it tells what was last read, and the
silence in it grows by itself.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from backupsvc.clock import iso
from backupsvc.errors import BackupsvcError
from backupsvc.operations.job_run.result import last_job_runs
from backupsvc.operations.tick import HEARTBEAT
from policies.outcomes import JobRunOutcome
from policies.serving import TICKS_OF_SILENCE, ChildFact, Health, Vitals, judge

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.clock import Clock


class Observer:
    """Keeps the vitals up to date. ``read`` is called by its own thread, ``children`` is set by the
    supervisor.
    """

    def __init__(
        self,
        catalog: Catalog,
        clock: Clock,
        tick: float,
        queues: tuple[str, ...],
        jobs: tuple[str, ...] = (),
    ) -> None:
        self._catalog, self._clock = catalog, clock
        self._vitals = Vitals(clock.now(), tick, queues, scheduler=HEARTBEAT)
        self._children: tuple[ChildFact, ...] = ()
        self._stop = threading.Event()
        self._jobs, self._job_runs, self._job_runs_due = jobs, dict[str, JobRunOutcome](), 0.0

    def start(self) -> None:
        """Start to read the catalog, several times a tick."""

        def watch() -> None:
            while not self._stop.is_set():
                self.read()
                self._stop.wait(min(2.0, self._vitals.tick / 4))

        threading.Thread(target=watch, name="vitals", daemon=True).start()

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
            heartbeats, (count, due) = (
                self._catalog.heartbeats.newest(),
                self._catalog.operations.backlog(int(self._clock.now())),
            )
            # once a tick is enough: they are searched for among all that ever were
            if (now := self._clock.monotonic()) >= self._job_runs_due:
                self._job_runs = last_job_runs(self._catalog, self._jobs, self._job_runs)
                self._job_runs_due = now + self._vitals.tick
        # a finding, no failure: /healthz must answer just when the catalog does not
        except BackupsvcError as error:
            self._vitals = replace(self._vitals, catalog_error=error.message)
        else:
            job_runs = tuple(self._job_runs.values())
            self._vitals = replace(
                self._vitals,
                heartbeats=heartbeats,
                open=count,
                due=due,
                catalog_error=None,
                job_runs=job_runs,
            )

    def report(self) -> tuple[Health, dict[str, Any]]:
        """Return the judgement, and it as /healthz prints it."""
        now, vitals = self._clock.now(), self.vitals()
        health = judge(vitals, now)
        return health, as_dict(vitals, health, now)


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
                "last_consumed": iso(vitals.heartbeats[queue])
                if queue in vitals.heartbeats
                else None,
            }
            for queue, silent in health.silence.items()
        },
        "children": {
            child.name: {
                "up": child.up,
                "pid": child.pid,
                "restarts": child.restarts,
                "last_end": child.last,
            }
            for child in vitals.children
        },
        "operations": {
            "open": vitals.open,
            "oldest_due_seconds": max(0, round(now - vitals.due))
            if vitals.due is not None
            else None,
        },
        "last_nights": [
            {
                "job": job_run.job,
                "at": iso(job_run.at),
                "ended": iso(job_run.ended),
                "operation": job_run.operation,
                "state": str(job_run.state),
                "verdict": str(job_run.verdict),
                "expected": job_run.expected,
                "ok": job_run.ok,
                "failed": job_run.failed,
                "missing": job_run.missing,
                "tests": job_run.tests,
                "proven": job_run.proven,
            }
            for job_run in vitals.job_runs
        ],
    }
