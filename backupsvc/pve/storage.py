"""Storages and the archives on them."""

from __future__ import annotations

from typing import Any

from backupsvc.clock import Clock
from backupsvc.errors import PvePermissionDenied, PveUnreachable
from backupsvc.pve.client import Client
from backupsvc.pve.fields import boolean, integer, properties, text, words
from policies.model import Archive, GuestType, Storage


class Storages:
    """Storages by node and name; an archive by node and volid."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._shared: dict[tuple[str, str], bool] = {}
        self._defaults: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}

    def storages(self) -> list[Storage]:
        """Return every storage as every online node sees it, with the retention that PVE applies there itself.

        A node that does not answer is left out; so is a retention that the token may not read.
        """
        prune = self._retentions()
        names = [text(row, "node") for row in self._client.get("nodes") if text(row, "status") == "online"]
        found = [_storage(row, node, prune) for node in sorted(names) for row in self._of(node)]
        self._shared |= {(storage.node, storage.name): storage.shared for storage in found}
        return found

    def archives(self, node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        """Given a storage on a node, return the archives there that the token may see, oldest first.

        PVE leaves out in silence what the token has no right to (VM.Backup on the guest, Datastore.AllocateSpace): an empty list
        is no proof that there is nothing. Raise PveNotFound if there is no such storage.
        """
        rows = self._client.get(f"nodes/{node}/storage/{storage}/content", {"content": "backup", "vmid": vmid})
        shared = self._is_shared(node, storage)
        return sorted((_archive(row, node, storage, shared) for row in rows), key=lambda archive: (archive.ctime, archive.volid))

    def extract_config(self, node: str, volid: str) -> str:
        """Given an archive, return the guest configuration inside it. Raise PveError if it cannot be read: found in 0.1 s
        where a restore takes 60 s to see the same (OBSERVED 20)."""
        return str(self._client.get(f"nodes/{node}/vzdump/extractconfig", {"volume": volid}))

    def volume_path(self, node: str, volid: str) -> str:
        """Given an archive, return its file's path on that node."""
        return text(self._client.get(_content(node, volid)), "path")

    def set_notes(self, node: str, volid: str, notes: str) -> None:
        """Given an archive that exists (PVE does not check: OBSERVED 16), replace its notes; "" removes them."""
        self._client.put(_content(node, volid), {"notes": notes})

    def set_protected(self, node: str, volid: str, protected: bool) -> None:
        """Given an archive that exists (PVE does not check: OBSERVED 16), protect it from every deletion, or lift that."""
        self._client.put(_content(node, volid), {"protected": protected})

    def delete(self, node: str, volid: str) -> str | None:
        """Given an archive, begin to delete it and return the task, None if PVE needed none. Protected ones fail in the task."""
        upid = self._client.delete(_content(node, volid))
        return str(upid) if upid else None

    def volumes(self, node: str, storage: str, vmid: int) -> list[str]:
        """Given a storage on a node, return the disk volumes that carry the VMID."""
        rows = self._client.get(f"nodes/{node}/storage/{storage}/content", {"content": "images", "vmid": vmid})
        return sorted(text(row, "volid") for row in rows)

    def backup_defaults(self, node: str, storage: str, max_age: float = 0.0) -> dict[str, Any]:
        """Given a storage on a node, return the settings that a vzdump would use there if told nothing else.

        An answer that is younger than ``max_age`` seconds serves again.
        """
        now, known = self._clock.monotonic(), self._defaults.get((node, storage))
        if known is None or now - known[0] >= max_age:
            known = (now, dict(self._client.get(f"nodes/{node}/vzdump/defaults", {"storage": storage})))
            self._defaults[node, storage] = known
        return known[1]

    def _of(self, node: str) -> list[dict[str, Any]]:
        try:
            return sorted(self._client.get(f"nodes/{node}/storage"), key=lambda row: text(row, "storage"))
        except PveUnreachable:
            return []  # listed as online a moment ago; its storages are not there now

    def _retentions(self) -> dict[str, str]:
        try:
            return {text(row, "storage"): properties(row, "prune-backups") for row in self._client.get("storage")}
        except PvePermissionDenied:
            return {}

    def _is_shared(self, node: str, storage: str) -> bool:
        if (node, storage) not in self._shared:
            status = self._client.get(f"nodes/{node}/storage/{storage}/status")
            self._shared[node, storage] = boolean(status, "shared")
        return self._shared[node, storage]


def _content(node: str, volid: str) -> str:
    return f"nodes/{node}/storage/{volid.partition(':')[0]}/content/{volid}"


def _storage(row: dict[str, Any], node: str, prune: dict[str, str]) -> Storage:
    name = text(row, "storage")
    return Storage(
        name=name,
        node=node,
        type=text(row, "type"),
        content=frozenset(words(row, "content")),
        shared=boolean(row, "shared"),
        active=boolean(row, "active"),
        enabled=boolean(row, "enabled", default=True),
        total=integer(row, "total"),
        used=integer(row, "used"),
        available=integer(row, "avail"),
        prune=prune.get(name, ""),
    )


def _archive(row: dict[str, Any], node: str, storage: str, shared: bool) -> Archive:
    subtype = text(row, "subtype")
    return Archive(
        volid=text(row, "volid"),
        node=node,
        storage=storage,
        vmid=integer(row, "vmid") or None,
        type=GuestType(subtype) if subtype in ("qemu", "lxc") else None,
        ctime=integer(row, "ctime"),
        size=integer(row, "size"),
        format=text(row, "format"),
        protected=boolean(row, "protected"),
        notes=text(row, "notes"),
        shared=shared,
    )
