"""What a guest needs of the node that it is to run on, read from its configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from policies.model import PolicyError
from policies.pve import guest_config, property_string
from policies.pve.volid import is_volid, storage_of
from policies.restore_rights import networks, real_devices
from policies.room import DiskNeed

_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Needs:
    """``disks`` is what those disks take that a backup holds, ``storages`` are where all of its
    disks lie, and what of ``media`` is in its CD-ROM drives; ``devices`` are keys of devices of the
    node itself. ``memory`` in bytes; ``order`` is its place in the start order, None: it has none.
    """

    disks: tuple[DiskNeed, ...] = ()
    storages: frozenset[str] = frozenset()
    bridges: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    memory: int = 0
    order: int | None = None

    @property
    def size(self) -> int:
        """Bytes that its disks take when they are full, as far as they say."""
        return sum(need.needed for need in self.disks)


def of(config: Mapping[str, str]) -> Needs:
    """Given a VM's config as it runs or as it was kept (not an archive's), return what it needs."""
    by_storage: dict[str, list[str]] = {}
    storages: set[str] = set()
    media: list[str] = []
    wanted = set(guest_config.disks_to_dump(config))
    for key, value in guest_config.drives(config):
        file = guest_config.drive(value).get("file", "")
        if guest_config.is_cdrom(value):
            media += [file] if is_volid(file) else []
        elif is_volid(file):
            storages.add(storage_of(file))
            if key in wanted:
                by_storage.setdefault(storage_of(file), []).append(key)
    disks = []
    for name, keys in sorted(by_storage.items()):
        sizes = {key: guest_config.disk_size(config, key) for key in keys}
        unsized = tuple(key for key in keys if sizes[key] is None)
        disks.append(DiskNeed(name, sum(filter(None, sizes.values())), unsized))
    bridges = sorted({network.partition("/")[0] for _, network in networks(config)})
    return Needs(
        tuple(disks),
        frozenset(storages),
        tuple(bridges),
        tuple(media),
        tuple(real_devices(config)),
        guest_config.memory_of(config) << 20,
        _order(config),
    )


def _order(config: Mapping[str, str]) -> int | None:
    try:
        told = property_string.parse(config.get("startup", ""), default="order").get("order", "")
    except PolicyError:
        return None
    return int(told) if _NUMBER.fullmatch(told) else None
