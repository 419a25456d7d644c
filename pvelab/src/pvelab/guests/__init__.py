"""The lab's guests and archives: storages, vzdump, restore, configurations, power and the guest agent.

Importing this package registers the handlers of all these calls.
"""

from pvelab.guests import (
    agent_api,
    config_api,
    create_api,
    monitor_api,
    pause_api,
    resize_api,
    status_api,
    storage_api,
    vzdump_api,
)

__all__ = [
    "agent_api",
    "config_api",
    "create_api",
    "monitor_api",
    "pause_api",
    "resize_api",
    "status_api",
    "storage_api",
    "vzdump_api",
]
