"""The cluster as a whole: who is in it, what may be done, its jobs, clocks, bridges and high availability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backupsvc.clock import Clock
from backupsvc.errors import PveError, PveUnreachable
from backupsvc.pve.client import Client
from backupsvc.pve.fields import boolean, integer, properties, text, words
from policies import pve_texts
from policies.bridge_isolation import Interface, NodeNetwork
from policies.model import Guest, GuestType, Node
from policies.site_facts import ClusterJob

_BRIDGES = frozenset({"bridge", "OVSBridge"})


@dataclass(frozen=True, slots=True)
class Version:
    """What answers: release ``9.2``, version ``9.2.11``; ``simulated`` if it says itself that its guests are only modelled."""

    release: str
    version: str
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A member as corosync sees it."""

    name: str
    id: int
    ip: str
    online: bool


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster's name and quorum; a single node without cluster has its own name and quorate None."""

    name: str
    quorate: bool | None
    nodes: tuple[ClusterNode, ...]


@dataclass(frozen=True, slots=True)
class PveJob:
    """A backup job that PVE itself runs. ``guests`` is empty when ``all`` or ``pool`` says whom it backs up."""

    id: str
    enabled: bool
    schedule: str
    storage: str
    node: str | None = None
    guests: tuple[int, ...] = ()
    all: bool = False
    exclude: tuple[int, ...] = ()
    pool: str | None = None
    mode: str = ""
    compress: str = ""
    prune: str = ""
    comment: str = ""
    next_run: int | None = None

    def seen(self, guests: Sequence[Guest]) -> ClusterJob:
        """Given the cluster's guests, return the job as decisions want it, with its pool's members by name."""
        members = tuple(guest.vmid for guest in guests if guest.pool == self.pool) if self.pool else self.guests
        whom = None if self.all else members
        return ClusterJob(self.id, self.enabled, self.node, self.storage, whom, self.exclude, self.schedule)


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge of a node. ``ports`` are the interfaces it is tied to: none means that it leads nowhere."""

    name: str
    node: str
    ports: tuple[str, ...] = ()
    address: str = ""


@dataclass(frozen=True, slots=True)
class HaStatus:
    """High availability: ``lrm`` is each node's own line (where ``detected time drift!`` shows), ``services`` sid to state."""

    quorate: bool | None = None
    master: str | None = None
    lrm: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)

    @property
    def drifting(self) -> tuple[str, ...]:
        """Nodes whose clock PVE's HA itself reports as drifting: it sees only one that is ahead (PVE_FACTS 8)."""
        return tuple(node for node, line in sorted(self.lrm.items()) if pve_texts.CLOCK_DRIFT.search(line))


class Cluster:
    """Questions to the cluster; nothing here changes anything."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._guests: tuple[float, list[Guest]] | None = None
        self._jobs: tuple[float, list[PveJob]] | None = None

    def version(self) -> Version:
        """Return what answers. The first call of every command: it shows whether host, certificate and token are right."""
        data = self._client.get("version")
        return Version(text(data, "release"), text(data, "version"), boolean(data, "simulated"))

    def guests(self, max_age: float = 0.0) -> list[Guest]:
        """Return every guest that the token may see, by VMID. States lag by some seconds (PVE_FACTS 8).

        An answer that is younger than ``max_age`` seconds serves again, so that the cluster is asked once for all its guests.
        """
        now = self._clock.monotonic()
        if self._guests is None or now - self._guests[0] >= max_age:
            rows = self._client.get("cluster/resources", {"type": "vm"})
            found = [_guest(row) for row in rows if text(row, "type") in ("qemu", "lxc")]
            self._guests = (now, sorted(found, key=lambda guest: guest.vmid))
        return list(self._guests[1])

    def nodes(self) -> list[Node]:
        """Return the nodes; memory is 0 (unknown) without Sys.Audit."""
        rows = self._client.get("nodes")
        return sorted((_node(row) for row in rows), key=lambda node: node.name)

    def status(self) -> ClusterStatus:
        """Return quorum and members. Raise PvePermissionDenied without Sys.Audit on /."""
        rows = self._client.get("cluster/status")
        nodes = tuple(_member(row) for row in rows if text(row, "type") == "node")
        for row in rows:
            if text(row, "type") == "cluster":
                return ClusterStatus(text(row, "name"), boolean(row, "quorate"), nodes)
        return ClusterStatus(nodes[0].name if nodes else "", None, nodes)

    def vmid_free(self, vmid: int) -> bool:
        """Given a VMID, return whether no guest of the cluster has it at this moment; nothing is reserved."""
        try:
            self._client.get("cluster/nextid", {"vmid": vmid})
        except PveError as error:
            if pve_texts.VMID_TAKEN.search(error.errors.get("vmid", "")):
                return False
            raise
        return True

    def permissions(self) -> dict[str, frozenset[str]]:
        """Return what the token may do, by path. PVE answers whether each propagates: having the key is having it."""
        return {path: frozenset(privileges) for path, privileges in self._client.get("access/permissions").items()}

    def jobs(self, max_age: float = 0.0) -> list[PveJob]:
        """Return PVE's own backup jobs. Raise PvePermissionDenied without Sys.Audit on /.

        An answer that is younger than ``max_age`` seconds serves again.
        """
        now = self._clock.monotonic()
        if self._jobs is None or now - self._jobs[0] >= max_age:
            self._jobs = (now, [_job(row) for row in self._client.get("cluster/backup")])
        return list(self._jobs[1])

    def node_times(self) -> dict[str, int]:
        """Return each online node's clock, epoch seconds, as it was when that node was asked. A silent node is left out."""
        return {node: time for node, time, _ in self._times()}

    def clock_offsets(self) -> dict[str, float]:
        """Return how far each online node's clock is ahead of this machine's, in seconds, good to about one second."""
        return {node: time - mine for node, time, mine in self._times()}

    def _times(self) -> Iterator[tuple[str, int, float]]:
        for node in self.nodes():
            if node.online:
                asked = self._clock.now()
                try:
                    time = integer(self._client.get(f"nodes/{node.name}/time"), "time")
                except PveUnreachable:
                    continue  # it died between the two calls; its absence is the answer
                yield node.name, time, (asked + self._clock.now()) / 2

    def bridges(self, node: str) -> list[Bridge]:
        """Given a node, return its bridges, with the interfaces each is tied to."""
        rows = self._client.get(f"nodes/{node}/network")
        return [_bridge(row, node) for row in rows if text(row, "type") in _BRIDGES]

    def network(self, node: str) -> NodeNetwork:
        """Given a node, return what it says of its interfaces at this moment, and whether changes to them are pending."""
        rows, beside = self._client.get_with_beside(f"nodes/{node}/network")
        return NodeNetwork(node, tuple(_interface(row) for row in rows), bool(beside.get("changes")))

    def ha(self) -> HaStatus:
        """Return what the HA stack says of itself. Raise PvePermissionDenied without Sys.Audit on /."""
        rows = self._client.get("cluster/ha/status/current")
        quorum = next((row for row in rows if text(row, "type") == "quorum"), None)
        master = next((row for row in rows if text(row, "type") == "master"), None)
        return HaStatus(
            quorate=boolean(quorum, "quorate") if quorum is not None else None,
            master=text(master, "node") or None if master is not None else None,
            lrm={text(row, "node"): text(row, "status") for row in rows if text(row, "type") == "lrm"},
            services={text(row, "sid"): text(row, "state") for row in rows if text(row, "type") == "service"},
        )

    def ha_resources(self) -> set[str]:
        """Return the ids of what HA manages, like ``vm:108``. Raise PvePermissionDenied without Sys.Audit on /."""
        return {text(row, "sid") for row in self._client.get("cluster/ha/resources")}


def _guest(row: dict[str, Any]) -> Guest:
    return Guest(
        vmid=integer(row, "vmid"),
        name=text(row, "name"),
        node=text(row, "node"),
        type=GuestType(text(row, "type")),
        status=text(row, "status") or "unknown",
        template=boolean(row, "template"),
        tags=words(row, "tags"),
        max_memory=integer(row, "maxmem"),
        max_disk=integer(row, "maxdisk"),
        ha_state=text(row, "hastate") or None,
        pool=text(row, "pool") or None,
        lock=text(row, "lock") or None,
    )


def _node(row: dict[str, Any]) -> Node:
    online = text(row, "status") == "online"
    return Node(text(row, "node"), online, integer(row, "maxmem"), integer(row, "mem"), integer(row, "maxcpu"))


def _member(row: dict[str, Any]) -> ClusterNode:
    return ClusterNode(text(row, "name"), integer(row, "nodeid"), text(row, "ip"), boolean(row, "online"))


def _job(row: dict[str, Any]) -> PveJob:
    return PveJob(
        id=text(row, "id"),
        enabled=boolean(row, "enabled", default=True),
        schedule=text(row, "schedule"),
        storage=text(row, "storage"),
        node=text(row, "node") or None,
        guests=_vmids(row, "vmid"),
        all=boolean(row, "all"),
        exclude=_vmids(row, "exclude"),
        pool=text(row, "pool") or None,
        mode=text(row, "mode"),
        compress=text(row, "compress"),
        prune=properties(row, "prune-backups"),
        comment=text(row, "comment"),
        next_run=integer(row, "next-run") or None,
    )


def _vmids(row: dict[str, Any], key: str) -> tuple[int, ...]:
    """PVE keeps the list as it was typed: ``100;200``, ``100,,200`` (OBSERVED 13)."""
    return tuple(int(word) for word in words(row, key) if word.isdigit())


def _bridge(row: dict[str, Any], node: str) -> Bridge:
    ports = words(row, "bridge_ports") or words(row, "ovs_ports")
    return Bridge(
        text(row, "iface"), node, tuple(port for port in ports if port != "none"), text(row, "cidr") or text(row, "address")
    )


def _interface(row: dict[str, Any]) -> Interface:
    """The keys are those of PVE's INotify.pm (libpve-common-perl), each of which may name other interfaces."""
    own = {text(row, f"cidr{v}") or text(row, f"address{v}") for v in ("", "6")}
    own |= {text(row, key) for key in ("gateway", "gateway6")}
    own |= {method for key in ("method", "method6") if (method := text(row, key)) not in ("manual", "static")}
    below = ("vlan-raw-device", "ovs_bridge", "vxlan-physdev", "slaves", "ovs_bonds")
    return Interface(
        name=text(row, "iface"),
        type=text(row, "type"),
        active=boolean(row, "active"),
        ports=tuple(port for key in ("bridge_ports", "ovs_ports") for port in words(row, key) if port != "none"),
        addresses=tuple(sorted(own - {""})),
        below=tuple(name for key in below for name in words(row, key)),
    )
