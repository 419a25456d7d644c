"""How ``backupsvc serve`` judges itself: whether work is consumed, what hangs, and how long a child
that died has to wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.outcomes import JobRunOutcome

WELL_SECONDS = 60.0  # a child that ran so long is well: its next death counts as the first
MAX_PAUSE = 60.0
TICKS_OF_SILENCE = 3
# seconds at most: it waits for its turn, for the catalog, and for a PVE that may not answer
TICK_LASTS = 300.0


@dataclass(frozen=True)
class ChildFact:
    """A child as it stands. ``since``: its last start (epoch); ``last``: how it last ended;
    ``queue``: what it consumes.
    """

    name: str
    up: bool
    since: float
    pid: int | None = None
    restarts: int = 0
    last: str | None = None
    queue: str | None = None


@dataclass(frozen=True)
class Vitals:
    """What is known of a running service. ``heartbeats`` is when each queue last consumed a canary
    (epoch), as far as it ever did.

    ``open`` counts the open operations; ``due`` is since when the first of those that nobody drives
    is due (epoch); ``nights`` are the last ended one of each job. ``scheduler`` is the heartbeat of
    the tick, which opens nights; "": it is not asked for.
    """

    started: float
    tick: float
    queues: tuple[str, ...]
    heartbeats: Mapping[str, float] = field(default_factory=dict)
    children: tuple[ChildFact, ...] = ()
    open: int = 0
    due: float | None = None
    catalog_error: str | None = None
    job_runs: tuple[JobRunOutcome, ...] = ()
    scheduler: str = ""


@dataclass(frozen=True)
class Health:
    """A judgement, with the reasons: ``ok``; ``starting``: a queue has not consumed yet, and may
    still; ``failing``: work is not consumed; ``degraded``: it is, but a job's last night was not
    good.
    """

    status: str
    reasons: tuple[str, ...]
    silence: Mapping[str, float]

    @property
    def good(self) -> bool:
        """Whether work is consumed, as far as is known. Starting the service anew would mend
        nothing else.
        """
        return self.status != "failing"


def pause_before_restart(deaths: int) -> float:
    """Given how many times in a row a child died soon after its start (from 1), return how many
    seconds it has to wait.
    """
    # the exponent is bounded: a child that died a thousand times would overflow a float
    return min(MAX_PAUSE, 2.0 ** min(deaths - 1, 10))


def deaths_in_a_row(before: int, ran: float) -> int:
    """Given the deaths counted so far and how long the child ran this time (seconds), return the
    new count.
    """
    return 1 if ran >= WELL_SECONDS else before + 1


def silence(vitals: Vitals, queue: str, now: float) -> float:
    """Return for how many seconds a queue has consumed nothing: since its last canary, or since the
    service started.
    """
    return max(0.0, now - max(vitals.started, vitals.heartbeats.get(queue, 0.0)))


def judge(vitals: Vitals, now: float) -> Health:
    """Given the vitals and the time, say whether work is consumed, and then whether the last nights
    were good.

    A process that lives proves nothing; a canary does.
    """
    silent = {queue: silence(vitals, queue, now) for queue in vitals.queues}
    limit = TICKS_OF_SILENCE * vitals.tick
    reasons = [
        f"queue {queue} has consumed nothing for {quiet:.0f} s"
        if queue in vitals.heartbeats
        else f"queue {queue} never consumed anything"
        for queue, quiet in silent.items()
        if quiet > limit
    ]
    reasons += [
        f"{child.name} is down ({child.last or 'not started yet'})"
        for child in vitals.children
        if not child.up
    ]
    if vitals.catalog_error:
        reasons.append(vitals.catalog_error)
    if (
        not reasons
        and vitals.scheduler
        and (quiet := silence(vitals, vitals.scheduler, now)) > limit + TICK_LASTS
    ):
        reasons.append(
            f"no night was looked for for {quiet:.0f} s: every tick fails, and the log of the "
            "workers says why"
        )
    if reasons:
        return Health("failing", tuple(reasons), silent)
    waiting = [
        queue for queue in vitals.queues if vitals.heartbeats.get(queue, 0.0) < vitals.started
    ]
    if waiting:
        return Health(
            "starting", tuple(f"queue {queue} has not consumed yet" for queue in waiting), silent
        )
    # a bad night is no reason to start anew: what restarts the unhealthy is told apart by status
    bad = tuple(job_run.reason for job_run in vitals.job_runs if not job_run.good)
    return Health("degraded" if bad else "ok", bad, silent)


def hung(vitals: Vitals, longest_task: float, now: float) -> list[str]:
    """Return the children that live and do nothing, to be ended: longer than any task may take, and
    the catalog would tell.

    Where every queue is silent beat is among them, for then it may be the one that sends nothing.
    """
    # no heartbeat can be read then, so every child would pass for one that hangs
    if vitals.catalog_error:
        return []
    limit = longest_task + TICKS_OF_SILENCE * vitals.tick
    up = [child for child in vitals.children if child.up and now - child.since > limit]
    silent = [
        child.name for child in up if child.queue and silence(vitals, child.queue, now) > limit
    ]
    all_silent = all(silence(vitals, queue, now) > limit for queue in vitals.queues)
    return silent + [child.name for child in up if all_silent and child.name == "beat"]
