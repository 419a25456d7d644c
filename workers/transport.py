"""Two mends of kombu's Redis transport: neither a Redis that stands still nor a link that breaks
may stop a worker for ever.

Where Redis stands still for longer than ``socket_timeout``, Celery logs "Couldn't ack" and goes on,
while kombu still counts the
message against the prefetch limit: with a limit of one the worker lives and never takes another
message (measured; celery#2415, #8030). Here the message is first struck off the count. That Redis
may deliver it again, hours later, is a hint too many.

Where a link breaks, kombu gives back what was not acknowledged, also over a connection that it has
already closed, and the worker dies of an AttributeError (measured). Here it is given back only over
one that is there. A tick finds what the hint was for.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis, virtual


class QoS(redis.QoS):
    """Counts what was delivered and not yet acknowledged."""

    def ack(self, delivery_tag: Any) -> None:
        """Given a message's tag, count it as acknowledged, and tell Redis."""
        virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
        super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give back what was not acknowledged, unless the connection is gone, or this was tried
        before.
        """
        if self.channel.connection.client is None or getattr(self._delivered, "restored", False):
            self._delivered.clear()
        super().restore_unacked_once(stderr)  # type: ignore[no-untyped-call]


def install() -> None:
    """Let every Redis channel of this process count so."""
    redis.Channel.QoS = QoS
