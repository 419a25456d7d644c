"""What the storages hold, read once a storage, and remembered in the catalog.

A storage that could not be listed is named: what the catalog knows there is out of reach, and neither gone nor missing (law 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupsvc.clock import iso
from backupsvc.errors import BackupsvcError, PveError, PvePermissionDenied, PveUnreachable
from policies import reach, whole
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


@dataclass(frozen=True, slots=True)
class Survey:
    """One look at all storages. ``listed`` are the archives as the catalog knows them, ``looked`` the (place, storage) pairs
    that were listed completely.

    ``unreachable`` are those that the catalog knows elsewhere; ``why`` says of each (place, storage) of theirs what kept it from
    being listed. ``down`` are the nodes that could not be asked, each with how that is known (policies.reach).
    """

    listed: tuple[Archive, ...]
    looked: frozenset[reach.Place]
    unreachable: tuple[Archive, ...]
    why: Mapping[reach.Place, str]
    down: Mapping[str, str]

    def said(self) -> list[str]:
        """Return a sentence for each storage with known archives that was not listed, and for each node that was not asked."""
        counts: dict[reach.Place, int] = {}
        for archive in self.unreachable:
            counts[reach.place(archive)] = counts.get(reach.place(archive), 0) + 1
        told = [
            f"{count} known archive(s) on {_named(place)} are out of reach, and not gone: {self.why[place]}"
            for place, count in sorted(counts.items())
        ]
        bare = set(self.down) - {node for node, _ in counts}
        return told + [f"{_how(node, self.down[node])}, so what lies on its own storages was not listed" for node in sorted(bare)]


def survey(
    service: Service, vmid: int | None = None, *, complete: bool = False, strict: bool = False, remember: bool = True
) -> Survey:
    """Given the service, list the archives (of one guest, or all) wherever that can be done now, and remember them.

    Only with ``complete`` are archives that were known and are not listed recorded as gone, and only on storages that were
    listed: a listing that shrank must be noticed before it is believed (law 3). With ``strict`` a storage that should be
    listed and is not raises what it failed with. Without ``remember`` nothing is written down.
    """
    pve, began = service.pve, int(service.clock.now())
    storages, nodes = pve.storage.storages(), pve.cluster.nodes()
    shared = {storage.name for storage in storages if storage.shared}
    failed: dict[tuple[str, str], BackupsvcError] = {}
    listed: list[Archive] = []
    pairs: list[tuple[str, str]] = []
    for node, name in places(storages, nodes):
        try:
            listed += pve.storage.archives(node, name, vmid)
            pairs.append((node, name))
        except (PveError, PvePermissionDenied, PveUnreachable) as error:
            if strict:
                raise
            failed["" if name in shared else node, name] = error
    looked = frozenset(("" if name in shared else node, name) for node, name in pairs)
    scope = pairs if complete and vmid is None else []
    if remember:
        service.catalog.observe(listed, scope=scope, at=began, looked=looked if vmid is None else ())
    known = {whole.key(archive): archive for archive in service.catalog.archives(vmid=vmid)}
    out, down = reach.unlisted(known.values(), looked), reach.down(nodes)
    why = {reach.place(one): _why(reach.place(one), down, storages, failed) for one in out}
    return Survey(tuple(known.get(whole.key(one), one) for one in listed), looked, out, why, down)


def observe(service: Service, vmid: int | None = None) -> list[Archive]:
    """Given the service, list the archives (of one guest, or all), remember them, and return them as the catalog knows them.

    Raise what a storage failed with that should have been listed: for decisions that must not be made on a part.
    """
    return list(survey(service, vmid, strict=True).listed)


def _why(
    where: reach.Place, down: Mapping[str, str], storages: Sequence[Storage], failed: Mapping[reach.Place, BackupsvcError]
) -> str:
    node, name = where
    if node in down:
        return _how(node, down[node])
    if error := failed.get(where):
        return error.message
    there = [storage for storage in storages if storage.name == name and node in ("", storage.node)]
    if not there:
        return f"no node that answers has a storage {name}" if not node else f"{node} lists no storage {name}"
    if not any("backup" in storage.content for storage in there):
        return "it takes no archives any more"
    return "it is not active" if any(storage.enabled for storage in there) else "it is disabled"


def _how(node: str, how: str) -> str:
    """Given a node that cannot be asked and how that is known, return the words."""
    return f"node {node} is offline" if how == reach.OFFLINE else f"the status of node {node} is unknown, and it does not answer"


def _named(place: reach.Place) -> str:
    return f"storage {place[1]} of {place[0]}" if place[0] else f"the shared storage {place[1]}"


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
