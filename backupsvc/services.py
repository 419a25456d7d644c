"""What parts of the service may use of it, named by what they need: nothing below the command line
holds the whole of it.

The service itself (``bootstrap.Service``) stands above them all and fits each of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.clock import Clock
    from backupsvc.pve import Pve
    from backupsvc.remote.connections import NodeConnections
    from backupsvc.remote.here import Here
    from backupsvc.remote.jump import Jump
    from backupsvc.settings import Settings
    from policies.model import Policy


class EngineServices(Protocol):
    """What the engine itself needs of the service whose operations it drives."""

    @property
    def catalog(self) -> Catalog:
        """Where operations are written down."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...


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

    @property
    def here(self) -> Here | None:
        """This machine on the guests' network, None where it is not on it."""
        ...


class Probes(Cluster, Protocol):
    """Those, and the probes on the isolated bridges: what copies are listened to with."""

    def probe(self, node: str) -> Jump | None:
        """Given a node, return the way onto its isolated bridge, or None when no probe is there."""
        ...

    def probe_vmid(self, node: str) -> int | None:
        """Given a node, return its probe's own VMID, None where the settings name none."""
        ...


class DoctorServices(Nodes, Probes, Protocol):
    """All that ``doctor`` looks at."""
