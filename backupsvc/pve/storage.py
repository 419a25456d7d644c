"""Storages and the archives on them."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from backupsvc.clock import Clock
from backupsvc.errors import PveError, PvePermissionDenied, PveUnreachable
from backupsvc.pve.client import Client
from backupsvc.pve.nodes import Nodes
from policies.model import Archive, GuestType, SeenStorages, Storage
from policies.pve.volid import storage_of

_TYPES = {one.value: one for one in GuestType}
_by_age = attrgetter("ctime", "volid")


class Storages:
    """Storages by node and name; an archive by node and volid."""

    def __init__(self, client: Client, clock: Clock, nodes: Nodes | None = None) -> None:
        self._client, self._clock = client, clock
        self._nodes = nodes or Nodes(client, clock)
        self._shared: dict[tuple[str, str], bool] = {}
        self._defaults: dict[tuple[str, str], tuple[float, dict[str, str]]] = {}

    def seen(self) -> SeenStorages:
        """Return every storage as every node that answers sees it, with the retention that PVE
        applies there itself, and the
        nodes that are called online and did not answer this question: one hanging storage is enough
        for that.

        A node that is offline is left out; so is a retention that the token may not read.
        """
        try:
            prune = {
                row.need_text("storage"): row.properties("prune-backups")
                for row in self._client.get("storage").rows()
            }
        # the storages themselves are told to a token that may not read their settings
        except PvePermissionDenied:
            prune = {}
        found: list[Storage] = []
        silent: dict[str, str] = {}
        refused: set[str] = set()
        for node in (node.name for node in self._nodes.all() if node.online):
            try:
                rows = self._client.get(f"nodes/{node}/storage").rows()
                rows.sort(key=lambda row: row.need_text("storage"))
                found += [
                    Storage(
                        name=row.need_text("storage"),
                        node=node,
                        type=row.text("type"),
                        content=frozenset(row.words("content")),
                        shared=row.boolean("shared"),
                        active=row.boolean("active"),
                        enabled=row.boolean("enabled", default=True),
                        total=row.integer("total"),
                        used=row.integer("used"),
                        available=row.integer("avail"),
                        prune=prune.get(row.text("storage"), ""),
                    )
                    for row in rows
                ]
            except (PveError, PveUnreachable) as error:
                silent[node] = error.message
                # an error of PVE is an answer: what failed there may pass
                refused |= {node} if isinstance(error, PveError) else set()
        self._shared |= {(storage.node, storage.name): storage.shared for storage in found}
        return SeenStorages(tuple(found), silent, frozenset(refused))

    def archives(
        self,
        node: str,
        storage: str,
        vmid: int | None = None,
        *,
        known: Mapping[str, Archive] = MappingProxyType({}),
    ) -> list[Archive]:
        """Given a storage on a node, return the archives there that the token may see, oldest
        first. One that is listed as it is ``known``, by volid, is that very value, with all that
        was learnt of it.

        PVE leaves out in silence what the token has no right to (VM.Backup on the guest,
        Datastore.AllocateSpace): an empty list is no proof that there is nothing. Raise PveNotFound
        if there is no such storage.
        """
        rows = self._client.get(
            f"nodes/{node}/storage/{storage}/content", {"content": "backup", "vmid": vmid}
        ).rows()
        # a listing of archives does not say whether others see the same
        if (node, storage) not in self._shared:
            status = self._client.get(f"nodes/{node}/storage/{storage}/status").row()
            self._shared[node, storage] = status.boolean("shared")
        shared = self._shared[node, storage]
        here = (node, storage, shared)
        found = []
        for row in rows:
            volid = row.need_text("volid")
            archive = known.get(volid)
            if (
                archive is None
                or (archive.node, archive.storage, archive.shared) != here
                or not _says(row.fields, archive)
            ):
                archive = Archive(
                    volid,
                    node,
                    storage,
                    row.integer("vmid") or None,
                    _TYPES.get(row.text("subtype")),
                    row.need_integer("ctime"),
                    row.need_integer("size"),
                    row.text("format"),
                    row.boolean("protected"),
                    row.text("notes"),
                    shared=shared,
                )
            found.append(archive)
        found.sort(key=_by_age)
        return found

    def extract_config(self, node: str, volid: str) -> str:
        """Given an archive, return the guest configuration inside it. Raise PveError if it cannot
        be read: found in 0.1 s where a restore takes 60 s to see the same (pve-facts 7.6).
        """
        return self._client.get(f"nodes/{node}/vzdump/extractconfig", {"volume": volid}).string()

    def volume_path(self, node: str, volid: str) -> str:
        """Given an archive, return its file's path on that node."""
        return self._client.get(_content(node, volid)).row().need_text("path")

    def delete(self, node: str, volid: str) -> str | None:
        """Given an archive, begin to delete it and return the task, None if PVE needed none.
        Protected ones fail in the task.
        """
        return self._client.delete(_content(node, volid)).upid_if_any()

    def prune_marks(
        self, node: str, storage: str, keep: str, vmid: int | None = None
    ) -> dict[str, str]:
        """Given a storage on a node and keep rules, return PVE's own mark (keep, remove, protected
        or renamed) of each archive there, by volid: its dry run, which removes nothing.
        """
        rows = self._client.get(
            f"nodes/{node}/storage/{storage}/prunebackups", {"prune-backups": keep, "vmid": vmid}
        ).rows()
        return {row.need_text("volid"): row.need_text("mark") for row in rows}

    def volumes(self, node: str, storage: str, vmid: int) -> list[str]:
        """Given a storage on a node, return the disk volumes that carry the VMID."""
        rows = self._client.get(
            f"nodes/{node}/storage/{storage}/content", {"content": "images", "vmid": vmid}
        ).rows()
        return sorted(row.need_text("volid") for row in rows)

    def files(self, node: str, storage: str, kind: str) -> frozenset[str]:
        """Given a storage on a node and a kind of file (``iso``, ``snippets``), return the volumes
        of that kind there that the token may see.
        """
        rows = self._client.get(f"nodes/{node}/storage/{storage}/content", {"content": kind}).rows()
        return frozenset(row.need_text("volid") for row in rows)

    def backup_defaults(self, node: str, storage: str, max_age: float = 0.0) -> dict[str, str]:
        """Given a storage on a node, return the settings that a vzdump would use there if told
        nothing else.

        An answer that is younger than ``max_age`` seconds serves again.
        """
        now, known = self._clock.monotonic(), self._defaults.get((node, storage))
        if known is None or now - known[0] >= max_age:
            found = self._client.get(f"nodes/{node}/vzdump/defaults", {"storage": storage}).row()
            known = (now, {name: found.properties(name) for name in found.names()})
            self._defaults[node, storage] = known
        return known[1]


def _says(fields: Mapping[str, Any], archive: Archive) -> bool:
    """Whether a row of a listing says of an archive what is known of it; False also where it must
    be read more closely to tell. Of nearly all archives this is all that must be looked at.
    """
    get = fields.get
    return (
        get("ctime") == archive.ctime
        and get("size") == archive.size
        and get("vmid") == archive.vmid
        and get("subtype") == archive.type
        and get("format") == archive.format
        and get("notes", "") == archive.notes
        and get("protected", False) == archive.protected
    )


def _content(node: str, volid: str) -> str:
    return f"nodes/{node}/storage/{storage_of(volid)}/content/{volid}"
