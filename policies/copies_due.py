"""Decide which archives are copied to which targets, and say of each that is not, why.

The newest good archive of each guest, in the order of the tiers: an older one was the newest in its
own night, and is copied again where its copy was found damaged. A file that holds nothing, was
changed, or is of another machine is worth no copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from policies import lineage, whole
from policies.copy_folders import folder_of
from policies.jobs import rank
from policies.model import Archive, ArchiveCopy, CopyRoute, CopyTarget, Policy, PveStorage
from policies.pve.volid import file_of, storage_of


@dataclass(frozen=True, slots=True)
class DueCopy:
    """An archive and a target. ``skip`` says why nothing is to be copied, None: it is due."""

    archive: Archive
    target: CopyTarget
    skip: str | None = None


def route_of(archive: Archive, target: CopyTarget) -> CopyRoute:
    """Given an archive and a target, return the route between them."""
    place = target.place
    node, volid = whole.key(archive)
    return CopyRoute(
        target=target.name,
        folder=folder_of(target),
        place=place.node if isinstance(place, PveStorage) else f"copy target {target.name}",
        node=node,
        volid=volid,
        vmid=archive.vmid,
    )


def due(
    policy: Policy,
    archives: Iterable[Archive],
    copies: Iterable[ArchiveCopy] = (),
    *,
    only: Collection[int] = (),
    targets: Collection[str] = (),
    again: bool = False,
) -> tuple[DueCopy, ...]:
    """Given the policy, what the storages list and which copies were verified, return the newest
    good archive of each guest at each target, the first tier first; then those older ones whose
    copy at a target was found damaged, there.

    ``only`` and ``targets`` choose guests and targets, () all. ``copies`` are taken at their word,
    but with ``again``: then all are due, so that the targets are looked at once more.
    """
    copies = tuple(copies)
    verified = {
        (copy.route.folder, copy.route.archive, copy.size)
        for copy in copies
        if not again and not copy.damaged
    }
    damaged = {(copy.route.folder, copy.route.archive) for copy in copies if copy.damaged}
    newest, older = _wanted(policy, archives, copies, only)
    found = []
    for archive, again_there in [(one, False) for one in newest] + [(one, True) for one in older]:
        for target in policy.copies:
            if targets and target.name not in targets:
                continue
            if again_there and (folder_of(target), whole.key(archive)) not in damaged:
                continue
            place, skip = target.place, None
            if isinstance(place, PveStorage) and _lies_in(archive, target):
                skip = f"the archive itself lies on {place.storage} of {place.node}"
            elif (folder_of(target), whole.key(archive), archive.size) in verified:
                # by its size too: of an archive that was changed there is no copy yet
                skip = "a verified copy is there already"
            found.append(DueCopy(archive, target, skip))
    return tuple(found)


def _wanted(
    policy: Policy,
    archives: Iterable[Archive],
    copies: Iterable[ArchiveCopy],
    only: Collection[int],
) -> tuple[list[Archive], list[Archive]]:
    """The newest good archive of each guest, and the older good ones of which a copy is damaged."""
    candidates = [
        one for one in archives if one.vmid is not None and (not only or one.vmid in only)
    ]
    apart = whole.hollow(candidates) | lineage.others(candidates)
    copied = {(copy.route.folder, file_of(copy.route.volid), copy.size) for copy in copies}
    damaged = {copy.route.archive for copy in copies if copy.damaged}
    again: list[Archive] = []
    newest: dict[int, tuple[tuple[int, bool, bool], Archive]] = {}
    for one in sorted(candidates, key=whole.key):
        if one.size > 0 and not one.unfit and whole.key(one) not in apart:
            # of an archive and its copy, which PVE lists alike, the archive is what is copied; two
            # nodes that are each other's target are told apart by what was copied
            inside = [folder_of(target) for target in policy.copies if _lies_in(one, target)]
            made = any((folder, file_of(one.volid), one.size) in copied for folder in inside)
            order = one.ctime, not made, not inside
            if whole.key(one) in damaged:
                again.append(one)
            if one.vmid is not None and (one.vmid not in newest or order > newest[one.vmid][0]):
                newest[one.vmid] = order, one
    first = [
        newest[vmid][1] for vmid in sorted(newest, key=lambda vmid: (rank(policy, vmid), vmid))
    ]
    again.sort(key=lambda one: (rank(policy, one.vmid or 0), one.vmid, -one.ctime))
    return first, [one for one in again if one not in first]


def _lies_in(archive: Archive, target: CopyTarget) -> bool:
    place = target.place
    return (
        isinstance(place, PveStorage)
        and storage_of(archive.volid) == place.storage
        and (archive.shared or archive.node == place.node)
    )
