"""What tests put into a cluster: archives, guests' configs, copies of a restore test."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from policies import ownership
from policies.model import Archive, GuestType

OPERATION = "01JD3VMZ7WXG0R5T9K2QH8N4BC"
ISOLATED = "virtio=BC:24:11:00:00:08,bridge=vmbr9"
CONFIG = "\n".join(
    (
        "name: Debian-Server",
        "memory: 2048",
        "smbios1: uuid=11111111-2222-4333-8444-555555555555",
        "scsi0: local-lvm:vm-108-disk-0,size=64M",
        "#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:",
    )
)


def archive(vmid: int, second: int, **changes: Any) -> Archive:
    """Given a guest and a second of 2026-03-09 21:00 Paris, return an archive of it as a listing
    shows it.
    """
    volid = f"local:backup/vzdump-qemu-{vmid}-2026_03_09-21_00_{second:02d}.vma.zst"
    values: dict[str, Any] = {
        "type": GuestType.QEMU,
        "ctime": 1_773_086_400 + second,
        "size": 1000,
        "format": "vma.zst",
    }
    return Archive(volid, "clovis", "local", vmid, **(values | changes))


def copy_of(vmid: int, operation: str = OPERATION, **changes: str) -> dict[str, str]:
    """The config of a restored copy that satisfies both laws; ``changes`` are applied to it."""
    config = {
        "name": "restore-test-108",
        # PVE ends it with a line feed
        "description": f"{ownership.marker(operation)}\nCopy made by a restore test.\n",
        "net0": ISOLATED,
        "scsi0": f"local-lvm:vm-{vmid}-disk-0,size=2G",
        "onboot": "0",
        "memory": "512",
    }
    return config | changes


def config_of(vmid: int) -> dict[str, str]:
    """The config of a production guest."""
    return {
        "name": f"guest-{vmid}",
        "memory": "512",
        "scsi0": f"local:{vmid}/vm-{vmid}-disk-0.raw",
        "net0": "virtio,bridge=vmbr0",
    }


def config_text(config: Mapping[str, str]) -> str:
    """A config as an archive holds it."""
    return "\n".join(
        [
            *(f"{key}: {value}" for key, value in config.items()),
            "#qmdump#map:scsi0:drive-scsi0:local:raw:",
        ]
    )


def stamp(ctime: int) -> str:
    """The time of an archive as its name carries it (UTC: the virtual site is there)."""
    return datetime.fromtimestamp(ctime, UTC).strftime("%Y_%m_%d-%H_%M_%S")
