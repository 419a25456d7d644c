"""What the steps of operations may use of the service: what opens operations besides what
``backupsvc.services`` names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from backupsvc.engine import context
from backupsvc.services import Cluster, Nodes, Probes, Records

if TYPE_CHECKING:
    from backupsvc.engine.foreground import Engine

__all__ = ["Cluster", "Nodes", "Opening", "Probes", "Records", "Run", "StepServices"]
M = TypeVar("M")


class Opening(Cluster, Protocol):
    """Those, and the engine: what opens operations."""

    @property
    def engine(self) -> Engine:
        """The engine that knows every kind."""
        ...


class StepServices(Nodes, Probes, Opening, Protocol):
    """All that steps may use."""


Run: TypeAlias = context.Run[StepServices, M]
