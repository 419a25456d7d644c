"""What the storages hold, read once a storage, and remembered in the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from backupsvc.clock import iso
from policies import whole
from policies.model import Archive, Node, Storage

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service


def places(storages: Sequence[Storage], nodes: Sequence[Node]) -> list[tuple[str, str]]:
    """Given storages and nodes, return the (node, storage) pairs to list: those with archives, a shared storage only once."""
    online = {node.name for node in nodes if node.online}
    pairs: list[tuple[str, str]] = []
    shared: set[str] = set()
    for storage in storages:
        usable = "backup" in storage.content and storage.enabled and storage.active and storage.node in online
        if usable and storage.name not in shared:
            pairs.append((storage.node, storage.name))
            if storage.shared:
                shared.add(storage.name)
    return pairs


def observe(service: Service, vmid: int | None = None, *, complete: bool = False) -> list[Archive]:
    """Given the service, list the archives (of one guest, or all), remember them, and return them as the catalog knows them.

    Only with ``complete`` are archives that were known and are not listed recorded as gone: a listing that shrank must be noticed
    before it is believed (law 3).
    """
    pve, began = service.pve, int(service.clock.now())
    storages = pve.storage.storages()
    pairs = places(storages, pve.cluster.nodes())
    shared = {storage.name for storage in storages if storage.shared}
    listed = [archive for node, storage in pairs for archive in pve.storage.archives(node, storage, vmid)]
    scope = pairs if complete and vmid is None else []
    looked = [("" if name in shared else node, name) for node, name in pairs] if vmid is None else []
    service.catalog.observe(listed, scope=scope, at=began, looked=looked)
    known = {whole.key(archive): archive for archive in service.catalog.archives(vmid=vmid)}
    return [known.get(whole.key(archive), archive) for archive in listed]


def look(service: Service) -> list[Archive]:
    """Given the service, return what the storages list now, without remembering anything."""
    pve = service.pve
    pairs = places(pve.storage.storages(), pve.cluster.nodes())
    return [archive for node, storage in pairs for archive in pve.storage.archives(node, storage)]


def as_dict(archive: Archive) -> dict[str, Any]:
    """Given an archive, return it as every ``--json`` answer shows it: sizes in bytes, times in UTC."""
    return {
        "volid": archive.volid,
        "node": archive.node,
        "storage": archive.storage,
        "vmid": archive.vmid,
        "name": archive.name,
        "type": str(archive.type) if archive.type else None,
        "ctime": archive.ctime,
        "time": iso(archive.ctime),
        "size": archive.size,
        "format": archive.format,
        "rung": str(archive.rung),
        "proven_at": iso(archive.proven_at) if archive.proven_at else None,
        "protected": archive.protected,
        "notes": archive.notes,
        "sha256": archive.sha256,
        "operation": archive.operation,
        "changed": archive.changed or None,
    }
