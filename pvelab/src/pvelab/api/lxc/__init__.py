"""The calls about containers: /nodes/{node}/lxc."""

from pvelab.api.lxc import (
    config,
    create,
    status,
)

__all__ = [
    "config",
    "create",
    "status",
]
