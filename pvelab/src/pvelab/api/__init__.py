"""Every handler of a call of the API. Importing this package registers them all."""

from pvelab.api import (
    access,
    backup_jobs,
    cluster,
    console,
    ha,
    lxc,
    nodes,
    pools,
    qemu,
    storage,
    storage_config,
    tasks,
    vzdump,
)

__all__ = [
    "access",
    "backup_jobs",
    "cluster",
    "console",
    "ha",
    "lxc",
    "nodes",
    "pools",
    "qemu",
    "storage",
    "storage_config",
    "tasks",
    "vzdump",
]
