"""Durable long work: an engine that drives operations, and a module an operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.operations.engine import Engine


def build_engine(service: Service, *, foreground: bool = True) -> Engine:
    """Given the service, return an engine that knows every kind of operation.

    ``foreground``: it drives what it opens to its end; else it opens for workers.
    """
    from backupsvc.operations import backup, night, prune, restore, restore_test, taking_down
    from backupsvc.operations.engine import Engine
    from backupsvc.operations.turns import Handler

    handlers: dict[str, Mapping[str, Handler]] = {
        "backup": backup.HANDLERS,
        "restore-test": restore_test.HANDLERS,
        "restore": restore.HANDLERS,
        "prune": prune.HANDLERS,
        "reap": taking_down.HANDLERS,
        "night": night.HANDLERS,
    }
    return Engine(service, handlers, foreground=foreground)
