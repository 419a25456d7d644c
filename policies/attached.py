"""Find guests other than copies and probes on the bridge of the copies (law 2). Nobody else may be
there.

A production firewall with a leg there is the commonest way out of a bridge that has no port. What
counts is what a guest's config says now and what it says once its pending changes are in force; a
guest that is switched off may be switched on at any moment.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from policies import ownership
from policies.model import Scratch
from policies.pve import guest_config, property_string
from policies.pve.privileges import privileges

# words for QEMU and LXC themselves, which may name a bridge in any form
_RAW = frozenset({"args", "lxc"})
_WORD = re.compile(r"[\w.-]+")
# PVE names a guest's end on a bridge after its VMID (pve-common PVE/Network.pm): tap, veth of a
# container, fwpr with a firewall
_PORT = re.compile(r"(?:tap|veth)(?P<vmid>\d+)i\d+|fwpr(?P<behind>\d+)p\d+")


@dataclass(frozen=True, slots=True)
class Card:
    """A guest of a node with the options of its config that may join it to a bridge, each as it is
    and as it will be.

    ``marked``: its description bears the marker of a restore test's copy.
    """

    vmid: int
    name: str
    options: tuple[tuple[str, str], ...] = ()
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a node's own kernel says of a bridge's ports; ``ports`` None if it could not be asked,
    and ``said`` is why.

    ``missing``: the kernel was asked, and has no such bridge.
    """

    ports: tuple[str, ...] | None
    said: str = ""
    missing: bool = False


def card(vmid: int, name: str, options: Iterable[tuple[str, str]]) -> Card:
    """Given a guest's options, present and pending, return what of them matters to a bridge."""
    given = tuple(options)
    kept = tuple((key, value) for key, value in given if guest_config.is_nic(key) or key in _RAW)
    return Card(vmid, name, kept, any(ownership.operation_of({key: value}) for key, value in given))


def strangers(
    cards: Iterable[Card],
    node: str,
    bridge: str,
    *,
    scratch: Scratch,
    probes: Collection[int],
    permissions: Mapping[str, frozenset[str]],
) -> tuple[str, ...]:
    """Given the guests of a node, return a sentence for each that has a NIC on the bridge and is no
    copy and no probe.

    The marker alone makes no copy: anybody may write it, and a clone of a copy bears it. A copy has
    all its NICs on the bridge. Without VM.Audit on /vms guests are left out of every list, so that
    is a sentence too.
    """
    found = []
    if "VM.Audit" not in privileges(permissions, "/vms"):
        why = "the token lacks VM.Audit on /vms, without which guests are left out"
        found.append(f"who else is on the bridge on {node} cannot be seen: {why}")
    for one in cards:
        keys = [key for key, value in one.options if _joins(key, value, bridge)]
        # A NIC without any bridge leads out through the node itself, and raw words may lead
        # anywhere.
        elsewhere = [
            key for key, value in one.options if key in _RAW or not _joins(key, value, bridge)
        ]
        if (
            keys
            and one.vmid not in probes
            and (one.vmid not in scratch or not one.marked or elsewhere)
        ):
            who = f"guest {one.vmid} ({one.name})" if one.name else f"guest {one.vmid}"
            more = (
                f", and leads elsewhere by its {', '.join(dict.fromkeys(elsewhere))}"
                if elsewhere
                else ""
            )
            found.append(
                f"{who} on {node} is on bridge {bridge} too, by its "
                f"{', '.join(dict.fromkeys(keys))}{more}"
            )
    return tuple(found)


def _joins(key: str, value: str, bridge: str) -> bool:
    if key in _RAW:
        return bridge in _WORD.findall(value)
    return bridge in property_string.every(value, "bridge")


def foreign_ports(
    kernel: Kernel, node: str, bridge: str, known: Collection[int]
) -> tuple[str, ...]:
    """Given what a node's kernel says of the bridge, return a sentence for what speaks against it.

    ``known`` are the VMIDs that may be there: the copies and the probes. What could not be asked
    speaks neither way.
    """
    if kernel.missing:
        return (f"the kernel of {node} has no bridge {bridge}",)
    foreign = []
    for port in kernel.ports or ():
        guests = _PORT.fullmatch(port)
        vmid = int(guests["vmid"] or guests["behind"]) if guests else None
        if vmid not in known:
            foreign.append(port)
    return (
        (f"by the kernel of {node}, bridge {bridge} has the ports {', '.join(foreign)}",)
        if foreign
        else ()
    )
