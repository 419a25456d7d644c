"""What a guest needs of the node that runs it, read from its configuration as it runs or as it was
kept, not an archive's (pve-facts 9.7).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from policies.model import GuestType, PolicyError
from policies.pve import guest_config, property_string, volid
from policies.room import DiskNeed

_ORDER = re.compile(r"[0-9]{1,9}")
_MOUNT = re.compile(r"rootfs|mp\d+")
_DEVICE = re.compile(r"(?:hostpci|usb|serial|parallel|dev)\d+")
_SHARED_FOLDER = re.compile(r"virtiofs\d+")
# what a configuration may name that is the same on every node
_EVERYWHERE = frozenset({"socket", "spice", "host=spice", "/dev/net/tun", "/dev/fuse", "/dev/kvm"})
_LISTED = frozenset({"iso", "snippets"})  # kinds of files that a storage lists by their names


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume under a key of a configuration. ``replicated``: a replication job copies it;
    ``made``: PVE makes it anew where it is missing, as it does with a cloud-init drive. ``size`` in
    bytes when it is full, None if it does not say; ``dumped``: a backup holds it.
    """

    key: str
    volid: str
    replicated: bool = True
    made: bool = False
    size: int | None = None
    dumped: bool = True

    @property
    def storage(self) -> str:
        """The storage that it lies on."""
        return volid.storage_of(self.volid)

    @property
    def kind(self) -> str:
        """The kind of file that it is, as a storage lists it; of a disk's it is no word of PVE."""
        return volid.kind_of(self.volid)


@dataclass(frozen=True, slots=True)
class Needs:
    """``disks`` and ``files`` (media, snippets) must be there, and each of ``bridges``. ``local``
    says what its node alone has, ``unsure`` what no configuration tells. ``cpus``: PVE starts no VM
    with more than its node has. ``memory`` in bytes; ``order`` is its place in the start order, None:
    it has none.
    """

    disks: tuple[Volume, ...] = ()
    files: tuple[Volume, ...] = ()
    bridges: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    cpus: int = 0
    memory: int = 0
    order: int | None = None

    @property
    def storages(self) -> frozenset[str]:
        """Where its disks lie."""
        return frozenset(disk.storage for disk in self.disks if not disk.made)

    @property
    def restored(self) -> tuple[DiskNeed, ...]:
        """What the disks that a backup holds take on each storage, by its name."""
        by_storage: dict[str, list[Volume]] = {}
        for disk in self.disks:
            if disk.dumped and not disk.made:
                by_storage.setdefault(disk.storage, []).append(disk)
        return tuple(
            DiskNeed(
                name,
                sum(disk.size or 0 for disk in disks),
                tuple(disk.key for disk in disks if disk.size is None),
            )
            for name, disks in sorted(by_storage.items())
        )

    @property
    def size(self) -> int:
        """Bytes that all those take when they are full, as far as they say."""
        return sum(need.needed for need in self.restored)


def needs(config: Mapping[str, str], kind: GuestType) -> Needs:
    """Given a guest's configuration and its kind, return what it needs."""
    volumes = list(_volumes(config, kind))
    there = [one for one in volumes if _on_storage(one.volid)]
    local = [
        f"{one.key} is {one.volid}, which its node alone has"
        for one in volumes
        if not _on_storage(one.volid)
    ]
    unsure: list[str] = []
    for key, value in sorted(config.items()):
        if _DEVICE.fullmatch(key):
            mapping = property_string.every(value, "mapping")
            first = value.partition(",")[0].removeprefix("path=")
            if mapping:
                unsure.append(
                    f"{key} is the mapped device {mapping[0]}, and which nodes have one is not seen"
                )
            elif first not in _EVERYWHERE:
                local.append(f"{key} is a device of its node ({first})")
        elif _SHARED_FOLDER.fullmatch(key):
            unsure.append(f"{key} is a folder of its node, and which nodes have it is not seen")
        elif key == "args":
            unsure.append("its args may name what its node alone has")
    bridges = [
        bridge
        for _, value in guest_config.nics(config)
        for bridge in property_string.every(value, "bridge")
    ]
    order = ""
    with suppress(PolicyError):  # what cannot be read gives no place in the order
        order = property_string.parse(config.get("startup", ""), default="order").get("order", "")
    return Needs(
        tuple(one for one in there if one.kind not in _LISTED),
        tuple(one for one in there if one.kind in _LISTED),
        tuple(dict.fromkeys(bridges)),
        tuple(local),
        tuple(unsure),
        _number(config, "sockets") * _number(config, "cores") if kind is GuestType.QEMU else 0,
        guest_config.memory_of(config) << 20,
        int(order) if _ORDER.fullmatch(order) else None,
    )


def _number(config: Mapping[str, str], key: str) -> int:
    text = config.get(key, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 1


def _volumes(config: Mapping[str, str], kind: GuestType) -> Iterator[Volume]:
    if kind is GuestType.QEMU:
        for key, value in guest_config.drives(config):
            drive = guest_config.drive(value)
            if drive.get("file", "none") != "none":
                yield Volume(
                    key,
                    drive["file"],
                    _not_off(drive.get("replicate", "1")),
                    made="cloudinit" in drive["file"] and guest_config.is_cdrom(value),
                    size=guest_config.size_of(drive),
                    dumped=property_string.maybe_on(drive.get("backup", "1")),
                )
        if "vmstate" in config:
            yield Volume("vmstate", config["vmstate"], dumped=False)
        yield from (Volume("cicustom", name) for name in guest_config.snippets(config))
    else:
        for key, value in sorted(config.items()):
            if not _MOUNT.fullmatch(key):
                continue
            try:
                mount = property_string.parse(value, default="volume")
            except PolicyError:
                mount = {"volume": value}
            volume = Volume(
                key,
                mount.get("volume", ""),
                _not_off(mount.get("replicate", "1")),
                size=guest_config.size_of(mount),
                # of a container's mount points vzdump takes only those that ask for it
                dumped=key == "rootfs" or property_string.boolean(mount.get("backup", "0")) is True,
            )
            shared = property_string.boolean(mount.get("shared", "0")) is True
            # a folder of the node that is marked ``shared`` is there on every one
            if _on_storage(volume.volid) or not shared:
                yield volume
    if "hookscript" in config:
        yield Volume("hookscript", config["hookscript"])


def _on_storage(volume: str) -> bool:
    """A path of a device may hold a colon too."""
    return volid.is_volid(volume) and not volume.startswith("/")


def _not_off(text: str) -> bool:
    return property_string.boolean(text) is not False
