"""Tell what can be reached and what cannot: unreachable is not gone, unknown is not offline (law
4).

An archive is only gone when its storage was listed completely without it; a guest of a node that
does not answer is neither running nor stopped, and its VMID is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from policies import whole
from policies.model import Archive, Node

OFFLINE, UNKNOWN, SILENT = "offline", "unknown", "silent"

Place = tuple[str, str]  # (node, storage); the node is "" on a shared storage


def down(nodes: Iterable[Node], silent: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Given nodes, and those that were called online and did not answer, return how each that
    cannot be asked is known to be so.

    OFFLINE: the cluster's members say it. UNKNOWN: they do not, its status is unknown, and it did
    not answer. SILENT: called online, and it did not answer.
    """
    told = {node.name: UNKNOWN if node.unknown else OFFLINE for node in nodes if not node.online}
    return told | {name: SILENT for name in silent if name not in told}


def place(archive: Archive) -> Place:
    """Given an archive, return the place that must be listed to see whether it is there."""
    return (whole.key(archive)[0], archive.storage)


def in_words(where: Place) -> str:
    """Given a place, return how a sentence names it."""
    return f"storage {where[1]} of {where[0]}" if where[0] else f"the shared storage {where[1]}"


def was_listed(archive: Archive, looked: Collection[Place]) -> bool:
    """Given an archive that the catalog knows and the places that were listed completely, return
    whether it was looked for.

    A storage that is shared by now, or no longer is, was looked at under its new place.
    """
    names = {place(archive), (archive.node, archive.storage), ("", archive.storage)}
    return not names.isdisjoint(looked)


def unlisted(known: Iterable[Archive], looked: Collection[Place]) -> tuple[Archive, ...]:
    """Given the archives that the catalog knows and the places that were listed completely, return
    those not looked for.
    """
    listed = list(known)
    # of a hundred thousand archives there are few places
    places = {(one.node, one.storage, one.shared): one for one in listed}
    out = {where for where, one in places.items() if not was_listed(one, looked)}
    return tuple(one for one in listed if out and (one.node, one.storage, one.shared) in out)
