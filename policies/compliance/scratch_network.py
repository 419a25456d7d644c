"""Find what lets copies meet production: ports of the isolated bridge, and other bridges that the
token may join (law 2).

Two walls: the bridge leads nowhere, and PVE itself refuses the token any other bridge (SDN.Use,
checked by PVE 8 and later).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from policies import bridges
from policies.compliance.facts import SiteFacts
from policies.model import Scratch
from policies.pve.privileges import LOCAL_ZONE, privileges


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which the scratch network is open. ``kind`` is the variant of the finding,
    ``values`` fill its sentence.
    """

    kind: str
    subject: str
    values: Mapping[str, object] = field(default_factory=dict)


def scratch_network(facts: SiteFacts, scratch: Scratch) -> Iterator[Fault]:
    """Given facts and the policy's scratch section, yield what is wrong; nothing about what could
    not be read (see the gaps).
    """
    if scratch.bridge is None:
        yield Fault("none", "scratch")
    elif facts.bridges is not None:
        name = scratch.bridge
        ours = [bridge for bridge in facts.bridges if bridge.name == name]
        read = {bridge.node for bridge in facts.bridges} | {
            node.name for node in facts.nodes if node.online
        } - _unread(facts)
        # a node whose bridges could not be read is in the gaps, and not called without one
        if missing := sorted(read - {bridge.node for bridge in ours}):
            yield Fault("missing", name, {"bridge": name, "nodes": ", ".join(missing)})
        for one in ours:
            there = {"bridge": name, "node": one.node}
            if one.ports:
                yield Fault("ports", name, {**there, "ports": ", ".join(one.ports)})
            if one.address:
                yield Fault("address", name, {**there, "address": one.address})
    if facts.permissions is not None and (
        open_to := _production(facts, scratch, facts.permissions)
    ):
        yield Fault("token", "token", {"bridges": ", ".join(open_to)})


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why no copy of a guest with a NIC can be restored or started: what is seen, the next action,
    and doctor's exit code.
    """

    detail: str
    action: str
    exit_code: int


def linked_down(facts: SiteFacts) -> Iterator[Unusable]:
    """Given facts of a site whose policy names no isolated bridge, yield why copies could not even
    hang on one, links down.
    """
    if facts.bridges is None or facts.permissions is None:
        return
    name, taken = bridges.own(facts.permissions), {bridge.name for bridge in facts.bridges}
    if name is None:
        if "SDN.Use" not in privileges(facts.permissions, LOCAL_ZONE):
            text = (
                "the token may use no bridge, so that no guest with a NIC can be proven: PVE "
                "wants one even with the link down"
            )
            yield Unusable(text, bridges.way_out(bridges.free_name(taken)), 4)
        return
    has = {bridge.node for bridge in facts.bridges if bridge.name == name}
    read = {node.name for node in facts.nodes if node.online} - _unread(facts)
    if lacking := sorted(read - has):
        text = (
            f"the bridge {name}, on which copies hang with their links down, does not exist on "
            f"{', '.join(lacking)}"
        )
        yield Unusable(text, bridges.way_out(name, lacking), 1)


def _unread(facts: SiteFacts) -> set[str]:
    return {gap.subject for gap in facts.gaps if gap.kind == "bridges"}


def _production(
    facts: SiteFacts, scratch: Scratch, permissions: Mapping[str, frozenset[str]]
) -> list[str]:
    """The networks other than the isolated bridge that the token may put a NIC on.

    Bridges by their names on the nodes, and every bridge, VLAN of a bridge or SDN vnet that an ACL
    of its own names.
    """
    known = {f"{LOCAL_ZONE}/{bridge.name}" for bridge in facts.bridges or ()}
    mine = scratch.bridge
    if not mine and facts.bridges is not None:
        # Then copies hang on this one with their links down; it is theirs only if it leads nowhere.
        own = bridges.own(permissions)
        leads = any(one.name == own and (one.ports or one.address) for one in facts.bridges)
        mine = None if leads else own
    named = {
        path for path in permissions if path.startswith("/sdn/zones/") and path.count("/") >= 4
    }
    ours = f"{LOCAL_ZONE}/{mine}"
    others = {path for path in known | named if path != ours and not path.startswith(f"{ours}/")}
    # a right on the zone alone is named as such where no bridge is known by name
    wide = {
        path for path in (LOCAL_ZONE, "/sdn/zones") if "SDN.Use" in privileges(permissions, path)
    }
    found = {path for path in others if "SDN.Use" in privileges(permissions, path)}
    return sorted(
        path.removeprefix(f"{LOCAL_ZONE}/").removeprefix("/sdn/zones/") for path in found
    ) or sorted(wide)
