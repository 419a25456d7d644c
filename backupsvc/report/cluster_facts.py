"""What the nodes of a cluster tell of themselves: their clocks and their bridges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backupsvc.report.gaps import Gaps, bound
from policies.compliance.facts import BridgeFacts, Clocks
from policies.model import Node

if TYPE_CHECKING:
    from backupsvc.pve import Pve


def clocks_of(pve: Pve, nodes: Sequence[Node], gaps: Gaps) -> Clocks:
    """Given the nodes, return by how many seconds their clocks are off, and where HA's own does not
    keep up.
    """
    offsets = gaps.ask("clocks", "", pve.cluster.clock_offsets)
    for node in nodes if offsets is not None else ():
        if node.online and node.name not in (offsets or {}):
            gaps.note("clock", node.name, "the node did not answer")
    # HA speaks of clocks also where none could be measured
    ha = gaps.ask("ha", "", pve.ha.status)
    drifting = [f"{node}: {ha.lrm[node]}" for node in ha.drifting] if ha else []
    return Clocks(
        {node: round(offset) for node, offset in (offsets or {}).items()}, tuple(drifting)
    )


def bridges_of(pve: Pve, nodes: Sequence[Node], gaps: Gaps) -> tuple[BridgeFacts, ...] | None:
    """Given the nodes, return the bridges of those that answer, None if none did."""
    found: list[BridgeFacts] = []
    answered = False
    for node in nodes:
        question = bound(pve.cluster.bridges, node.name)
        bridges = gaps.ask("bridges", node.name, question, node.name) if node.online else None
        answered = answered or bridges is not None
        found += [
            BridgeFacts(item.name, item.node, tuple(item.ports), item.address or None)
            for item in bridges or ()
        ]
    # none where nobody answered: an empty tuple would say that no node has a bridge
    return tuple(found) if answered else None
