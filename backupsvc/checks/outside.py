"""The way to a guest's service from this machine, as its users have it: plain TCP, by no probe."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

_ARP = Path("/proc/net/arp")
_NOBODY = "00:00:00:00:00:00"


def connector(routes: Mapping[str, str]) -> Callable[[str, int, float], socket.socket]:
    """Given where addresses are reached that are not reached as they are (``ADDRESS:PORT`` or
    ``ADDRESS`` -> ``HOST:PORT`` or ``HOST``), return what connects to address, port, with a timeout
    in seconds. It raises OSError.
    """

    def connect(address: str, port: int, timeout: float) -> socket.socket:
        found = routes.get(f"{address}:{port}") or routes.get(address) or address
        # a host alone has no colon, an IPv6 address has several
        if found.count(":") == 1:
            host, _, number = found.partition(":")
            return socket.create_connection((host, int(number)), timeout)
        return socket.create_connection((found, port), timeout)

    return connect


def neighbour(routes: Mapping[str, str], address: str) -> str | None:
    """Given an address that was just spoken to, return the hardware address behind it, None where
    that is a router's or not known (Linux' table of neighbours, IPv4 alone).
    """
    # behind a forwarded port stands the one who forwards
    if any(key.partition(":")[0] == address for key in routes):
        return None
    try:
        lines = _ARP.read_text(encoding="ascii").splitlines()[1:]
    except (OSError, UnicodeDecodeError):
        return None
    for fields in (line.split() for line in lines):
        if len(fields) > 3 and fields[0] == address and fields[3] != _NOBODY:
            return fields[3].lower()
    return None
