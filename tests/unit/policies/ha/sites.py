"""A site on which HA works: three nodes, and a guest whose disk lies on a shared storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from policies.compliance.facts import GuestFacts, Quorum
from policies.ha.facts import HaFacts, HaStatus, Rebalancing, Resource
from policies.ha.resources import ResourceStatus
from policies.ha.status import HaReport, decide
from policies.model import Guest, GuestType, Node, Storage
from tests.unit.report.langeo import GIB, NIGHTS, NOW, archive, policy

NODES = ("clovis", "lge-pve02", "third")
CONFIG = {
    "name": "Debian-Server",
    "memory": "2048",
    "scsi0": "nas:vm-108-disk-0,size=16G",
    "ide2": "none,media=cdrom",
    "net0": "virtio=BC:24:11:00:00:08,bridge=vmbr0",
}
BRIDGES = dict.fromkeys(NODES, frozenset({"vmbr0"}))


def line(node: str, word: str = "active") -> str:
    """What HA says of a node."""
    return f"{node} ({word}, watchdog active, Tue Mar 10 09:00:00 2026)"


def status(**changes: Any) -> HaStatus:
    """HA at work, with the master on the second node."""
    whole = HaStatus(
        quorate=True,
        master="lge-pve02",
        lrm={node: line(node) for node in NODES},
        services={"vm:108": "started"},
        homes={"vm:108": "clovis"},
        stamps=dict.fromkeys(NODES, NOW - 4),
        master_line=line("lge-pve02"),
        master_stamp=NOW - 4,
        armed="armed",
        lrm_states=dict.fromkeys(NODES, "active"),
        node_states=dict.fromkeys(NODES, "online"),
    )
    return replace(whole, **changes)


def guest(vmid: int = 108, node: str = "clovis", **changes: Any) -> Guest:
    """A running guest of 2 GiB."""
    whole = Guest(vmid, f"guest-{vmid}", node, status="running", max_memory=2 * GIB)
    return replace(whole, **changes)


def stored(name: str, node: str, **changes: Any) -> Storage:
    """A storage of a node."""
    whole = Storage(name, node, "dir", frozenset({"images", "iso", "backup"}))
    return replace(whole, **changes)


def site(**changes: Any) -> HaFacts:
    """The site; ``changes`` replace what was seen."""
    whole = HaFacts(
        NOW,
        tuple(Node(name, True, 32 * GIB, 8 * GIB, 8) for name in NODES),
        (Resource("vm:108"),),
        (guest(),),
        status(),
        Quorum(clustered=True, votes=3, quorate=True),
        dict.fromkeys(NODES, 1),
        dict.fromkeys(NODES, True),
        rules=(),
        groups=(),
        rebalancing=Rebalancing(),
        storages=tuple(
            stored(name, node, shared=name == "nas")
            for node in NODES
            for name in ("local", "local-lvm", "nas")
        ),
        offsets=dict.fromkeys(NODES, 0),
        bridges=BRIDGES,
        replicas=dict.fromkeys(NODES, ()),
        configs={108: CONFIG},
        held={
            108: GuestFacts(108, "guest-108", guest(), archives=(archive(108, NIGHTS[0], "third"),))
        },
        jobs=(),
    )
    return replace(whole, **changes)


def configured(facts: HaFacts | None = None, **lines: str | None) -> HaFacts:
    """The site with lines of the guest's configuration replaced; None takes one out."""
    facts = facts or site()
    config = {**facts.configs[108], **lines}
    return replace(
        facts, configs={108: {key: value for key, value in config.items() if value is not None}}
    )


def local(**changes: Any) -> HaFacts:
    """The site with the guest's disk on a storage that is each node's own."""
    return replace(configured(scsi0="local-lvm:vm-108-disk-0,size=16G"), **changes)


def container(config: Mapping[str, str], **changes: Any) -> HaFacts:
    """The site with a container in the place of the guest."""
    return site(
        resources=(Resource("ct:108"),),
        guests=(guest(type=GuestType.LXC),),
        configs={108: config},
        status=status(services={"ct:108": "started"}, homes={"ct:108": "clovis"}),
        **changes,
    )


def report(facts: HaFacts, **changes: Any) -> HaReport:
    """What is said of it under the reference policy."""
    return decide(facts, policy(**changes))


def only(facts: HaFacts, **changes: Any) -> ResourceStatus:
    """What is said of the one resource."""
    (found,) = report(facts, **changes).resources
    return found


def of(facts: HaFacts, sid: str) -> ResourceStatus:
    """What is said of one resource."""
    return next(one for one in report(facts).resources if one.sid == sid)
