"""Whether a backup's archives will find room: each guest's last archive against what the storage has free.

An archive is about as large as the one before it. What is not known (a storage that does not tell, a guest without any archive)
is said to be unknown, and never taken for room.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policies.model import Archive, Guest, Storage

MARGIN = 110  # percent: archives grow


@dataclass(frozen=True, slots=True)
class Room:
    """One storage that archives are to be written to. ``node`` is "" for a shared one; ``free`` in bytes, None where none tells.

    ``needed`` are the bytes of the last archives of ``guests`` of its guests; ``unknown`` have none to go by.
    """

    storage: str
    node: str
    free: int | None
    needed: int
    guests: int
    unknown: tuple[int, ...]

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


def rooms(targets: Iterable[tuple[Guest, str]], archives: Sequence[Archive], storages: Sequence[Storage]) -> tuple[Room, ...]:
    """Given the guests with the storage that each is written to, all archives and storages, return one Room a place, by name.

    A guest that two jobs write to one storage is counted twice there.
    """
    by_place: dict[tuple[str, str], list[int]] = {}
    for guest, name in targets:
        shared = any(storage.shared for storage in storages if storage.name == name)
        by_place.setdefault((name, "" if shared else guest.node), []).append(guest.vmid)
    last = _last(archives)
    found = []
    for (name, node), vmids in sorted(by_place.items()):
        sizes = [last[vmid].size for vmid in vmids if vmid in last]
        unknown = tuple(sorted({vmid for vmid in vmids if vmid not in last}))
        found.append(Room(name, node, _free(name, node, storages), sum(sizes), len(sizes), unknown))
    return tuple(found)


def _last(archives: Iterable[Archive]) -> dict[int, Archive]:
    ordered = sorted((item for item in archives if item.size > 0), key=lambda item: (item.ctime, item.volid))
    return {item.vmid: item for item in ordered if item.vmid is not None}


def _free(name: str, node: str, storages: Iterable[Storage]) -> int | None:
    told = [
        storage.available
        for storage in storages
        if storage.name == name and node in ("", storage.node) and storage.active and storage.enabled and storage.total
    ]
    return min(told, default=None)
