"""Remove a copy from its target: the manifest first, so that what is left of it when that breaks off
is no copy.
"""

from __future__ import annotations

from collections.abc import Mapping

from backupsvc.copies.small import content
from backupsvc.copies.target import Target
from policies import segments
from policies.copy_manifest import MOST, attempts, manifest_name, read_manifest, sidecar_names
from policies.model import ArchiveCopy


def not_as_verified(target: Target, copy: ArchiveCopy, files: Mapping[str, int]) -> str | None:
    """Given a target, a copy that was verified there and what lies there now (names and sizes),
    return why it must not be removed: what has its name is not what was written. None if it is.
    """
    wanted = copy.route.volid, copy.file, copy.size, copy.sha256
    if copy.encrypted:
        held = segments.unpacked(copy.file, copy.segments)
        manifests = attempts(segments.manifest_name(copy.file), files)
        if not held or not manifests or any(files.get(one.file) != one.size for one in held):
            return f"the encrypted copy of {copy.file} is not there as it was verified"
        told = segments.read_manifest(content(target, manifests[-1], segments.MOST))
        if (
            isinstance(told, segments.Unreadable)
            or (told.volid, told.file, told.size, told.sha256) != wanted
        ):
            return f"{manifests[-1]} speaks of another copy than the catalog does"
        return None
    manifest = manifest_name(copy.file)
    if files.get(copy.file) != copy.size or not 0 < files.get(manifest, 0) <= MOST:
        return f"{copy.file} is not there as it was verified"
    found = read_manifest(content(target, manifest, MOST))
    if found is None or (found.volid, found.file, found.size, found.sha256) != wanted:
        return f"{manifest} speaks of another copy than the catalog does"
    return None


def remove(target: Target, copy: ArchiveCopy) -> str | None:
    """Remove a copy, with all that was written beside it; what is gone already is removed. Return
    why it is left, if another file has its name by now; None when nothing of it is there.

    Raise what the target raises: then some of it may be gone.
    """
    files = target.files()
    if copy.encrypted:
        sizes = {one.file: one.size for one in segments.unpacked(copy.file, copy.segments)}
        manifests = attempts(segments.manifest_name(copy.file), files)
        own = segments.own_files(copy.file, files)
    else:
        sizes, manifests = {copy.file: copy.size}, [manifest_name(copy.file)]
        own = [copy.file, *sidecar_names(copy.file)]
    for file, size in sizes.items():
        if files.get(file, size) != size:
            return f"{file} has {files[file]} bytes by now, not {size}"
    for name in dict.fromkeys((*manifests, *own)):
        if name in files:
            target.remove(name)
    return None
