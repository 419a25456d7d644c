"""Tasks of a few lines: open what is due, wake an operation. No work is done here, and a message is
only a hint.

Beat sends them and does none: what they need is imported by a worker alone, before it forks.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from celery.signals import worker_init

from backupsvc.serve.queues import POLLS, STEP_SECONDS, STEPS
from workers.app import app


@worker_init.connect
def import_once(**_: Any) -> None:
    """Import for all processes of a worker what the tasks need. Raise SystemExit if that fails."""
    for name in ("backupsvc.engine.worker_loop", "backupsvc.operations.tick", "workers.site"):
        try:
            import_module(name)
        except ImportError as error:
            # anything else Celery would log and go on with, to fail at each task
            raise SystemExit(f"backupsvc: this worker cannot work: {error}") from error


@app.task
def tick() -> None:
    """Open the nights that are due, and wake every open operation whose time has come."""
    from backupsvc.operations import tick as ticks
    from workers.site import open_site

    with open_site() as service:
        due = ticks.tick(service)
        for id in due:
            poll.delay(id)
        ticks.told(service, due)


@app.task
def poll(id: str) -> None:
    """Take an operation's steps until it must wait; a step that works for minutes is handed on to
    ``advance``.
    """
    _turn(id, long=False)


@app.task(time_limit=STEP_SECONDS)
def advance(id: str) -> None:
    """Take an operation's steps until it must wait, those that work for minutes too."""
    _turn(id, long=True)


def _turn(id: str, *, long: bool) -> None:
    from backupsvc.engine.worker_loop import work
    from workers.site import open_site

    queue = STEPS if long else POLLS
    with open_site() as service:
        # A queue whose workers are all in the middle of long steps consumes no canary, and yet it
        # is consumed.
        service.engine.executor.on_heartbeat = lambda: service.catalog.heartbeats.record(
            queue, int(service.clock.now())
        )
        turn = work(service.engine.executor, id, long=long)
        for woken in turn.hints:
            poll.delay(woken)
        if turn.again is not None:
            (advance if turn.long else poll).apply_async((id,), countdown=turn.again)
