"""Tasks of a few lines: open what is due, wake an operation. No work is done here, and a message is
only a hint.
"""

from __future__ import annotations

from backupsvc.engine.worker_loop import work
from backupsvc.operations.tick import tick as look_around
from backupsvc.operations.tick import told
from backupsvc.serve.queues import POLLS, STEP_SECONDS, STEPS
from workers.app import app
from workers.site import open_site


@app.task
def tick() -> None:
    """Open the nights that are due, and wake every open operation whose time has come."""
    with open_site() as service:
        due = look_around(service)
        for id in due:
            poll.delay(id)
        told(service, due)


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
