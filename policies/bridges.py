"""Choose the bridge that a copy's NICs hang on, link down, when the policy names no isolated
bridge.

PVE checks SDN.Use on every bridge of a restored config (PVE 8 and later), and it wants a bridge
even for a NIC whose
link is down, one that the node has: else the copy does not start. So a token that may not use
production bridges, as it should be, needs one bridge of its own that leads nowhere (law 2): it is
the one that ``doctor --role`` prints the right for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from policies.model import Scratch
from policies.pve import guest_config
from policies.pve.privileges import LOCAL_ZONE, privileges

OWN = "vmbr9"  # the name that is proposed for it


def usable(
    config: Mapping[str, str], scratch: Scratch, permissions: Mapping[str, frozenset[str]]
) -> Scratch:
    """Given an archived config, the scratch policy and what the token may do, return the scratch
    policy with a bridge to use.

    Unchanged when the policy names one, when the token may use every bridge of the archive, or when
    it may use none at all (see ``lacking``). Only for copies whose links are down.
    """
    if scratch.bridge or not _forbidden(config, permissions):
        return scratch
    return replace(scratch, bridge=own(permissions))


def lacking(
    config: Mapping[str, str], scratch: Scratch, permissions: Mapping[str, frozenset[str]]
) -> tuple[str, ...]:
    """Given the same, return the archive's bridges that the token may not use where it may use no
    other; () if all is well.
    """
    # by any of the two a copy can hang on a bridge for copies alone, whatever the archive names
    if scratch.bridge or own(permissions):
        return ()
    return tuple(filter(None, _forbidden(config, permissions)))


def own(permissions: Mapping[str, frozenset[str]]) -> str | None:
    """Given what a token may do, return the bridge that an ACL of its own lets it use, the first by
    name, or None.
    """
    named = sorted(
        path
        for path, held in permissions.items()
        if path.startswith(f"{LOCAL_ZONE}/") and "SDN.Use" in held
    )
    # an ACL may end in a VLAN of the bridge: BRIDGE/TAG
    return named[0].removeprefix(f"{LOCAL_ZONE}/").split("/")[0] if named else None


def to_make(name: str) -> str:
    """Given a bridge's name, return the command that makes it on a node, without port or
    address.
    """
    return (
        f"pvesh create /nodes/NODE/network --iface {name} --type bridge --autostart 1 && pvesh "
        "set /nodes/NODE/network"
    )


def way_out(name: str, nodes: Collection[str] = ()) -> str:
    """Given the name of a bridge for copies and the nodes that lack it, return the next action,
    which keeps law 2's wall.
    """
    where = ", ".join(sorted(nodes)) or "every node"
    return (
        f"make {name} on {where}, a bridge for copies alone, without port or address "
        f"({to_make(name)}), and let the token use it and no other: `backupsvc doctor --role "
        f"--bridge {name}` prints the commands"
    )


def free_name(taken: Collection[str]) -> str:
    """Given the bridges of all nodes, return a name that none of them has."""
    return next(
        name
        for name in (OWN, *(f"vmbr{number}" for number in range(90, 1000)))
        if name not in taken
    )


def _forbidden(
    config: Mapping[str, str], permissions: Mapping[str, frozenset[str]]
) -> tuple[str, ...]:
    """The archive's bridges that the token may not use; "" stands for a NIC that is on none."""
    wanted = {guest_config.parse_nic(value).bridge or "" for _, value in guest_config.nics(config)}
    return tuple(
        bridge
        for bridge in sorted(wanted)
        if not bridge or "SDN.Use" not in privileges(permissions, f"{LOCAL_ZONE}/{bridge}")
    )
