"""What a guest needs of the node that runs it, read from its configuration (pve-facts 9.7)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from policies.model import GuestType, PolicyError
from policies.pve import guest_config, property_string, volid

_MOUNT = re.compile(r"rootfs|mp\d+")
_DEVICE = re.compile(r"(?:hostpci|usb|serial|parallel|dev)\d+")
_SHARED_FOLDER = re.compile(r"virtiofs\d+")
# what a configuration may name that is the same on every node
_EVERYWHERE = frozenset({"socket", "spice", "host=spice", "/dev/net/tun", "/dev/fuse", "/dev/kvm"})
_LISTED = frozenset({"iso", "snippets"})  # kinds of files that a storage lists by their names


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume under a key of a configuration. ``replicated``: a replication job copies it;
    ``made``: PVE makes it anew where it is missing, as it does with a cloud-init drive.
    """

    key: str
    volid: str
    replicated: bool = True
    made: bool = False

    @property
    def storage(self) -> str:
        """The storage that it lies on."""
        return volid.storage_of(self.volid)

    @property
    def kind(self) -> str:
        """The kind of file that it is, as a storage lists it; of a disk's it is no word of PVE."""
        return self.volid.partition(":")[2].partition("/")[0]


@dataclass(frozen=True, slots=True)
class Needs:
    """``disks`` and ``files`` (media, snippets) must be there, and each of ``bridges``. ``local``
    says what its node alone has, ``unsure`` what no configuration tells. ``cpus``: PVE starts no VM
    with more than its node has.
    """

    disks: tuple[Volume, ...] = ()
    files: tuple[Volume, ...] = ()
    bridges: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    cpus: int = 0


def needs(config: Mapping[str, str], kind: GuestType) -> Needs:
    """Given a guest's configuration and its kind, return what it needs."""
    disks: list[Volume] = []
    files: list[Volume] = []
    local: list[str] = []
    unsure: list[str] = []
    for volume in _volumes(config, kind):
        if not _on_storage(volume.volid):
            local.append(f"{volume.key} is {volume.volid}, which its node alone has")
        elif volume.kind in _LISTED:
            files.append(volume)
        else:
            disks.append(volume)
    for key, value in sorted(config.items()):
        if _DEVICE.fullmatch(key):
            mapping, first = property_string.every(value, "mapping"), _first(value)
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
    return Needs(
        tuple(disks),
        tuple(files),
        tuple(dict.fromkeys(bridges)),
        tuple(local),
        tuple(unsure),
        _number(config, "sockets") * _number(config, "cores") if kind is GuestType.QEMU else 0,
    )


def _number(config: Mapping[str, str], key: str) -> int:
    text = config.get(key, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 1


def _volumes(config: Mapping[str, str], kind: GuestType) -> Iterator[Volume]:
    if kind is GuestType.QEMU:
        for key, value in guest_config.drives(config):
            drive = guest_config.drive(value)
            if drive.get("file", "none") != "none":
                made = "cloudinit" in drive["file"] and guest_config.is_cdrom(value)
                yield Volume(key, drive["file"], _not_off(drive.get("replicate", "1")), made)
        if "vmstate" in config:
            yield Volume("vmstate", config["vmstate"])
        yield from (
            Volume("cicustom", name.partition("=")[2])
            for name in config.get("cicustom", "").split(",")
            if name
        )
    else:
        for key, value in sorted(config.items()):
            if _MOUNT.fullmatch(key):
                yield from _mount(key, value)
    if "hookscript" in config:
        yield Volume("hookscript", config["hookscript"])


def _mount(key: str, value: str) -> Iterator[Volume]:
    """A mount point; a folder of the node that is marked ``shared`` is there on every one."""
    try:
        mount = property_string.parse(value, default="volume")
    except PolicyError:
        mount = {"volume": value}
    volume = Volume(key, mount.get("volume", ""), _not_off(mount.get("replicate", "1")))
    if _on_storage(volume.volid) or property_string.boolean(mount.get("shared", "0")) is not True:
        yield volume


def _on_storage(volume: str) -> bool:
    """A path of a device may hold a colon too."""
    return volid.is_volid(volume) and not volume.startswith("/")


def _first(value: str) -> str:
    first = value.partition(",")[0]
    return first.removeprefix("path=")


def _not_off(text: str) -> bool:
    return property_string.boolean(text) is not False
