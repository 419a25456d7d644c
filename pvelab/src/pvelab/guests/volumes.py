"""Volumes on the lab's storages: which storage may be used, where a volume lies, making and freeing
disks.

A directory storage keeps ``dump/``, ``images/<vmid>/`` and so on below its path; a thin pool's
volumes are raw files in the node's ``dev/pve``. Paths are the real ones, so that the node's SFTP
serves them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pvelab.guests.names import parse_name, split_volid
from pvelab.kernel import Lab, LabError, StorageDef

_DISK = re.compile(r"vm-(\d+)-(?:disk|cloudinit|state)-?\S*")
_CONTENT_DIRS = {
    "backup": "dump",
    "iso": "template/iso",
    "vztmpl": "template/cache",
    "snippets": "snippets",
}


@dataclass(frozen=True)
class Volume:
    """A volume that a volid names. ``content`` is what PVE calls its content type; ``owner`` its
    guest's VMID, if it has one.
    """

    volid: str
    storage: str
    content: str
    path: Path
    owner: int | None = None


def usable(lab: Lab, node: str, storage: str) -> StorageDef:
    """Return a storage that can be used on a node. Raise LabError 500 with PVE's text if it
    cannot.
    """
    definition = lab.storage(storage)
    if definition.disabled:
        raise LabError(500, f"storage '{storage}' is disabled")
    if definition.nodes is not None and node not in definition.nodes:
        raise LabError(500, f"storage '{storage}' is not available on node '{node}'")
    return definition


def for_disks(lab: Lab, node: str, storage: str) -> StorageDef:
    """Return a storage that holds disks. Raise LabError 500 with PVE's text if it cannot."""
    definition = usable(lab, node, storage)
    if "images" not in definition.content:
        raise LabError(500, f"Content type 'images' is not available on storage '{storage}'")
    return definition


def is_available(lab: Lab, node: str, storage: str) -> bool:
    """Say whether a storage is enabled on a node."""
    definition = lab.storage(storage)
    return not definition.disabled and (definition.nodes is None or node in definition.nodes)


def find(lab: Lab, node: str, volid: str) -> Volume:
    """Given a volid, return where its volume would lie, there or not. Raise LabError 500 for a bad
    name or storage.

    An archive that was only computed until now (``Lab.history``) is written: whoever names it wants
    to read or change it.
    """
    parts = split_volid(volid)
    if parts is None:
        raise LabError(500, f"unable to parse volume ID '{volid}'\n")
    storage, name = parts
    usable(lab, node, storage)
    base = lab.storage_dir(node, storage)
    if lab.storage(storage).block:
        return Volume(volid, storage, "images", base / _safe(name), _owner(name))
    prefix, _, rest = name.partition("/")
    if prefix == "backup" and (archive := parse_name(rest, lab.tz)):
        if lab.history:
            lab.history.materialise(node, storage, archive)
        return Volume(
            volid, storage, prefix, base / _CONTENT_DIRS[prefix] / _safe(rest), archive.vmid
        )
    # a backup by a name that is none is no volume
    if prefix in _CONTENT_DIRS and prefix != "backup" and rest:
        return Volume(volid, storage, prefix, base / _CONTENT_DIRS[prefix] / _safe(rest))
    if rest and prefix.isdigit():
        return Volume(
            volid, storage, "images", base / "images" / _safe(prefix) / _safe(rest), _owner(rest)
        )
    raise LabError(500, f"unable to parse directory volume name '{name}'\n")


def images(lab: Lab, node: str, storage: str) -> Iterator[Volume]:
    """Yield the disks on a storage, by name."""
    base = lab.storage_dir(node, storage)
    thin = lab.storage(storage).block
    for path in sorted(base.glob("vm-*") if thin else base.glob("images/*/vm-*")):
        name = path.name if thin else f"{path.parent.name}/{path.name}"
        yield Volume(f"{storage}:{name}", storage, "images", path, _owner(path.name))


def allocate(lab: Lab, node: str, storage: str, vmid: int, size: int) -> Volume:
    """Make a new empty disk of ``size`` bytes under the first free name. Raise LabError if the
    storage cannot hold disks.
    """
    thin = for_disks(lab, node, storage).block
    taken = {volume.path.name for volume in images(lab, node, storage)}
    ending = "" if thin else ".raw"
    # gaps are filled: one more name than there are disks is always enough
    number = next(n for n in range(len(taken) + 1) if f"vm-{vmid}-disk-{n}{ending}" not in taken)
    file = f"vm-{vmid}-disk-{number}{ending}"
    volume = find(lab, node, f"{storage}:{file}" if thin else f"{storage}:{vmid}/{file}")
    volume.path.parent.mkdir(parents=True, exist_ok=True)
    # fails where two tasks chose the same name
    with volume.path.open("xb") as disk:
        disk.truncate(size)
    return volume


def free(volume: Volume) -> None:
    """Remove a disk, and its guest's directory when that is empty then."""
    if volume.path.is_dir():  # a container's volume is a directory tree here
        shutil.rmtree(volume.path)
    volume.path.unlink(missing_ok=True)
    parent = volume.path.parent
    # a directory storage keeps a folder a guest; a thin pool has none
    if parent.parent.name == "images" and not any(parent.iterdir()):
        parent.rmdir()


def missing(lab: Lab, volume: Volume) -> str:
    """Return what is said of a disk that is gone: recorded for a directory (07_tasks 94), the lab's
    own words for a thin pool.
    """
    if lab.storage(volume.storage).type == "dir":
        return f"volume '{volume.volid}' does not exist"
    return f"no such volume '{volume.volid}'"


def device_path(lab: Lab, volume: Volume) -> str:
    """Return the path of a disk as logs show it: a thin volume's is its device node."""
    if (definition := lab.storage(volume.storage)).type == "zfspool":
        return f"/dev/zvol/{definition.options['pool']}/{volume.path.name}"
    return f"/dev/pve/{volume.path.name}" if definition.block else str(volume.path)


def _owner(name: str) -> int | None:
    found = _DISK.match(name)
    return int(found[1]) if found else None


def _safe(name: str) -> str:
    """Raise LabError unless the name stays in its directory."""
    if "/" in name or name in ("", ".", ".."):
        raise LabError(500, f"unable to parse directory volume name '{name}'\n")
    return name
