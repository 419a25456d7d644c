"""Mount points and NICs in a container's configuration (pve-container PVE/LXC/Config.pm)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pvelab.guests.devices import parse_size, random_mac

MOUNT = re.compile(r"rootfs|mp\d+")
NET = re.compile(r"net\d+")
_MAC = re.compile(r"(?i)[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class Mount:
    """A mount point: its key (``rootfs``, ``mp0``), what is mounted, and the other properties."""

    key: str
    volume: str
    properties: Mapping[str, str]

    @property
    def path(self) -> str:
        """Where it is mounted in the container."""
        return "/" if self.key == "rootfs" else self.properties.get("mp", "")

    @property
    def kind(self) -> str:
        """What PVE calls its type: ``volume``, or ``bind`` and ``device`` for what belongs to the
        host.
        """
        if self.volume.startswith("/dev/"):
            return "device"
        return "bind" if self.volume.startswith("/") else "volume"

    @property
    def left_out(self) -> str | None:
        """Why vzdump leaves it out, None if it does not: only the root, and volumes that ask for
        it, are backed up.
        """
        if self.kind != "volume":
            return "not a volume"
        # the other way round than with a VM's disks, which are in unless they opt out
        if self.key == "rootfs" or self.properties.get("backup", "0") in ("1", "yes", "on", "true"):
            return None
        return "disabled"

    @property
    def reason(self) -> str:
        """Why it is in a backup or not, in PVE's words."""
        return self.left_out or ("rootfs" if self.key == "rootfs" else "enabled")

    @property
    def size(self) -> int:
        """Its configured size in bytes, 0 when none stands there."""
        return parse_size(self.properties.get("size", "0"))

    def text(self) -> str:
        """Return it as a property string, its size last as PVE writes it."""
        rest = sorted(self.properties.items(), key=lambda item: (item[0] == "size", item[0]))
        return ",".join([self.volume, *(f"{key}={value}" for key, value in rest)])


def mount(key: str, value: str) -> Mount:
    """Given a mount point's key and property string, return its parts."""
    first, *rest = value.split(",")
    return Mount(
        key, first.removeprefix("volume="), dict(part.split("=", 1) for part in rest if "=" in part)
    )


def mounts(config: Mapping[str, str]) -> list[Mount]:
    """Return a configuration's mount points, the root first, as they are mounted."""
    ordered = sorted(
        (key for key in config if MOUNT.fullmatch(key)),
        # mp2 before mp10, which is how they lie in each other
        key=lambda key: -1 if key == "rootfs" else int(key[2:]),
    )
    return [mount(key, config[key]) for key in ordered]


def net(value: str) -> dict[str, str]:
    """Given a NIC's property string (``name=eth0,bridge=vmbr0,...``), return its properties."""
    return dict(part.split("=", 1) for part in value.split(",") if "=" in part)


def with_hwaddr(value: str, *, fresh: bool = False) -> str:
    """Given a NIC's property string, return it with a MAC address (its own, or a new one) as PVE
    writes it: the name first.
    """
    properties = net(value)
    if fresh or not _MAC.fullmatch(properties.get("hwaddr", "")):
        properties["hwaddr"] = random_mac()
    # a type that is not given is written out
    properties = {"type": "veth", **properties, "hwaddr": properties["hwaddr"].upper()}
    rest = sorted((key, text) for key, text in properties.items() if key != "name")
    return ",".join(f"{key}={text}" for key, text in [("name", properties.get("name", "")), *rest])
