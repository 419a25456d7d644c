"""The tick of beat, without Celery: it opens what is due, and finds what somebody should look at
now.
"""

from __future__ import annotations

from collections.abc import Sequence

from backupsvc.engine.worker_loop import take_hints
from backupsvc.operations.services import Opening

MAX_HINTS = 1000  # of one tick; what is left over is older at the next one, and comes first
HEARTBEAT = "tick"  # the name under which the catalog keeps when a tick was last here
# seconds by which the last tick may seem to come from the future: two machines' clocks are never
# quite the same
SET_BACK = 600
# seconds: no operation is parked, and no lease lasts, nearly so long, but for a clock that was set
# back
MAX_AHEAD = 7200
TOLD_SECONDS = 60  # an operation whose hint has brought nobody for so long is hinted at again


def tick(service: Opening) -> list[str]:
    """Open what is due, pick up what lost its driver, and return the operations that somebody
    should look at now.

    When they have been told, ``told`` must be called with them.
    """
    from backupsvc.engine import telling
    from backupsvc.operations.job_run.opening import open_due
    from backupsvc.operations.scratch_cleanup import forgotten, taking_down

    engine, now = service.engine, int(service.clock.now())
    # first of all: what lost its driver is among those that are due at the end of this tick
    engine.free_orphans()
    service.catalog.operations.cap_future_times(now, MAX_AHEAD)
    # before this tick leaves its own mark: what came due since then may have been missed
    last = service.catalog.heartbeats.newest().get(HEARTBEAT)
    open_due(service, since=None if last is None else int(last))
    # only now: if this tick dies while it opens, the next one looks as far back as it did
    service.catalog.heartbeats.record(HEARTBEAT, now)
    # a clock that was set back takes the memory of the last tick back with it
    if service.catalog.heartbeats.newest()[HEARTBEAT] > now + SET_BACK:
        service.catalog.heartbeats.reset(HEARTBEAT, now)
    taking_down.open_reaps(service)
    forgotten.attend(service)
    telling.tell_due(service.catalog, engine.kinds, now)
    due = service.catalog.operations.due(now, MAX_HINTS)
    return list(dict.fromkeys([*take_hints(engine.executor), *due]))


def told(service: Opening, ids: Sequence[str]) -> None:
    """Given the operations that hints were sent for, look at them again only if nobody comes."""
    service.catalog.operations.postpone(ids, int(service.clock.now()) + TOLD_SECONDS)
