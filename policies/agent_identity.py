"""Compare what a guest agent tells of its interfaces with the copy's MACs: PVE finds an agent by
its VMID alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from policies.model import PolicyError
from policies.pve import guest_config

_MAC = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}")
_NONE = "00:00:00:00:00:00"


def macs(config: Mapping[str, str]) -> tuple[str, ...]:
    """Given a VM's config, return the MACs of its NICs, in upper case."""
    found: set[str] = set()
    for _, value in guest_config.nics(config):
        try:
            nic = guest_config.parse_nic(value)
        except PolicyError:
            continue  # such a line starts no copy
        if nic.mac:
            found.add(nic.mac.upper())
    return tuple(sorted(found))


def told(interfaces: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Given what an agent answers to ``network-get-interfaces``, return the MACs in it, the
    loopback's left out.
    """
    found = {
        str(one.get("hardware-address", "")).upper()
        for one in interfaces
        if one.get("name") != "lo"
    }
    return tuple(sorted(mac for mac in found if _MAC.fullmatch(mac) and mac != _NONE))


def doubt(interfaces: Sequence[Mapping[str, object]], own: Collection[str]) -> str | None:
    """Given what an agent tells of its interfaces and the MACs of the copy's config, return why it
    is another machine's.

    A guest has more interfaces than NICs (bridges, tunnels, containers); but one that has none of
    its NICs is not this guest.
    """
    seen = told(interfaces)
    # an agent that tells of no MAC, or a copy without a NIC, is no contradiction
    if not seen or not own or set(seen) & {mac.upper() for mac in own}:
        return None
    return (
        f"the agent tells of {', '.join(seen)}, and none of these is a MAC of the copy "
        f"({', '.join(sorted(own))})"
    )
