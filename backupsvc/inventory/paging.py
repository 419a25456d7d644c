"""A page of the archives: the newest so many, each compared with what its storage lists now.

Of millions of archives, no more is held at a time than one storage's listing, and a page of each.
"""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.inventory.listing import Walk
from backupsvc.services import Cluster
from policies import reach, whole
from policies.model import Archive


@dataclass(frozen=True, slots=True)
class Line:
    """An archive that the catalog knows. ``missing``: its storage was listed without it;
    ``unreachable``: it was not listed; ``copies`` are the targets at which a verified copy of it
    is.
    """

    archive: Archive
    missing: bool = False
    unreachable: bool = False
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The newest archives, newest first, how many ``more`` there are that are older, and a sentence
    for each place that could not be listed.
    """

    archives: tuple[Line, ...]
    more: int
    blind: tuple[str, ...] = ()


def page(
    service: Cluster,
    vmid: int | None = None,
    *,
    limit: int,
    since: int | None = None,
    offline: bool = False,
) -> Page:
    """Given how many archives are wanted, return the newest that the catalog knows (of one guest,
    or of all).

    ``since`` (epoch seconds) leaves older ones out. Unless ``offline``, the storages are listed,
    and remembered.
    """
    if offline:
        found = service.catalog.archives.find(vmid=vmid, since=since, limit=limit)
        copies = _copies(service, vmid)
        lines = [Line(one, copies=copies.get(whole.key(one), ())) for one in found]
        return Page(tuple(lines), _more(service, vmid, since, limit))
    # the cluster first: where it does not answer, no catalog is made that was not there
    walk, there = Walk(service, vmid), set[tuple[str, str]]()
    archives = service.catalog.archives
    for (place, storage), listed, _ in walk.storages():
        keys = {whole.key(one) for one in listed}
        # What is on the page is among the newest of its storage: only of these it must be known
        # whether they are there.
        newest = archives.find(vmid=vmid, storage=storage, place=place, since=since, limit=limit)
        there |= keys & {whole.key(one) for one in newest}
    seen, _ = walk.survey()
    copies, lines = _copies(service, vmid), []
    for one in archives.find(vmid=vmid, since=since, limit=limit):
        key, out = whole.key(one), not reach.was_listed(one, seen.looked)
        lines.append(Line(one, not out and key not in there, out, copies.get(key, ())))
    return Page(tuple(lines), _more(service, vmid, since, limit), tuple(seen.said()))


def _copies(service: Cluster, vmid: int | None) -> dict[tuple[str, str], tuple[str, ...]]:
    """The targets at which each archive has a verified copy, by the archive's key."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for copy in service.catalog.copies.find(vmid):
        found[copy.route.archive] = (*found.get(copy.route.archive, ()), copy.route.target)
    return found


def _more(service: Cluster, vmid: int | None, since: int | None, limit: int) -> int:
    return max(0, service.catalog.archives.count(vmid=vmid, since=since) - limit)
