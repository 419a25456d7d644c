"""Canaries: a queue that consumes one writes down when. /healthz reads it; nothing else proves that
work is consumed.
"""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready

from workers.app import app


@app.task(name="workers.pulse.beat")  # what older schedules send and older workers listen to
def heartbeat(queue: str) -> None:
    """Record that this queue is consumed now."""
    from workers.site import open_site  # which beat does without

    with open_site() as service:
        service.catalog.heartbeats.record(queue, int(service.clock.now()))


@worker_ready.connect
def first_heartbeats(sender: Any, **_: Any) -> None:
    """A worker that has just come up need not wait for beat's next tick to show that it works."""
    for queue in sender.app.amqp.queues.consume_from:
        heartbeat.delay(queue)
