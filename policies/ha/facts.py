"""What was seen of a cluster's high availability at one moment, as frozen values. None, and a key
that is missing from a mapping of answers, mean that it could not be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from policies import reach
from policies.compliance.facts import ClusterJob, Gap, GuestFacts, Quorum
from policies.model import Guest, GuestType, Node, Storage
from policies.pve import texts

_TYPES = {"vm": GuestType.QEMU, "ct": GuestType.LXC}


@dataclass(frozen=True, slots=True)
class HaStatus:
    """What the HA stack says of itself (pve-facts 9.4).

    ``lrm`` is each node's own line, ``services`` sid to state, ``homes`` sid to node. ``stamps``
    are the times that each node wrote last (epoch seconds of its own clock), ``master_stamp`` the
    master's. ``armed`` is what the fencing entry says, "" where there is none. ``lrm_states`` and
    ``node_states`` are the manager's own words, without what PVE says of clocks.
    """

    quorate: bool | None = None
    master: str | None = None
    lrm: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)
    homes: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[str, int] = field(default_factory=dict)
    master_line: str = ""
    master_stamp: int | None = None
    armed: str = ""
    resource_mode: str = ""
    lrm_states: Mapping[str, str] = field(default_factory=dict)
    node_states: Mapping[str, str] = field(default_factory=dict)

    @property
    def drifting(self) -> tuple[str, ...]:
        """Nodes whose clock PVE's HA itself reports as drifting: it sees only one that is ahead
        (pve-facts 9.2).
        """
        return tuple(
            node for node, line in sorted(self.lrm.items()) if texts.CLOCK_DRIFT.search(line)
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """A guest under HA as it is configured. ``wanted`` is the state that is asked for; ``group``
    only where groups have not become rules. ``failback``: HA takes it back to a node that its rule
    prefers.
    """

    sid: str
    wanted: str = "started"
    group: str = ""
    max_restart: int = 1
    max_relocate: int = 1
    failback: bool = True

    @property
    def vmid(self) -> int | None:
        """Its VMID, None if its name holds none."""
        number = self.sid.partition(":")[2]
        # isdecimal alone takes the digits of every script, which PVE never writes
        return int(number) if number.isdecimal() and number.isascii() else None

    @property
    def type(self) -> GuestType | None:
        """The kind of guest that it is."""
        return _TYPES.get(self.sid.partition(":")[0])

    @property
    def left_alone(self) -> bool:
        """Whether HA is told to do nothing for it."""
        return self.wanted in ("ignored", "disabled")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of PVE 9: of resources to ``nodes`` (name to priority), or of resources to one another
    (``together``). ``errors``: PVE itself says that it is wrong, and does not follow it.
    """

    name: str
    resources: tuple[str, ...]
    nodes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    strict: bool = False
    together: bool | None = None
    enabled: bool = True
    errors: str = ""

    @property
    def followed(self) -> bool:
        """Whether PVE follows it."""
        return self.enabled and not self.errors


@dataclass(frozen=True, slots=True)
class Group:
    """A group of PVE 8: ``nodes`` (name to priority); ``restricted``: to those alone."""

    name: str
    nodes: Mapping[str, int]
    restricted: bool = False
    nofailback: bool = False


@dataclass(frozen=True, slots=True)
class Rebalancing:
    """Whether HA moves guests by itself (datacenter.cfg, ``crs``): ``mode`` is how it counts load,
    ``on_start`` when one is started, ``automatic`` at any time.
    """

    mode: str = "basic"
    on_start: bool = False
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class Replica:
    """A replication job of a guest. ``last_sync`` is the start of its last good run (epoch seconds
    of the guest's node), None if there was none; ``failures`` how often it has failed since.
    """

    job: str
    vmid: int
    target: str
    enabled: bool = True
    last_sync: int | None = None
    failures: int = 0
    error: str = ""


@dataclass(frozen=True)
class HaFacts:
    """What was seen at ``at`` (epoch seconds). ``offsets``: by how many seconds each node's clock
    is ahead of the service's. ``bridges`` by node, ``replicas`` by the node that runs the guest,
    ``configs`` and ``held`` (its archives) by VMID, ``files`` what a node lists on a storage that
    is its own, by node and storage. ``silent`` are nodes that were called online and did not
    answer, ``untold`` those that did not say their storages.
    """

    at: int
    nodes: tuple[Node, ...]
    resources: tuple[Resource, ...]
    guests: tuple[Guest, ...] = ()
    status: HaStatus | None = None
    quorum: Quorum | None = None
    votes: Mapping[str, int] | None = None
    members: Mapping[str, bool] | None = None
    rules: tuple[Rule, ...] | None = None
    groups: tuple[Group, ...] | None = None
    rebalancing: Rebalancing | None = None
    storages: tuple[Storage, ...] = ()
    untold: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    silent: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    offsets: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    bridges: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    replicas: Mapping[str, tuple[Replica, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    configs: Mapping[int, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    files: Mapping[tuple[str, str], frozenset[str]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    held: Mapping[int, GuestFacts] = field(default_factory=lambda: MappingProxyType({}))
    jobs: tuple[ClusterJob, ...] | None = None
    gaps: tuple[Gap, ...] = ()

    @cached_property
    def down(self) -> Mapping[str, str]:
        """The nodes that cannot be asked, each with how that is known."""
        return reach.down(self.nodes, self.silent)

    @cached_property
    def by_place(self) -> Mapping[tuple[str, str], Storage]:
        """Each storage as a node sees it, by node and name."""
        return {(one.node, one.name): one for one in self.storages}

    @cached_property
    def by_vmid(self) -> Mapping[int, Guest]:
        """The guests that the token sees."""
        return {guest.vmid: guest for guest in self.guests}

    def guest_of(self, resource: Resource) -> Guest | None:
        """Given a resource, return its guest, None where the cluster does not show one of its
        kind.
        """
        guest = self.by_vmid.get(resource.vmid) if resource.vmid is not None else None
        # a resource may outlive its guest: what has the VMID by now may be of the other kind
        return guest if guest and guest.type is resource.type else None

    def home_of(self, sid: str) -> str | None:
        """Given a resource's id, return the node that it is on, None if nobody says."""
        # HA's word first: it is what moves the guest, and cluster/resources lags (pve-facts 9.1)
        if self.status and self.status.homes.get(sid):
            return self.status.homes[sid]
        found = next((one for one in self.resources if one.sid == sid), None)
        guest = self.guest_of(found) if found else None
        return guest.node if guest else None

    @property
    def quorate(self) -> bool | None:
        """Whether the cluster has quorum: no, if one of the two that say it says no; a node that is
        alone says it through HA only.
        """
        told = {
            one.quorate for one in (self.quorum, self.status) if one and one.quorate is not None
        }
        return all(told) if told else None

    def node_time(self, node: str) -> int | None:
        """Given a node, return the time of its own clock, None if that was not read."""
        return self.at + self.offsets[node] if node in self.offsets else None
