"""Queues and settings of the Celery application: looking never waits behind doing, and beat keeps
no file.
"""

from __future__ import annotations

import pytest

from backupsvc.serve.queues import QUEUES
from workers.app import app
from workers.routing import route


@pytest.mark.parametrize(
    ("task", "args", "queue"),
    [
        ("workers.tasks.advance", ("01J",), "steps"),
        ("workers.tasks.poll", ("01J",), "polls"),
        ("workers.tasks.tick", (), "polls"),
        ("workers.pulse.beat", ("steps",), "steps"),
        ("workers.pulse.beat", ("polls",), "polls"),
    ],
)
def test_a_task_goes_to_its_queue(task: str, args: tuple[str, ...], queue: str) -> None:
    assert route(task, args, {}, {}) == {"queue": queue}
    assert app.amqp.router.route({}, task, args=args)["queue"].name == queue


def test_a_worker_that_is_not_told_otherwise_consumes_both_queues() -> None:
    assert set(app.amqp.queues.consume_from) == set(QUEUES)


def test_beat_sends_a_canary_into_each_queue_at_every_tick() -> None:
    entries = [entry for name, entry in app.conf.beat_schedule.items() if name.startswith("canary")]
    assert {entry["args"] for entry in entries} == {(name,) for name in QUEUES}
    assert {entry["schedule"] for entry in entries} == {30.0}


def test_what_beat_sends_expires_so_that_nobody_has_to_catch_up_with_it() -> None:
    assert all(entry["options"]["expires"] == 90 for entry in app.conf.beat_schedule.values())


def test_beat_keeps_its_schedule_in_memory_where_no_file_can_be_damaged() -> None:
    assert app.conf.beat_scheduler == "celery.beat:Scheduler"
