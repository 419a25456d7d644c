"""What the storages hold, read once a storage, and remembered in the catalog.

A storage that could not be listed is named: what the catalog knows there is out of reach, and
neither gone nor missing (law 4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backupsvc.clock import iso
from backupsvc.errors import (
    BackupsvcError,
    OutOfReach,
    PveError,
    PvePermissionDenied,
    PveUnreachable,
)
from backupsvc.services import Cluster
from policies import archive_signs, reach, whole
from policies.model import Archive, Node, Rung, SeenStorages, Storage

if TYPE_CHECKING:
    from backupsvc.pve import Pve


# what keeps one storage from being listed, and no other
FAILS = (PveError, PvePermissionDenied, PveUnreachable)
# nodes that are asked for one shared storage: when its server is gone, each of them hangs
MAX_READERS = 2


def readers(storages: Sequence[Storage], nodes: Sequence[Node]) -> dict[reach.Place, list[str]]:
    """Given storages and nodes, return each place with archives and the nodes that can list it: a
    shared storage has several.
    """
    online = {node.name for node in nodes if node.online}
    found: dict[reach.Place, list[str]] = {}
    for storage in storages:
        if _takes_archives(storage) and storage.active and storage.node in online:
            found.setdefault(_place(storage), []).append(storage.node)
    return found


def read(
    pve: Pve, storage: str, nodes: Sequence[str], vmid: int | None = None
) -> tuple[str, list[Archive]]:
    """Given a storage and the nodes that can list it, return the first that does, and the archives
    (of one guest, or all).

    Raise what the first failed with if no other does better.
    """
    first: BackupsvcError | None = None
    # a shared storage is listed by any of its nodes: one that hangs there hides nothing
    for node in nodes[:MAX_READERS]:
        try:
            return node, pve.storage.archives(node, storage, vmid)
        except FAILS as error:
            first = first or error
    raise first or PveUnreachable(f"no node can list storage {storage}")


@dataclass(frozen=True, slots=True)
class Survey:
    """One look at all storages. ``listed`` are the archives as the catalog knows them, ``looked``
    the (place, storage) pairs that were listed completely.

    ``unreachable`` are those that the catalog knows elsewhere; ``why`` says of each (place,
    storage) of theirs, and of each that takes archives, what kept it from being listed. ``down``
    are the nodes that could not be asked for their storages, each with how that is known
    (policies.reach), ``silent`` those of them that are called online, with their error. ``passing``
    is what PVE said where it failed itself, "" if nowhere.
    """

    listed: tuple[Archive, ...]
    looked: frozenset[reach.Place]
    unreachable: tuple[Archive, ...]
    why: Mapping[reach.Place, str]
    down: Mapping[str, str]
    silent: Mapping[str, str] = field(default_factory=dict)
    passing: str = ""

    def said(self) -> list[str]:
        """Return a sentence for each storage that was not listed, and for each node that was not
        asked.
        """
        counts = self._counts()
        told = [
            f"{counts[place]} known archive(s) on {reach.in_words(place)} are out of reach, and "
            f"not gone: {why}"
            for place, why in sorted(self.why.items())
            if place in counts
        ]
        return told + self.blank()

    def blank(self, storage: str | None = None) -> list[str]:
        """Return those sentences that are about places where nothing is known: whether there is
        anything is not known either.

        Given a storage's name, only what may be about that storage.
        """
        counts = self._counts()
        places = [
            place
            for place in sorted(self.why)
            if place not in counts and storage in (None, place[1])
        ]
        nodes = sorted(set(self.down) - {node for node, _ in counts})
        return [
            *(
                f"what lies on {reach.in_words(one)} was not listed, and no archive there is "
                f"known: {self.why[one]}"
                for one in places
            ),
            *(
                f"{_how(one, self.down, self.silent)}, so what lies on its own storages was not "
                "listed"
                for one in nodes
            ),
        ]

    def _counts(self) -> Counter[reach.Place]:
        return Counter(reach.place(archive) for archive in self.unreachable)


def survey(
    service: Cluster,
    vmid: int | None = None,
    *,
    complete: bool = False,
    strict: bool = False,
    remember: bool = True,
) -> Survey:
    """Given the service, list the archives (of one guest, or all) wherever that can be done now,
    and remember them.

    Only with ``complete`` are archives that were known and are not listed recorded as gone, and
    only on storages that were
    listed: a listing that shrank must be noticed before it is believed (law 3). With ``strict`` a
    storage that should be listed and is not raises what it failed with. Without ``remember``
    nothing is written down.
    """
    # when it began: what comes while it lasts may be missing from it
    pve, began = service.pve, int(service.clock.now())
    seen, nodes = pve.storage.seen(), pve.cluster.nodes()
    failed: dict[reach.Place, BackupsvcError] = {}
    listed: list[Archive] = []
    through: dict[reach.Place, str] = {}
    for place, able in readers(seen.storages, nodes).items():
        try:
            through[place], found = read(pve, place[1], able, vmid)
        except FAILS as error:
            if strict:
                raise
            failed[place] = error
        else:
            listed += found
    looked = frozenset(through)
    scope = (
        [(node, name) for (_, name), node in through.items()] if complete and vmid is None else []
    )
    if remember:
        service.catalog.archives.observe(
            # a look at one guest alone is no first look at a storage: nothing else there was seen
            listed,
            scope=scope,
            at=began,
            looked=looked if vmid is None else (),
        )
    known = {whole.key(archive): archive for archive in service.catalog.archives.find(vmid=vmid)}
    out, down = reach.unlisted(known.values(), looked), reach.down(nodes, seen.silent)
    unlisted = {_place(storage) for storage in seen.storages if _takes_archives(storage)} - looked
    why = {
        place: _why(place, down, seen, failed)
        for place in unlisted | {reach.place(one) for one in out}
    }
    passing = [seen.passing] if seen.passing else []
    # what PVE itself failed at may pass; a node that is down, or a right that lacks, does not
    passing += [error.message for error in failed.values() if isinstance(error, PveError)]
    listing = tuple(known.get(whole.key(one), one) for one in listed)
    return Survey(listing, looked, out, why, down, seen.silent, "; ".join(passing))


class Walk:
    """One look at all storages (for the archives of one guest, or of all), one storage at a time,
    so that no more than one storage's listing is held. What ``complete`` and ``remember`` mean is
    said at ``survey``.
    """

    def __init__(
        self, service: Cluster, vmid: int | None = None, *, complete: bool = False
    ) -> None:
        """Ask which storages there are; none is listed yet. ``looked`` are the places that were, in
        their order.
        """
        self._service, self._vmid, self._complete = service, vmid, complete
        self._began = int(service.clock.now())
        self._seen, self._nodes = service.pve.storage.seen(), service.pve.cluster.nodes()
        self._readers = readers(self._seen.storages, self._nodes)
        self._failed: dict[reach.Place, BackupsvcError] = {}
        self._known = service.catalog.archives.places(vmid)
        # where archives are known and nothing is listed now: a node that is down, a storage that is
        # shared by now or gone
        elsewhere = {(place, storage) for place, _, storage in self._known} - self._readers.keys()
        self._aside = [one for place, storage in elsewhere for one in self.held(place, storage)]
        self.looked: dict[reach.Place, None] = {}

    def held(self, place: str, storage: str) -> list[Archive]:
        """Return what the catalog knows of one storage in one place."""
        return self._service.catalog.archives.find(vmid=self._vmid, storage=storage, place=place)

    def storages(
        self, *, before: bool = False
    ) -> Iterator[tuple[reach.Place, list[Archive], list[Archive]]]:
        """List each storage that can be listed, remember it, and yield its place, what is there,
        what was known ``before``.
        """
        catalog = self._service.catalog
        for place, able in self._readers.items():
            known = self.held(*place) if before else []
            try:
                node, listed = read(self._service.pve, place[1], able, self._vmid)
            except FAILS as error:
                self._failed[place] = error
                continue
            self.looked[place] = None
            # Where a storage was just made shared, one node may not know yet: then neither listing
            # says what the other lacks.
            mixed = any(
                name == place[1] and bool(where) != bool(place[0]) for where, name in self._readers
            )
            scope = (
                [(node, place[1])] if self._complete and self._vmid is None and not mixed else []
            )
            catalog.archives.observe(
                listed, scope=scope, at=self._began, looked=[place] if self._vmid is None else ()
            )
            yield place, listed, known

    def survey(self) -> tuple[Survey, list[Archive]]:
        """Once all are listed, return the look without what was listed, and the archives that were
        known elsewhere and are gone: of a storage that is shared by now, or no longer is.
        """
        failed = [one for place in self._failed for one in self.held(*place)]
        out = reach.unlisted((*self._aside, *failed), self.looked)
        gone = [one for one in self._aside if reach.was_listed(one, self.looked)]
        down = reach.down(self._nodes, self._seen.silent)
        unlisted = {
            _place(storage) for storage in self._seen.storages if _takes_archives(storage)
        } - self.looked.keys()
        why = {
            place: _why(place, down, self._seen, self._failed)
            for place in unlisted | {reach.place(one) for one in out}
        }
        passing = [self._seen.passing] if self._seen.passing else []
        passing += [error.message for error in self._failed.values() if isinstance(error, PveError)]
        return Survey(
            (), frozenset(self.looked), out, why, down, self._seen.silent, "; ".join(passing)
        ), gone


def require_answers(passing: str, *, retries: bool) -> None:
    """Given what PVE said where it failed itself, raise OutOfReach if it said anything and who
    decides on this can ask again.
    """
    if passing and retries:
        raise OutOfReach(f"not all that is known can be seen at this moment: {passing}")


def observe(service: Cluster, vmid: int | None = None) -> list[Archive]:
    """Given the service, list the archives (of one guest, or all), remember them, and return them
    as the catalog knows them.

    Raise what a storage failed with that should have been listed: for decisions that must not be
    made on a part.
    """
    return list(survey(service, vmid, strict=True).listed)


def _takes_archives(storage: Storage) -> bool:
    return "backup" in storage.content and storage.enabled


def _place(storage: Storage) -> reach.Place:
    return ("" if storage.shared else storage.node, storage.name)


def _why(
    where: reach.Place,
    down: Mapping[str, str],
    seen: SeenStorages,
    failed: Mapping[reach.Place, BackupsvcError],
) -> str:
    node, name = where
    if node in down:
        return _how(node, down, seen.silent)
    if error := failed.get(where):
        return error.message
    there = [
        storage for storage in seen.storages if storage.name == name and node in ("", storage.node)
    ]
    if not there:
        return (
            f"no node that answers has a storage {name}"
            if not node
            else f"{node} lists no storage {name}"
        )
    if not any("backup" in storage.content for storage in there):
        return "it takes no archives any more"
    return "it is not active" if any(storage.enabled for storage in there) else "it is disabled"


def _how(node: str, down: Mapping[str, str], silent: Mapping[str, str]) -> str:
    """Given a node that cannot be asked, and how that is known, return the words."""
    if down[node] == reach.SILENT:
        return f"node {node} did not say which storages it has ({silent[node]})"
    offline = down[node] == reach.OFFLINE
    return (
        f"node {node} is offline"
        if offline
        else f"the status of node {node} is unknown, and it does not answer"
    )


def as_dict(archive: Archive) -> dict[str, Any]:
    """Given an archive, return it as every ``--json`` answer shows it: sizes in bytes, times in
    UTC.
    """
    intact = archive.rung.height >= Rung.INTACT.height
    integrity = (
        "damaged"
        if archive.damaged
        else "unread"
        if archive.checked_at is None
        # complete: it was read whole, and nothing says whether its data are right
        else ("intact" if intact else "complete")
    )
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
        "suspicious": archive_signs.in_words(archive.suspicious) or None,
        "integrity": {
            "state": integrity,
            "checked_at": iso(archive.checked_at) if archive.checked_at else None,
            "said": archive.damaged or None,
        },
    }
