"""The addresses that cloud-init gives a guest (``ipconfig0: ip=192.168.10.8/24,gw=192.168.10.1``)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from policies.model import PolicyError
from policies.pve import property_string

_KEY = re.compile(r"ipconfig\d+")


def addresses(config: Mapping[str, str]) -> tuple[str, ...]:
    """Given a VM's config, return the fixed addresses that cloud-init gives it, by key. One that comes
    by DHCP or from a router stands nowhere in it, and a line that cannot be read gives none.
    """
    found = []
    for key in sorted(filter(_KEY.fullmatch, config)):
        try:
            options = property_string.parse(config[key])
        except PolicyError:
            continue
        for name in ("ip", "ip6"):
            try:
                # an interface, not an address: it is written with its prefix
                found.append(str(ipaddress.ip_interface(options.get(name, "")).ip))
            except ValueError:  # dhcp, auto, manual or nothing
                continue
    return tuple(dict.fromkeys(found))
