"""/nodes/{node}/storage: status, content, notes and protection, deletion, pruning (libpve-storage
PVE/API2/Storage).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

from pvelab.containers.listing import rootdirs
from pvelab.faults import storing
from pvelab.guests import archives, volumes
from pvelab.guests.access import check_volume, sees_volume
from pvelab.guests.names import parse_name, split_volid
from pvelab.guests.volumes import Volume
from pvelab.kernel import Call, LabError, StorageDef, TaskDied, TaskLog, parameter_error, route

_SECTOR, _BLOCK = 512, 4096
_READ = ("Datastore.Audit", "Datastore.AllocateSpace")


@route("GET", "/nodes/{node}/storage")
def storages(call: Call) -> Any:
    """List the storages of a node that the caller may see, each with its figures."""
    params, lab = call.params, call.lab
    wanted, target = params.get("storage"), params.get("target")
    if wanted and wanted not in lab.storages:
        raise parameter_error(storage="No such storage.")
    kinds = set(re.split("[;,]", params["content"])) if params.get("content") else None
    rows = []
    for storage in lab.storages.values():
        if (
            wanted in (None, storage.name)
            and call.allowed(f"/storage/{storage.name}", *_READ, any=True)
            and (kinds is None or kinds & set(storage.content))
            and (not target or storage.nodes is None or target in storage.nodes)
            and (not params.get("enabled") or volumes.is_available(lab, call.node, storage.name))
        ):
            row = {"storage": storage.name, **_status(call, storage)}
            if params.get("format"):
                # the formats of disks that it knows, and its default
                known = ("raw", "qcow2", "vmdk", "subvol") if storage.type == "dir" else ("raw",)
                row["format"] = [dict.fromkeys(known, 1), "raw"]
            rows.append(row)
    return rows


@route("GET", "/nodes/{node}/storage/{storage}")
def storage_index(call: Call) -> Any:
    """Return the directory of what a storage's path offers."""
    names = (
        "content",
        "download-url",
        "file-restore",
        "import-metadata",
        "oci-registry-pull",
        "prunebackups",
        "rrd",
        "rrddata",
    )
    return [{"subdir": name} for name in (*names, "status", "upload")]


@route("GET", "/nodes/{node}/storage/{storage}/status")
def status(call: Call) -> Any:
    """Return one storage's figures."""
    if call.params["storage"] not in call.lab.storages:
        raise parameter_error(storage="No such storage.")
    row = _status(call, call.lab.storage(call.params["storage"]))
    # only a list has it
    row.pop("used_fraction", None)
    return row


@route("GET", "/nodes/{node}/storage/{storage}/content")
def content(call: Call) -> Any:
    """List a storage's volumes; what the caller may not use is left out in silence."""
    node, name = call.node, call.params["storage"]
    definition = volumes.usable(call.lab, node, name)
    wanted, vmid = call.params.get("content"), call.params.get("vmid")
    rows: list[dict[str, Any]] = []
    if "backup" in definition.content and wanted in (None, "backup"):
        rows += storing.listed(call.lab.faults, node, name, list(_backups(call, name, vmid)))
    if "images" in definition.content and wanted in (None, "images"):
        for volume in volumes.images(call.lab, node, name):
            if volume.path.is_file() and vmid in (None, volume.owner) and sees_volume(call, volume):
                stat = volume.path.stat()
                rows.append(
                    {
                        "volid": volume.volid,
                        "content": "images",
                        "format": "raw",
                        "size": stat.st_size,
                        "used": stat.st_blocks * 512,
                        "ctime": int(stat.st_ctime),
                        "vmid": volume.owner,
                        "parent": None,
                    }
                )
    if "rootdir" in definition.content and wanted in (None, "rootdir"):
        rows += rootdirs(call, name, vmid)
    if "iso" in definition.content and wanted in (None, "iso") and vmid is None:
        for path in sorted((call.lab.storage_dir(node, name) / "template" / "iso").glob("*.iso")):
            volid, stat = f"{name}:iso/{path.name}", path.stat()
            if sees_volume(call, Volume(volid, name, "iso", path)):
                rows.append(
                    {
                        "volid": volid,
                        "content": "iso",
                        "format": "iso",
                        "size": stat.st_size,
                        "ctime": int(stat.st_ctime),
                    }
                )
    return rows


@route("GET", "/nodes/{node}/storage/{storage}/content/{volume}")
def volume_info(call: Call) -> Any:
    """Return one volume's attributes. Its size is rounded up to 512 and its format always ``raw``
    (pve-facts 5.4).
    """
    volume = _volume(call)
    check_volume(call, volume)
    if not volume.path.is_file():
        raise LabError(500, f"volume_size_info on '{volume.volid}' failed - no format")
    stat = volume.path.stat()
    row: dict[str, Any] = {
        "path": str(volume.path),
        "size": -(-stat.st_size // _SECTOR) * _SECTOR,
        "used": stat.st_blocks * 512,
        "format": "raw",
    }
    if volume.content == "backup":
        row |= {
            "notes": archives.read_notes(volume.path),
            "protected": int(archives.sidecar(volume.path, "protected").exists()),
        }
    return row


@route("PUT", "/nodes/{node}/storage/{storage}/content/{volume}")
def update_volume(call: Call) -> Any:
    """Set an archive's notes or its protection."""
    volume, params = _volume(call), call.params
    check_volume(call, volume)
    if ("notes" in params or "protected" in params) and volume.content != "backup":
        raise LabError(
            500,
            "only backups can have notes" if "notes" in params else "only backups can be protected",
        )
    if "notes" in params:
        archives.write_notes(volume.path, params["notes"])
    if "protected" in params:
        # what is protected already does not count once more
        if params["protected"] and not archives.sidecar(volume.path, "protected").exists():
            unlimited = call.allowed(f"/storage/{volume.storage}", "Datastore.Allocate")
            name = parse_name(volume.path.name, call.lab.tz)
            archives.check_protection_limit(call.lab, call.node, volume.storage, name, unlimited)
        archives.set_protected(volume.path, bool(params["protected"]))
    return None


@route("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}")
def delete_volume(call: Call) -> Any:
    """Delete a volume in a task; with ``delay`` (seconds) wait for it and return null when it is
    done by then.
    """
    volume = _volume(call)
    if volume.content == "backup":
        check_volume(call, volume)
    else:
        call.check(f"/storage/{volume.storage}", "Datastore.Allocate")
    lab = call.lab

    def work(log: TaskLog) -> None:
        if archives.sidecar(volume.path, "protected").exists():
            name = volume.volid.partition(":")[2]
            raise TaskDied(f"cannot remove protected volume '{name}' on '{volume.storage}'")
        if volume.content == "backup":
            there = archives.remove(volume.path, lab.tz)
        else:
            there = volume.path.exists()
            volumes.free(volume)
        # what is gone already is no error to PVE: the task ends well
        if not there:
            log.line(f"disk image '{volume.path}' does not exist")
        log.line(f"Removed volume '{volume.volid}'")

    subject = f"{volume.owner}@{volume.storage}" if volume.owner else volume.storage
    upid = call.spawn("imgdel", subject, work)
    if not call.params.get("delay"):
        return upid
    try:
        result = lab.tasks.wait(upid, float(call.params["delay"]))
    except TimeoutError:
        return upid
    if result != "OK":
        raise LabError(500, result)
    return None


@route("GET", "/nodes/{node}/storage/{storage}/prunebackups")
def prune_preview(call: Call) -> Any:
    """Say what pruning would do with each archive."""
    name, params = call.params["storage"], call.params
    volumes.usable(call.lab, call.node, name)
    keep = _retention(call, name)
    marked = archives.prune_marks(
        call.lab, call.node, name, keep, vmid=params.get("vmid"), type=params.get("type")
    )
    rows = []
    for archive, mark in marked:
        row: dict[str, Any] = {
            "volid": archive.volid,
            "ctime": archive.ctime,
            "mark": mark,
            "type": archive.name.type or "unknown",
        }
        # a name that is not vzdump's tells of no guest
        if archive.name.vmid is not None:
            row["vmid"] = archive.name.vmid
        rows.append(row)
    return rows


@route("DELETE", "/nodes/{node}/storage/{storage}/prunebackups")
def prune_backups(call: Call) -> Any:
    """Prune in a task. Without a guest that needs Datastore.Allocate."""
    name, vmid, kind, lab, node = (
        call.params["storage"],
        call.params.get("vmid"),
        call.params.get("type"),
        call.lab,
        call.node,
    )
    volumes.usable(lab, node, name)
    if vmid is None:
        call.check(f"/storage/{name}", "Datastore.Allocate")
    else:
        call.check(f"/storage/{name}", "Datastore.AllocateSpace")
        call.check(f"/vms/{vmid}", "VM.Backup")

    def work(log: TaskLog) -> None:
        marked = archives.prune_marks(lab, node, name, _retention(call, name), vmid=vmid, type=kind)
        for archive in archives.removable(marked):
            log.line(f"removing backup '{archive.volid}'")
            archive.remove(lab.tz)

    return call.spawn("prunebackups", f"{vmid}@{name}" if vmid is not None else name, work)


def _retention(call: Call, storage: str) -> str:
    keep = archives.retention(call.lab, storage, call.params.get("prune-backups"))
    # without any rule a prune is refused when asked, and a failed task when done (pve-facts 5.7)
    if keep is None:
        raise LabError(500, f"no prune-backups options configured for storage '{storage}'")
    return keep


def _volume(call: Call) -> Volume:
    """The path's volume: ``store:name`` or just the name."""
    given, name = str(call.params["volume"]), call.params["storage"]
    parts = split_volid(given)
    # a volid in the path may name another storage than the path does
    if parts and parts[0] != name:
        raise parameter_error(volume=f"storage ID mismatch ({parts[0]} != {name})\n")
    return volumes.find(call.lab, call.node, given if parts else f"{name}:{given}")


def _status(call: Call, definition: StorageDef) -> dict[str, Any]:
    row = {
        "type": definition.type,
        "content": ",".join(definition.content),
        "shared": int(definition.shared),
    }
    if not volumes.is_available(call.lab, call.node, definition.name):
        return {**row, "enabled": 0, "active": 0, "total": 0, "used": 0, "avail": 0}
    place = call.lab.storage_dir(call.node, definition.name)
    # PVE makes a storage's directories when it first looks
    place.mkdir(parents=True, exist_ok=True)
    disk = shutil.disk_usage(place)
    free = 0 if storing.is_full(call.lab.faults, call.node, definition.name) else disk.free
    used = disk.used if free else disk.total
    figures = {"total": disk.total, "used": used, "avail": free, "used_fraction": used / disk.total}
    return {**row, "enabled": 1, "active": 1, **figures}


def _backups(call: Call, storage: str, vmid: int | None) -> Iterator[dict[str, Any]]:
    """The archives' rows: with ``vmid``, those whose name holds ``-<vmid>-``."""
    # a storage's archives differ to a caller by their guests alone
    seen: dict[int | None, bool] = {}
    for archive in archives.archives(call.lab, call.node, storage, vmid):
        owner = archive.name.vmid
        if owner not in seen:
            seen[owner] = sees_volume(
                call, Volume(archive.volid, storage, "backup", archive.path, owner)
            )
        if not seen[owner]:
            continue
        row: dict[str, Any] = {
            "volid": archive.volid,
            "content": "backup",
            "format": archive.name.extension,
            "size": archive.size,
            "ctime": archive.ctime,
            "subtype": archive.name.type or "unknown",
        }
        notes = archive.notes
        optional = {
            "vmid": owner,
            "notes": notes.split("\n")[0] if notes else None,
            "protected": int(archive.protected),
        }
        yield row | {key: value for key, value in optional.items() if value}
