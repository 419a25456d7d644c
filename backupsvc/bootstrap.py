"""The composition root: the one place that joins settings, policy, catalog and cluster into a
service.

Everything is opened when it is first used, so that a command which needs no cluster never waits for
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from backupsvc.clock import Clock, SystemClock
from backupsvc.errors import UsageError
from backupsvc.requester import person
from backupsvc.settings import Settings, load_settings
from policies.model import Policy

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.engine.events import Observer
    from backupsvc.engine.foreground import Engine
    from backupsvc.pve import Pve
    from backupsvc.pve.breakers import Breakers
    from backupsvc.remote.connections import NodeConnections
    from backupsvc.remote.here import Here
    from backupsvc.remote.jump import Jump
    from policies.attached import Kernel

NO_CLUSTER = (
    "no cluster is configured: BACKUPSVC_PVE__HOST is not set and no lab is up",
    "set BACKUPSVC_PVE__HOST and BACKUPSVC_PVE__TOKEN, or start the embedded cluster with "
    "`backupsvc lab up`",
)


class Service:
    """Settings, policy, clock, catalog and cluster, each opened at first use and closed together.

    ``foreground``: operations are driven to their end by this process; else they are opened for
    workers. ``breakers``: what this process knows of the silence of hosts and nodes, where it keeps
    several services. ``observers``: who is told what the engine does, if they are added before it
    is first used. ``asked_by``: who asks for what is opened; "" is the person who runs this.

    Raises at first use: UsageError or PolicyError (policy), CatalogUnreachable (catalog),
    Unreachable or Refused (cluster).
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        foreground: bool = True,
        breakers: Breakers | None = None,
        asked_by: str = "",
    ) -> None:
        self.settings, self.clock, self._foreground = settings, clock, foreground
        self._stack = ExitStack()
        self._probes: dict[str, Jump | None] = {}
        self._breakers = breakers
        self.observers: list[Observer] = []
        self._asked_by = asked_by

    @cached_property
    def policy(self) -> Policy:
        """The site's policy, read from the file that the settings name."""
        from policies.site import load_policy

        path = self.settings.policy
        if path is None:
            raise UsageError(
                "no policy is configured",
                "set BACKUPSVC_POLICY to a policy file; policies/sites/small.yaml is a start",
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the policy {path} cannot be read: {error}", "correct BACKUPSVC_POLICY"
            ) from None
        return load_policy(text, str(path))

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog, migrated to this version."""
        from backupsvc.catalog import Catalog

        return self._stack.enter_context(
            Catalog.open(self.settings.catalog_url, self.settings.catalog.patience)
        )

    @cached_property
    def pve(self) -> Pve:
        """The cluster, by the everyday token."""
        return self._connect(restore=False)

    @cached_property
    def restore_pve(self) -> Pve:
        """The cluster, by the token that may use production bridges (the everyday one if there is
        no other).
        """
        return self._connect(restore=True)

    @cached_property
    def breakers(self) -> Breakers:
        """Which hosts and nodes are not asked at this moment, because they did not answer; both
        tokens share it.
        """
        from backupsvc.pve.breakers import Breakers

        return self._breakers or Breakers(self.clock)

    def probe(self, node: str) -> Jump | None:
        """Given a node, return the way onto its isolated bridge, or None when no probe is there."""
        from backupsvc.remote.jump import Jump

        if node not in self._probes:
            found = self.settings.probe_at(node, self._unnamed_probe)
            opened = Jump(found[1], f"the probe of {node}", found[0]) if found else None
            self._probes[node] = self._stack.enter_context(opened) if opened else None
        return self._probes[node]

    def probe_vmid(self, node: str) -> int | None:
        """Given a node, return its probe's own VMID, None where the settings name none."""
        found = self.settings.probe_at(node, self._unnamed_probe)
        return found[1].vmid if found else None

    @cached_property
    def _unnamed_probe(self) -> str | None:
        """Where the single probe is that does not name its node: where copies are to run, or at the
        cluster's only node.
        """
        # a bridge without ports ends at its node, so it matters where the probe is
        single = self.settings.probe
        if not single.host or single.node:
            return None
        if self.settings.policy and self.policy.scratch.node:
            return self.policy.scratch.node
        nodes = self.pve.cluster.nodes()
        return nodes[0].name if len(nodes) == 1 else None

    @cached_property
    def nodes(self) -> NodeConnections:
        """The nodes that SSH reaches."""
        from backupsvc.remote.connections import NodeConnections

        nodes = NodeConnections(self.settings.ssh)
        self._stack.callback(nodes.close)
        return nodes

    @cached_property
    def here(self) -> Here | None:
        """This machine on the guests' network, None where it is not on it: a lab's guests have a
        network of their own, and who answers here at their addresses is somebody else.
        """
        from backupsvc.remote.here import Here

        return Here() if self.settings.guest_network and not self.settings.lab else None

    @cached_property
    def engine(self) -> Engine:
        """The engine that drives operations, with every kind registered."""
        from backupsvc.operations import build_engine

        # an operation outlives the silence of a node that only restarts
        self.breakers.live_long()
        engine = build_engine(self, foreground=self._foreground)
        engine.executor.observers += self.observers
        engine.asked_by = self._asked_by or person()
        return engine

    def close(self) -> None:
        """Close whatever was opened."""
        self._stack.close()

    def _connect(self, *, restore: bool) -> Pve:
        from backupsvc.pve import connect

        if not self.settings.pve.host:
            raise UsageError(*NO_CLUSTER)
        # listing archives needs no policy
        scratch = self.policy.scratch if self.settings.policy else None
        pve = connect(
            self.settings.pve, self.clock, restore=restore, scratch=scratch, breakers=self.breakers
        )

        def ports(node: str, bridge: str) -> Kernel | None:
            if node not in self.settings.ssh.nodes:
                return None
            from backupsvc.remote import kernel

            return kernel.ports(self.nodes, node, bridge)

        pve.probes, pve.kernel = self.settings.probe_vmids, ports
        return pve


@contextmanager
def open_service(
    settings: Settings | None = None, clock: Clock | None = None, *, foreground: bool = True
) -> Iterator[Service]:
    """Yield the service for the settings in force, and close it afterwards."""
    service = Service(settings or load_settings(), clock or SystemClock(), foreground=foreground)
    try:
        yield service
    finally:
        service.close()
