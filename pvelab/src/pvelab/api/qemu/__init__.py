"""The calls about virtual machines: /nodes/{node}/qemu."""

from pvelab.api.qemu import (
    agent,
    config,
    create,
    monitor,
    pause,
    resize,
    status,
)

__all__ = [
    "agent",
    "config",
    "create",
    "monitor",
    "pause",
    "resize",
    "status",
]
