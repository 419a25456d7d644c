"""Durable long work: an engine that drives operations, and a module an operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.operations.engine import Engine


def build_engine(service: Service) -> Engine:
    """Given the service, return an engine that knows every kind of operation."""
    from backupsvc.operations import backup, night, prune, restore, restore_test
    from backupsvc.operations.engine import Engine

    handlers = {
        "backup": backup.HANDLERS,
        "restore-test": restore_test.HANDLERS,
        "restore": restore.HANDLERS,
        "prune": prune.HANDLERS,
        "night": night.HANDLERS,
    }
    return Engine(service, handlers)
