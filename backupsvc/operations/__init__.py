"""Durable long work: an engine that drives operations, and a module an operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.engine.foreground import Engine


def build_engine(service: Service, *, foreground: bool = True) -> Engine:
    """Given the service, return an engine that knows every kind of operation.

    ``foreground``: it drives what it opens to its end; else it opens for workers.
    """
    from backupsvc.engine.executor import Handler
    from backupsvc.engine.foreground import Engine
    from backupsvc.operations.backup import steps as backup
    from backupsvc.operations.job_run import steps as night
    from backupsvc.operations.prune import steps as prune
    from backupsvc.operations.restore import steps as restore
    from backupsvc.operations.restore_test import steps as restore_test
    from backupsvc.operations.scratch_cleanup import taking_down

    handlers: dict[str, Mapping[str, Handler]] = {
        "backup": backup.HANDLERS,
        "restore-test": restore_test.HANDLERS,
        "restore": restore.HANDLERS,
        "prune": prune.HANDLERS,
        "reap": taking_down.HANDLERS,
        "night": night.HANDLERS,
    }
    return Engine(service, handlers, foreground=foreground)
