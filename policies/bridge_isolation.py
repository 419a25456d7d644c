"""Judge whether the bridge of the copies leads nowhere, by what its own node says of it at this
moment (law 2).

What cannot be known counts against it: an answer with pending edits shows the file and not what is
in force, and without Sys.Audit on / the node leaves interfaces out of its list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.pve.privileges import privileges

_BRIDGE = "bridge"
_LEAVES = {  # what may leave the node without any port that PVE shows
    "OVSBridge": "Open vSwitch joins nodes by tunnels that PVE does not list",
    "vnet": "a network of the SDN may span nodes",
}


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of a node. ``ports`` are the interfaces that it joins, ``below`` those that it
    is stacked on.

    ``addresses`` are the node's own on it, with gateways, and ``dhcp`` and the like if it gets one
    by itself.
    """

    name: str
    type: str
    active: bool
    ports: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    below: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """What a node answers about its network. ``pending`` if the answer carries changes that are not
    in force yet.
    """

    node: str
    interfaces: tuple[Interface, ...]
    pending: bool = False


def openings(
    network: NodeNetwork, bridge: str, permissions: Mapping[str, frozenset[str]]
) -> tuple[str, ...]:
    """Given a node's network, the name of a bridge and what the token may do, return a sentence for
    each way out of it.

    Nothing returned means: it is there and active, has no port and no address, and nothing is
    stacked on it.
    """
    node = network.node
    said: list[str] = []
    if "Sys.Audit" not in privileges(permissions, "/"):
        said.append(
            f"what joins {bridge} on {node} cannot be seen: the token lacks Sys.Audit on /, without "
            "which interfaces are left out"
        )
    # one change anywhere suffices: PVE tells pending changes of the node, not of a bridge
    if network.pending:
        said.append(
            f"the network of {node} has pending changes, so what it tells of {bridge} may not be "
            "what is in force"
        )
    found = next((item for item in network.interfaces if item.name == bridge), None)
    if found is None:
        return (*said, f"{node} has no bridge {bridge}")
    if found.type != _BRIDGE:
        why = f": {_LEAVES[found.type]}" if found.type in _LEAVES else ""
        said.append(
            f"{bridge} on {node} is no Linux bridge of the node itself but of type "
            f"{found.type or 'unknown'}{why}"
        )
    if not found.active:
        said.append(f"bridge {bridge} on {node} is not active")
    if found.ports:
        said.append(f"bridge {bridge} on {node} has the ports {', '.join(found.ports)}")
    if found.addresses:
        said.append(
            f"{node} itself has an address on bridge {bridge}: {', '.join(found.addresses)}"
        )
    # on the bridge itself or on a VLAN of it (vmbr9.5); an alias (vmbr9:1) is one too
    on_it = (f"{bridge}.", f"{bridge}:")
    if stacked := sorted(
        item.name
        for item in network.interfaces
        if item.name != bridge
        and any(
            one == bridge or one.startswith(on_it) for one in (item.name, *item.ports, *item.below)
        )
    ):
        said.append(
            f"on {node} other interfaces are stacked on bridge {bridge}: {', '.join(stacked)}"
        )
    return tuple(said)
