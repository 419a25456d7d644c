"""A Redis that stands still and a link that breaks, at the level of kombu: a worker goes on taking
messages.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.messaging import Consumer
from redis import exceptions

import workers.app  # noqa: F401 - installs what is tested here
from backupsvc.serve import private_redis
from tests.links import link
from tests.waiting import HANGS, wait_until

Redis = subprocess.Popen[bytes]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A private Redis on a socket in the test's own directory."""
    server = subprocess.Popen(private_redis.command(tmp_path), stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: private_redis.answers(tmp_path))
        yield server
    finally:
        server.kill()
        server.wait(HANGS)


def test_a_message_whose_acknowledgement_redis_did_not_take_no_longer_counts_against_the_prefetch_limit(
    redis: Redis, tmp_path: Path
) -> None:
    with Connection(
        private_redis.url(tmp_path), transport_options={"socket_timeout": 0.5}
    ) as connection:
        queue = connection.SimpleQueue("steps")
        queue.put("a hint")
        queue.consumer.qos(prefetch_count=1)
        message = queue.get(timeout=HANGS)
        assert not queue.channel.qos.can_consume()
        redis.send_signal(signal.SIGSTOP)
        with pytest.raises(exceptions.TimeoutError):
            message.ack()
        assert queue.channel.qos.can_consume()
        redis.send_signal(signal.SIGCONT)


def test_a_worker_that_has_not_acknowledged_a_message_survives_that_its_link_breaks(
    redis: Redis, tmp_path: Path
) -> None:
    with link(private_redis.directory(tmp_path) / "redis.sock") as broken:
        connection = Connection(f"redis://127.0.0.1:{broken.port}/0")
        hints = connection.SimpleQueue("steps")
        hints.put("a hint")
        hints.get(timeout=HANGS)
        Consumer(connection.channel(), [Queue("polls")]).consume()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.2)  # both channels wait for a message now
        broken.cut()
        connection.collect()
        connection.close()  # as Celery's consumer does both


@pytest.mark.slow
def test_what_was_not_acknowledged_goes_back_when_the_connection_is_closed_in_order(
    redis: Redis, tmp_path: Path
) -> None:
    with Connection(private_redis.url(tmp_path)) as connection:
        hints = connection.SimpleQueue("steps")
        hints.put("a hint")
        hints.get(timeout=HANGS)
    with Connection(private_redis.url(tmp_path)) as connection:
        assert connection.SimpleQueue("steps").get(timeout=HANGS).payload == "a hint"
