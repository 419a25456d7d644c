"""Which bridge a copy's NICs hang on, link down, when the policy names no isolated bridge.

PVE checks SDN.Use on every bridge of a restored config (PVE 8 and later), and it wants a bridge even for a NIC whose
link is down. So a token that may not use production bridges, as it should be, can restore only onto a bridge that it may use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from policies.isolation import parse_nic
from policies.model import Scratch
from policies.privileges import LOCAL_ZONE, privileges


def usable(config: Mapping[str, str], scratch: Scratch, permissions: Mapping[str, frozenset[str]]) -> Scratch:
    """Given an archived config, the scratch policy and what the token may do, return the scratch policy with a bridge to use.

    Unchanged when the policy names one, when the token may use every bridge of the archive, or when it may use none at all (PVE
    then refuses the restore and says which privilege is missing). Only for copies whose links are down.
    """
    if scratch.bridge:
        return scratch
    wanted = {parse_nic(value).bridge for key, value in config.items() if key.startswith("net") and key[3:].isdigit()}
    if all("SDN.Use" in privileges(permissions, f"{LOCAL_ZONE}/{bridge}") for bridge in wanted):
        return scratch
    named = sorted(path for path, held in permissions.items() if path.startswith(f"{LOCAL_ZONE}/") and "SDN.Use" in held)
    return replace(scratch, bridge=named[0].removeprefix(f"{LOCAL_ZONE}/").split("/")[0]) if named else scratch
