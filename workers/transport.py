"""A mend of kombu's Redis transport: an acknowledgement that Redis did not take must not stop a worker for ever.

Where Redis stands still for longer than ``socket_timeout``, Celery logs "Couldn't ack" and goes on, while kombu still counts the
message against the prefetch limit: with a limit of one the worker lives and never takes another message (measured; celery#2415,
#8030). Here the message is first struck off the count. That Redis may deliver it again, hours later, is a hint too many.
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


def install() -> None:
    """Let every Redis channel of this process count so."""
    redis.Channel.QoS = QoS
