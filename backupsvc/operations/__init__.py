"""Durable long work: a folder a kind of operation, and what is done with operations of every
kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupsvc.engine.foreground import Engine
    from backupsvc.operations.services import StepServices


def build_engine(service: StepServices, *, foreground: bool = True) -> Engine:
    """Given the service, return an engine that knows every kind of operation.

    ``foreground``: it drives what it opens to its end; else it opens for workers.
    """
    from backupsvc.engine.foreground import Engine
    from backupsvc.operations.kinds import KINDS

    return Engine(service, KINDS, foreground=foreground)
