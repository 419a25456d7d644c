"""The supervisor: starts Redis, the workers and beat, keeps them running, and stops them in
order.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backupsvc.clock import Clock
from backupsvc.errors import Unreachable
from backupsvc.serve import private_redis
from backupsvc.serve.children import Child
from backupsvc.serve.queues import QUEUES, TASK_SECONDS
from backupsvc.serve.signals import Signals
from backupsvc.serve.systemd import Notifier
from backupsvc.serve.vitals import Observer
from policies.serving import hung

_REDIS_STARTS_WITHIN = 30.0
_REDIS_MAY_DIE = 3  # times in a row; then its file is damaged, or as good as
_BEAT_STOPS_WITHIN = _REDIS_STOPS_WITHIN = 5.0
_LOOK_SECONDS = 0.5  # seconds between looks when no signal comes


@dataclass(frozen=True)
class Plan:
    """What to run. ``private_redis`` says whether one is started; ``grace``: seconds that a worker
    may take to finish.
    """

    state: Path
    private_redis: bool
    concurrency: int = 2
    log_level: str = "info"
    grace: float = 60.0
    longest_task: float = TASK_SECONDS


class Supervisor:
    """Runs the children until a signal asks it to stop."""

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        observer: Observer,
        notifier: Notifier,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._plan, self._clock, self._observer = plan, clock, observer
        self._notifier, self._say, self._warn = notifier, say, warn
        self._redis = (
            [self._child("redis", private_redis.command(plan.state))] if plan.private_redis else []
        )
        self._workers = [
            self._child(f"worker-{queue}", worker(queue, plan), queue) for queue in QUEUES
        ]
        self._beat = [self._child("beat", beat(plan))]

    def run(self) -> None:
        """Start everything, keep it running, and return when it has been stopped in order after
        SIGTERM or SIGINT.

        Raise Unreachable if the private Redis does not come up.
        """
        with Signals() as signals:
            try:
                end = self._clock.monotonic() + _REDIS_STARTS_WITHIN
                while self._redis and not private_redis.answers(self._plan.state):
                    self._tend_redis()
                    if signals.wait(0.05):
                        return
                    if self._clock.monotonic() > end:
                        raise Unreachable(
                            f"the private Redis did not come up within {_REDIS_STARTS_WITHIN:.0f} s",
                            "see what it said above; its files are in "
                            f"{private_redis.directory(self._plan.state)} and may be removed",
                        )
                # only now: workers and beat talk through it
                self._tend()
                self._notifier.ready()
                wait = 0.0
                while not signals.wait(wait):
                    vitals, now = self._observer.vitals(), self._clock.now()
                    for name in hung(vitals, self._plan.longest_task, now):
                        self._warn(f"{name} lives and does nothing: it is ended")
                        # tended below like any that died, so that it is started anew
                        next(child for child in self._all if child.name == name).kill()
                    # a child that may be started sooner than the next look is due is not kept
                    # waiting
                    wait = min(_LOOK_SECONDS, self._tend())
                    self._notifier.alive(self._clock.monotonic())
                    health, _ = self._observer.report()
                    self._notifier.status(health.status, health.reasons)
            finally:
                self._notifier.stopping()
                self._stop(signals)

    def _tend(self) -> float:
        self._tend_redis()
        wait = min(child.tend() for child in self._all)
        self._observer.saw(tuple(child.fact() for child in self._all))
        return wait

    def _tend_redis(self) -> None:
        for child in self._redis:
            before = child.deaths
            child.tend()
            if child.deaths > before and child.deaths % _REDIS_MAY_DIE == 0:
                self._warn(
                    "redis does not start: its file of hints is removed, the catalog knows what "
                    "is to do"
                )
                private_redis.burn(self._plan.state)

    def _stop(self, signals: Signals) -> None:
        """Nothing new is sent, then nothing is taken, then nothing is kept. A second signal ends
        the waiting.
        """
        self._say("stopping")
        # beat first, which would send more, and Redis last, which the workers lean on until they
        # end
        timeouts = (
            (self._beat, _BEAT_STOPS_WITHIN),
            (self._workers, self._plan.grace),
            (self._redis, _REDIS_STOPS_WITHIN),
        )
        hurry = False
        for children, seconds in timeouts:
            for child in children:
                child.ask_to_end()
            end = self._clock.monotonic() + seconds
            while any([not child.gone() for child in children]):  # noqa: C419 (each is asked, so that each is reaped)
                for child in children if hurry or self._clock.monotonic() > end else ():
                    if not child.gone():
                        self._warn(f"{child.name} does not end: it is killed")
                        child.kill()
                hurry = signals.wait(0.1) or hurry
                self._notifier.alive(self._clock.monotonic())
        if dropped := self._notifier.dropped:
            self._warn(f"{dropped} messages to systemd were dropped: nobody read NOTIFY_SOCKET")
        self._say("stopped")

    @property
    def _all(self) -> list[Child]:
        return [*self._redis, *self._workers, *self._beat]

    def _child(self, name: str, command: Sequence[str], queue: str | None = None) -> Child:
        return Child(name, command, self._clock, self._warn, queue=queue)


def worker(queue: str, plan: Plan) -> list[str]:
    """Return the command of the worker for a queue. It need not know other workers: that only
    delays its start.
    """
    words = [*_celery("worker", plan), "--queues", queue, "--hostname", f"{queue}-{os.getpid()}@%h"]
    return [*words, "--concurrency", str(plan.concurrency), "--without-gossip", "--without-mingle"]


def beat(plan: Plan) -> list[str]:
    """Return beat's command."""
    return _celery("beat", plan)


def _celery(part: str, plan: Plan) -> list[str]:
    return [
        sys.executable,
        "-m",
        "celery",
        "--app",
        "workers.app",
        "--quiet",
        part,
        "--loglevel",
        plan.log_level,
    ]
