"""Devices in a guest's configuration: drives and NICs as property strings (qemu-server
PVE/QemuServer/{Drive,Network}.pm).
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

DRIVE = re.compile(r"(?:ide|sata|scsi|virtio)\d+|efidisk0|tpmstate0")
NET = re.compile(r"net\d+")
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_MAC = re.compile(r"(?i)[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class Drive:
    """A drive: its key (``scsi0``), volume (``local-lvm:vm-108-disk-0`` or ``none``) and the other
    properties.
    """

    key: str
    volume: str
    properties: Mapping[str, str]

    @property
    def cdrom(self) -> bool:
        """Say whether it is a CD drive."""
        return self.properties.get("media") == "cdrom"

    @property
    def backed_up(self) -> bool:
        """Say whether vzdump includes it."""
        return self.properties.get("backup", "1") not in ("0", "no", "off", "false")

    @property
    def size(self) -> int:
        """Its configured size in bytes, 0 when none stands there."""
        return parse_size(self.properties.get("size", "0"))

    def text(self) -> str:
        """Return it as a property string."""
        return ",".join(
            [self.volume, *(f"{key}={value}" for key, value in self.properties.items())]
        )


def drive(key: str, value: str) -> Drive:
    """Given a drive's key and property string, return its parts."""
    first, *rest = value.split(",")
    # the volume is the default key, and may be written with its name
    return Drive(
        key, first.removeprefix("file="), dict(part.split("=", 1) for part in rest if "=" in part)
    )


def drives(config: Mapping[str, str]) -> Iterator[Drive]:
    """Yield a configuration's drives, CD drives included, in PVE's order (by key)."""
    for key in sorted(key for key in config if DRIVE.fullmatch(key)):
        yield drive(key, config[key])


def disks(config: Mapping[str, str]) -> list[Drive]:
    """Return the drives that have a volume of their own: no CD drives, no pass-through devices."""
    return [
        d
        for d in drives(config)
        if not d.cdrom and ":" in d.volume and not d.volume.startswith("/")
    ]


def net(value: str) -> dict[str, str]:
    """Given a NIC's property string, return its properties with ``model`` and, when it is set,
    ``macaddr``.
    """
    first, *rest = value.split(",")
    name, _, mac = first.partition("=")
    properties = (
        {name: mac}
        # PVE takes `model=virtio` and the older `virtio=MAC` alike
        if name in ("model", "bridge", "macaddr", "tag")
        else {"model": name, "macaddr": mac}
    )
    properties |= dict(part.split("=", 1) for part in rest if "=" in part)
    return {key: found for key, found in properties.items() if found}


def net_text(properties: Mapping[str, str]) -> str:
    """Return a NIC's property string as PVE writes it: the model with its MAC first."""
    rest = [
        f"{key}={value}" for key, value in properties.items() if key not in ("model", "macaddr")
    ]
    return ",".join([f"{properties['model']}={properties['macaddr']}", *rest])


def with_mac(value: str, *, fresh: bool = False) -> str:
    """Given a NIC's property string, return it with a MAC address: its own, or a new one where it
    has none (or ``fresh``).
    """
    properties = net(value)
    # a MAC that cannot be read is as good as none
    if fresh or not _MAC.fullmatch(properties.get("macaddr", "")):
        properties["macaddr"] = random_mac()
    return net_text(
        {"model": properties["model"], **properties, "macaddr": properties["macaddr"].upper()}
    )


def random_mac() -> str:
    """Return a new MAC with PVE's default prefix (pve-cluster 8.0.5+)."""
    return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in secrets.token_bytes(3))


def uuid_of(config: Mapping[str, str]) -> str:
    """Return a configuration's SMBIOS UUID; a random one where it has none, as QEMU does."""
    found = re.search(r"uuid=([0-9a-fA-F-]{36})", config.get("smbios1", ""))
    return found[1] if found else str(uuid.uuid4())


def parse_size(text: str) -> int:
    """Given ``32G``, ``512M`` or bytes, return bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0


def format_size(size: int) -> str:
    """Return a size as configurations and logs write it: K, M, G or T where that is exact, else
    bytes.
    """
    for unit in ("T", "G", "M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


def agent_enabled(config: Mapping[str, str]) -> bool:
    """Say whether the guest agent is configured (``agent: 1,...``)."""
    first = config.get("agent", "0").split(",")[0].removeprefix("enabled=")
    return first in ("1", "yes", "on", "true")


def freezes(config: Mapping[str, str]) -> bool:
    """Say whether a backup freezes the guest's file systems: ``freeze-fs``, or by its two old
    names; on by default.
    """
    # renamed twice by PVE, and configurations of every age are read
    off = re.search(
        r"(?i)(?:^|,)(?:freeze-fs(?:-on-backup)?|guest-fsfreeze)=(?:0|no|off|false)(?:,|$)",
        config.get("agent", ""),
    )
    return agent_enabled(config) and off is None
