"""What the steps of operations may use of the service, named by what they need: no step holds the whole of it.

The service itself (``bootstrap.Service``) stands above the operations and fits all of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from backupsvc.engine import context
from backupsvc.engine.context import EngineServices

if TYPE_CHECKING:
    from backupsvc.engine.foreground import Engine
    from backupsvc.pve import Pve
    from backupsvc.remote.connections import NodeConnections
    from backupsvc.remote.jump import Jump
    from backupsvc.settings import Settings
    from policies.model import Policy

M = TypeVar("M")


class Records(EngineServices, Protocol):
    """The catalog and the policy: what is decided without the cluster."""

    @property
    def policy(self) -> Policy:
        """The site's policy."""
        ...


class Cluster(Records, Protocol):
    """Those, and the cluster by both tokens."""

    @property
    def pve(self) -> Pve:
        """The cluster, by the everyday token."""
        ...

    @property
    def restore_pve(self) -> Pve:
        """The cluster, by the token that may use production bridges."""
        ...


class Nodes(Cluster, Protocol):
    """Those, and the nodes by SSH: what archives are read with."""

    @property
    def settings(self) -> Settings:
        """What is configured."""
        ...

    @property
    def nodes(self) -> NodeConnections:
        """The nodes that SSH reaches."""
        ...


class Probes(Cluster, Protocol):
    """Those, and the probes on the isolated bridges: what copies are listened to with."""

    def probe(self, node: str) -> Jump | None:
        """Given a node, return the way onto its isolated bridge, or None when no probe is there."""
        ...

    def probe_vmid(self, node: str) -> int | None:
        """Given a node, return its probe's own VMID, None where the settings name none."""
        ...


class Opening(Cluster, Protocol):
    """Those, and the engine: what opens operations."""

    @property
    def engine(self) -> Engine:
        """The engine that knows every kind."""
        ...


class StepServices(Nodes, Probes, Opening, Protocol):
    """All that steps may use."""


Run: TypeAlias = context.Run[StepServices, M]
