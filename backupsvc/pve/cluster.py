"""The cluster as a whole: who is in it, what may be done, its jobs, clocks and bridges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backupsvc.clock import Clock
from backupsvc.errors import PveError, PveUnreachable
from backupsvc.pve.client import Client
from backupsvc.pve.fields import Row
from backupsvc.pve.ha import HighAvailability
from backupsvc.pve.nodes import Nodes
from policies.bridge_isolation import Interface, NodeNetwork
from policies.compliance.facts import ClusterJob
from policies.model import Guest, GuestType, Node
from policies.pve import texts

_BRIDGES = frozenset({"bridge", "OVSBridge"})


@dataclass(frozen=True, slots=True)
class Version:
    """What answers: release ``9.2``, version ``9.2.11``; ``simulated`` if it says itself that its
    guests are only modelled.
    """

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
    """The cluster's name and quorum; a single node without cluster has its own name and quorate
    None.
    """

    name: str
    quorate: bool | None
    nodes: tuple[ClusterNode, ...]


@dataclass(frozen=True, slots=True)
class PveJob:
    """A backup job that PVE itself runs. ``guests`` is empty when ``all`` or ``pool`` says whom it
    backs up.
    """

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
        """Given the cluster's guests, return the job as decisions want it, with its pool's members
        by name.
        """
        members = (
            tuple(guest.vmid for guest in guests if guest.pool == self.pool)
            if self.pool
            else self.guests
        )
        whom = None if self.all else members
        return ClusterJob(
            self.id, self.enabled, self.node, self.storage, whom, self.exclude, self.schedule
        )


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge of a node. ``ports`` are the interfaces it is tied to: none means that it leads
    nowhere.
    """

    name: str
    node: str
    ports: tuple[str, ...] = ()
    address: str = ""


class Cluster:
    """Questions to the cluster; nothing here changes anything."""

    def __init__(self, client: Client, clock: Clock, nodes: Nodes | None = None) -> None:
        self._client, self._clock = client, clock
        self._nodes = nodes or Nodes(client, clock)
        self._guests: tuple[float, list[Guest]] | None = None
        self._jobs: tuple[float, list[PveJob]] | None = None

    def version(self) -> Version:
        """Return what answers. The first call of every command: it shows whether host, certificate
        and token are right.
        """
        data = self._client.get("version").row()
        return Version(
            data.need_text("release"), data.need_text("version"), data.boolean("simulated")
        )

    def guests(self, max_age: float = 0.0) -> list[Guest]:
        """Return every guest that the token may see, by VMID. States lag by some seconds (pve-facts
        9.1).

        An answer that is younger than ``max_age`` seconds serves again, so that the cluster is
        asked once for all its guests.
        """
        now = self._clock.monotonic()
        if self._guests is None or now - self._guests[0] >= max_age:
            rows = self._client.get("cluster/resources", {"type": "vm"}).rows()
            found = [
                Guest(
                    vmid=row.need_integer("vmid"),
                    name=row.text("name"),
                    node=row.need_text("node"),
                    type=GuestType(row.text("type")),
                    status=row.text("status") or "unknown",
                    template=row.boolean("template"),
                    tags=row.words("tags"),
                    max_memory=row.integer("maxmem"),
                    max_disk=row.integer("maxdisk"),
                    ha_state=row.text("hastate") or None,
                    pool=row.text("pool") or None,
                    lock=row.text("lock") or None,
                )
                for row in rows
                # a newer PVE may list kinds of guests that nothing here understands
                if row.need_text("type") in ("qemu", "lxc")
            ]
            self._guests = (now, sorted(found, key=lambda guest: guest.vmid))
        return list(self._guests[1])

    def nodes(self, max_age: float = 0.0) -> list[Node]:
        """Return the nodes, each of unknown status asked itself; an answer younger than ``max_age``
        seconds serves again.
        """
        return self._nodes.all(max_age)

    def answers(self, node: str) -> bool:
        """Given a node, return whether it answers at all; it is asked at most once in a minute."""
        return self._nodes.answers(node)

    def status(self) -> ClusterStatus:
        """Return quorum and members. Raise PvePermissionDenied without Sys.Audit on /."""
        rows = self._client.get("cluster/status").rows()
        nodes = tuple(
            ClusterNode(
                row.need_text("name"), row.integer("nodeid"), row.text("ip"), row.boolean("online")
            )
            for row in rows
            if row.need_text("type") == "node"
        )
        for row in rows:
            if row.text("type") == "cluster":
                quorate = row.boolean("quorate")
                if quorate:  # a part of the cluster that lost the others knows nothing of them
                    self._nodes.told({node.name: node.online for node in nodes})
                return ClusterStatus(row.text("name"), quorate, nodes)
        return ClusterStatus(nodes[0].name if nodes else "", None, nodes)

    def vmid_free(self, vmid: int) -> bool:
        """Given a VMID, return whether no guest of the cluster has it at this moment; nothing is
        reserved.
        """
        try:
            # one node's own list of guests does not know the others' (pve-facts 8.3)
            self._client.get("cluster/nextid", {"vmid": vmid})
        except PveError as error:
            # any other refusal does not say that the VMID is taken, nor that it is free
            if texts.VMID_TAKEN.search(error.errors.get("vmid", "")):
                return False
            raise
        return True

    def permissions(self) -> dict[str, frozenset[str]]:
        """Return what the token may do, by path. PVE answers whether each propagates: having the
        key is having it.
        """
        # what pools give, and what does not propagate, is not in it: permissions_at asks for that
        found = self._client.get("access/permissions").row()
        return {path: frozenset(found.row(path).names()) for path in found.names()}

    def permissions_at(self, path: str) -> frozenset[str]:
        """Given an ACL path, return what the token may do just there, as PVE itself counts pools
        and what does not propagate.
        """
        found = self._client.get("access/permissions", {"path": path}).row().row_if_any(path)
        return frozenset(found.names() if found else ())

    def jobs(self, max_age: float = 0.0) -> list[PveJob]:
        """Return PVE's own backup jobs. Raise PvePermissionDenied without Sys.Audit on /.

        An answer that is younger than ``max_age`` seconds serves again.
        """
        now = self._clock.monotonic()
        if self._jobs is None or now - self._jobs[0] >= max_age:
            found = [
                PveJob(
                    id=row.need_text("id"),
                    enabled=row.boolean("enabled", default=True),
                    schedule=row.text("schedule"),
                    storage=row.text("storage"),
                    node=row.text("node") or None,
                    guests=_vmids(row, "vmid"),
                    all=row.boolean("all"),
                    exclude=_vmids(row, "exclude"),
                    pool=row.text("pool") or None,
                    mode=row.text("mode"),
                    compress=row.text("compress"),
                    prune=row.properties("prune-backups"),
                    comment=row.text("comment"),
                    next_run=row.integer("next-run") or None,
                )
                for row in self._client.get("cluster/backup").rows()
            ]
            self._jobs = (now, found)
        return list(self._jobs[1])

    def clock_offsets(self) -> dict[str, float]:
        """Return how far each online node's clock is ahead of this machine's, in seconds, good to
        about one second.
        """
        offsets: dict[str, float] = {}
        for node in self.nodes():
            if node.online:
                asked = self._clock.now()
                try:
                    time = self._client.get(f"nodes/{node.name}/time").row().need_integer("time")
                except PveUnreachable:
                    continue  # it died between the two calls; its absence is the answer
                # it was read somewhere between question and answer: half-way is off by the least
                offsets[node.name] = time - (asked + self._clock.now()) / 2
        return offsets

    def bridges(self, node: str) -> list[Bridge]:
        """Given a node, return its bridges, with the interfaces each is tied to."""
        rows = self._client.get(f"nodes/{node}/network").rows()
        return [
            Bridge(
                row.need_text("iface"),
                node,
                tuple(
                    port
                    for port in row.words("bridge_ports") or row.words("ovs_ports")
                    if port != "none"
                ),
                row.text("cidr") or row.text("address"),
            )
            for row in rows
            if row.text("type") in _BRIDGES
        ]

    def bridge_names(self, node: str) -> set[str]:
        """Given a node, return the names of what a NIC can be put onto there: its bridges, and the
        networks of the SDN that the token may use.
        """
        # the plain list leaves out every VNet (pve-facts 9.7)
        rows = self._client.get(f"nodes/{node}/network", {"type": "any_bridge"}).rows()
        return {one.name for one in self.bridges(node)} | {row.need_text("iface") for row in rows}

    def network(self, node: str) -> NodeNetwork:
        """Given a node, return what it says of its interfaces at this moment, and whether changes
        to them are pending.
        """
        answer = self._client.get(f"nodes/{node}/network")
        interfaces = []
        # the keys are those of PVE's INotify.pm (libpve-common-perl), each of which may name others
        below = ("vlan-raw-device", "ovs_bridge", "vxlan-physdev", "slaves", "ovs_bonds")
        for row in answer.rows():
            own = {row.text(f"cidr{v}") or row.text(f"address{v}") for v in ("", "6")}
            own |= {row.text(key) for key in ("gateway", "gateway6")}
            own |= {row.text(key) for key in ("method", "method6")} - {"manual", "static"}
            interface = Interface(
                name=row.need_text("iface"),
                type=row.text("type"),
                active=row.boolean("active"),
                ports=tuple(
                    port
                    for key in ("bridge_ports", "ovs_ports")
                    for port in row.words(key)
                    if port != "none"
                ),
                addresses=tuple(sorted(own - {""})),
                below=tuple(name for key in below for name in row.words(key)),
            )
            interfaces.append(interface)
        return NodeNetwork(node, tuple(interfaces), bool(answer.beside.get("changes")))

    def ha_resources(self) -> set[str]:
        """Return the ids of what HA manages, like ``vm:108``. Raise PvePermissionDenied without
        Sys.Audit on /.
        """
        return {one.sid for one in HighAvailability(self._client).resources()}


def _vmids(row: Row, key: str) -> tuple[int, ...]:
    """PVE keeps the list as it was typed: ``100;200``, ``100,,200`` (pve-facts 4.1)."""
    return tuple(int(word) for word in row.words(key) if word.isdigit())
