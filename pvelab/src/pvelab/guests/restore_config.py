"""From an archived configuration to the restored guest's (qemu-server restore_update_config_line;
pve-facts 7.2).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

from pvelab import configfile
from pvelab.guests.devices import DRIVE, NET, Drive, drive, format_size, with_mac

_DROPPED = re.compile(r"(?:lock|parent|vmstate|snaptime|unused\d+):|#qmdump#|#vzdump#")
_MAP = re.compile(r"#qmdump#map:([^:]+):([^:]+):([^:]*):([^:]*):")
_LINE = re.compile(r"([a-z][a-z0-9_-]*):\s*(.*)")


def disk_map(raw: str) -> dict[str, tuple[str, str]]:
    """Given an archive's configuration, return each archived disk's device name and storage, by
    key.
    """
    return {key: (device, storage) for key, device, storage, _ in _MAP.findall(raw)}


def archived_nics(raw: str) -> dict[str, str]:
    """Return the NICs of an archived configuration."""
    config, _ = configfile.parse(raw)
    return {key: value for key, value in config.items() if NET.fullmatch(key)}


def restored_config(
    raw: str, volumes: Mapping[str, tuple[str, int]], *, unique: bool, overrides: Mapping[str, str]
) -> dict[str, str]:
    """Given an archived configuration and the new volume and size of each restored disk, return the
    guest's configuration.

    Excluded disks become comments and so part of the description; MACs stay unless ``unique``;
    ``vmgenid`` is always new.
    """
    lines = [_line(line, volumes, unique) for line in raw.splitlines() if not _DROPPED.match(line)]
    config, _ = configfile.parse("\n".join(lines) + "\n")
    return {**config, **overrides}


def _line(line: str, volumes: Mapping[str, tuple[str, int]], unique: bool) -> str:
    found = _LINE.fullmatch(line)
    if found is None:
        return line
    key, value = found[1], found[2]
    if NET.fullmatch(key) and unique:
        return f"{key}: {with_mac(value, fresh=True)}"
    if DRIVE.fullmatch(key):
        old = drive(key, value)
        if not old.backed_up:
            return f"#{key}: {value}"
        if key not in volumes:
            return f"{key}: {value}"
        volid, size = volumes[key]
        kept = {name: t for name, t in old.properties.items() if name not in ("format", "size")}
        return f"{key}: {Drive(key, volid, {**kept, 'size': format_size(size)}).text()}"
    if key == "vmgenid" and value != "0":
        return f"vmgenid: {uuid.uuid4()}"
    if key == "smbios1" and unique:
        return f"smbios1: {re.sub(r'uuid=[0-9a-fA-F-]{36}', f'uuid={uuid.uuid4()}', value)}"
    return line
