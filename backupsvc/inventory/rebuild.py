"""Fill a catalog from what is outside it: the storages, what is in the archives, and their notes
(law 8).

What only the catalog knew is lost with it, and is said to be: restore tests' proofs, the SHA-256 of
each archive, when it was read last, who accepted what. Nothing of that is made up here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backupsvc.errors import PveError, PveUnreachable
from backupsvc.inventory.listing import Walk
from backupsvc.services import Cluster
from policies import lineage, reach
from policies.external_backups import operation_named
from policies.model import Archive, GuestType

Progress = Callable[[int, Archive], None]  # how many archives were looked into, and the one at hand


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was found: how many archives, how many of them name the operation of this service that
    made them, of how many the machine is known; ``proofs`` that the catalog holds, ``places`` that
    were listed, a sentence for each archive that could not be looked into and for each place that
    could not be listed.
    """

    archives: int
    linked: int
    machines: int
    proofs: int
    places: tuple[str, ...]
    unread: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()


def rebuild(
    service: Cluster,
    progress: Progress = lambda count, archive: None,
    *,
    dry_run: bool = False,
) -> Rebuilt:
    """List every storage, look into each archive whose config is not known yet, and remember what
    is found. What the catalog knows already stays; it may be done again, and goes on where it was
    interrupted. With ``dry_run`` nothing is looked into.
    """
    walk = Walk(service, complete=not dry_run)
    for _ in walk.storages():
        pass
    seen, _ = walk.survey()
    catalog = service.catalog.archives
    unread: list[str] = []
    held = [one for one in catalog.find() if reach.place(one) in walk.looked]
    for count, archive in enumerate(() if dry_run else held):
        progress(count, archive)
        named = None if archive.operation else operation_named(archive.notes)
        # one that the catalog knows has its archive recorded: another one that names it is a copy
        # of its notes, and must not pass for what that operation made
        known = named is not None and service.catalog.operations.get(named) is not None
        operation = None if known else named
        config = None
        if (
            archive.type is GuestType.QEMU
            and not catalog.facts(archive.node, archive.volid)["config"]
        ):
            try:
                config = service.pve.storage.extract_config(archive.node, archive.volid)
            except (PveError, PveUnreachable) as error:
                unread.append(f"{archive.volid} on {archive.node}: {error.message}")
        if operation or config is not None:
            catalog.annotate(
                archive.node,
                archive.volid,
                operation=operation,
                config=config,
                name=(lineage.read(config).name or None) if config is not None else None,
                at=int(service.clock.now()),
            )
    found = [one for one in catalog.find() if reach.place(one) in walk.looked]
    return Rebuilt(
        len(found),
        sum(one.operation is not None for one in found),
        sum(bool(one.uuid or one.born) for one in found),
        len(service.catalog.proofs.find()),
        tuple(reach.in_words(place) for place in walk.looked),
        tuple(unread),
        tuple(seen.said()),
    )
