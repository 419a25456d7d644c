"""What tests put into a cluster: archives, guests' configs, copies of a restore test."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from backupsvc.pve.cluster import PveJob
from policies import ownership
from policies.model import Archive, Guest, GuestType, Storage

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


def stamp(ctime: int, zone: str = "UTC") -> str:
    """The time of an archive as its name carries it, in the zone of its node."""
    return datetime.fromtimestamp(ctime, ZoneInfo(zone)).strftime("%Y_%m_%d-%H_%M_%S")


def job_row(job: PveJob) -> dict[str, Any]:
    """One of PVE's own backup jobs as PVE tells it: what is not set is left out."""
    row = {
        "id": job.id,
        "type": "vzdump",
        "enabled": int(job.enabled),
        "schedule": job.schedule,
        "storage": job.storage,
        "mode": job.mode or "snapshot",
        "node": job.node,
        "vmid": ",".join(map(str, job.guests)),
        "all": int(job.all),
        "exclude": ",".join(map(str, job.exclude)),
        "pool": job.pool,
        "next-run": job.next_run,
    }
    return {name: value for name, value in row.items() if value or name == "enabled"}


def guest_row(guest: Guest) -> dict[str, Any]:
    """A guest as the cluster's list tells it, without what follows from its place."""
    row = {
        "id": f"{guest.type}/{guest.vmid}",
        "type": str(guest.type),
        "name": guest.name,
        "status": guest.status,
        "template": int(guest.template),
        "tags": ";".join(guest.tags),
        "maxmem": guest.max_memory,
        "maxdisk": guest.max_disk,
        "hastate": guest.ha_state,
        "pool": guest.pool,
        "lock": guest.lock,
    }
    return {name: value for name, value in row.items() if value not in (None, "")}


def storage_row(storage: Storage) -> dict[str, Any]:
    """A storage as its node tells it."""
    return {
        "storage": storage.name,
        "type": storage.type,
        "content": ",".join(sorted(storage.content)),
        "shared": int(storage.shared),
        "active": int(storage.active),
        "enabled": int(storage.enabled),
        "total": storage.total,
        "used": storage.used,
        "avail": storage.available,
    }


def archive_row(archive: Archive) -> dict[str, Any]:
    """An archive as its storage lists it."""
    row = {
        "volid": archive.volid,
        "vmid": archive.vmid,
        "subtype": str(archive.type),
        "content": "backup",
        "ctime": archive.ctime,
        "size": archive.size,
        "format": archive.format,
        "notes": archive.notes,
        "protected": int(archive.protected),
    }
    return {name: value for name, value in row.items() if value or name == "size"}
