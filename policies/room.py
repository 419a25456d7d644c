"""Estimate whether a backup's archives, or the disks of a guest that is brought back, will find
room on their storage.

An archive is about as large as the one before it; a disk is as large as its config says, though
most storages allocate only what is written. What is not known (a storage that does not tell, a
guest without any archive) is said to be unknown, and never taken for room.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from policies.model import Archive, Guest, Storage
from policies.pve import guest_config

MARGIN = 110  # percent: archives grow
# Allocates a disk's whole size when it is made (PVE/Storage/LVMPlugin.pm: lvcreate --size). A thin
# pool, a file and an RBD image grow with what is written, and ZFS sets all of it aside or nothing,
# by a setting that a node's storage list does not show.
_ALLOCATES_ALL = frozenset({"lvm"})


@dataclass(frozen=True, slots=True)
class Room:
    """One storage that archives are to be written to. ``node`` is "" for a shared one; ``free`` in
    bytes, None where none tells.

    ``needed`` are the bytes of the last archives of ``guests`` of its guests; ``unknown`` have none
    to go by. ``silent`` is how its node is known not to answer ("" if it does): then nothing is
    known of its room, and nothing more is to be said of it.
    """

    storage: str
    node: str
    free: int | None
    needed: int
    guests: int
    unknown: tuple[int, ...]
    silent: str = ""

    @property
    def short(self) -> bool:
        """Whether the archives do not fit, by what is known."""
        return self.free is not None and (self.free < self.needed or self.free == 0)

    @property
    def tight(self) -> bool:
        """Whether they fit, but not if they grow as archives do."""
        return not self.short and self.free is not None and self.free * 100 < self.needed * MARGIN

    @property
    def where(self) -> str:
        """The storage, with its node where it is not shared."""
        return f"{self.storage} on {self.node}" if self.node else self.storage


def rooms(
    targets: Iterable[tuple[Guest, str]],
    archives: Sequence[Archive],
    storages: Sequence[Storage],
    down: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Room, ...]:
    """Given the guests with the storage that each is written to, all archives and storages, return
    one Room a place, by name.

    ``down`` are the nodes that cannot be asked, each with how that is known. A guest that two jobs
    write to one storage is counted twice there.
    """
    by_place: dict[tuple[str, str], list[int]] = {}
    for guest, name in targets:
        shared = any(storage.shared for storage in storages if storage.name == name)
        by_place.setdefault((name, "" if shared else guest.node), []).append(guest.vmid)
    ordered = sorted(
        (item for item in archives if item.size > 0), key=lambda item: (item.ctime, item.volid)
    )
    last = {item.vmid: item for item in ordered if item.vmid is not None}
    found = []
    for (name, node), vmids in sorted(by_place.items()):
        sizes = [last[vmid].size for vmid in vmids if vmid in last]
        unknown = tuple(sorted({vmid for vmid in vmids if vmid not in last}))
        found.append(
            Room(
                name,
                node,
                _free(name, node, storages),
                sum(sizes),
                len(sizes),
                unknown,
                down.get(node, ""),
            )
        )
    return tuple(found)


def _free(name: str, node: str, storages: Iterable[Storage]) -> int | None:
    told = [
        storage.available
        for storage in storages
        if storage.name == name
        and node in ("", storage.node)
        and storage.active
        and storage.enabled
        and storage.total
    ]
    return min(told, default=None)


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """What an archive's disks take on one storage when full, in bytes; ``unsized`` do not say how
    large they are.
    """

    storage: str
    needed: int
    unsized: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """One storage of a node that disks are to be restored to. ``free`` in bytes, None where it does
    not tell.

    ``there``: whether the node shows it; ``at_once``: whether it sets a disk's whole size aside
    when the disk is made.
    """

    need: DiskNeed
    node: str
    free: int | None
    there: bool
    at_once: bool

    @property
    def short(self) -> bool:
        """Whether the disks do not fit once they are full, by what is known."""
        return self.free is not None and self.free < self.need.needed

    @property
    def impossible(self) -> bool:
        """Whether the restore surely fails."""
        return self.short and self.at_once


def disk_needs(config: Mapping[str, str], storage: str | None = None) -> tuple[DiskNeed, ...]:
    """Given the config in an archive, return what its disks need on each storage, by name;
    ``storage`` takes all of them.
    """
    by_storage: dict[str, list[str]] = {}
    for key, disk in guest_config.dumped_disks(config).items():
        by_storage.setdefault(storage or disk.storage, []).append(key)
    needs = []
    for name, disks in sorted(by_storage.items()):
        sizes = {disk: guest_config.disk_size(config, disk) for disk in disks}
        needs.append(
            DiskNeed(
                name,
                sum(filter(None, sizes.values())),
                tuple(sorted(key for key in sizes if sizes[key] is None)),
            )
        )
    return tuple(needs)


def for_disks(
    needs: Iterable[DiskNeed], node: str, storages: Collection[Storage]
) -> tuple[DiskRoom, ...]:
    """Given what disks need, the node that they are restored on and all storages, return the room
    on each that is needed.
    """
    here = {storage.name: storage for storage in storages if storage.node == node}
    return tuple(
        DiskRoom(
            need,
            node,
            _free(need.storage, node, storages),
            need.storage in here,
            need.storage in here and here[need.storage].type in _ALLOCATES_ALL,
        )
        for need in needs
    )


def roomier(needed: int, node: str, storages: Iterable[Storage]) -> list[Storage]:
    """Given bytes and a node, return its storages that could take disks of so many, the roomiest
    first.
    """
    able = (
        one
        for one in storages
        if one.node == node and "images" in one.content and one.active and one.enabled
    )
    return sorted(
        (one for one in able if one.available >= needed), key=lambda one: (-one.available, one.name)
    )
