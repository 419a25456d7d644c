"""Remove a copy from its target: the manifest first, so that what is left of it when that breaks off
is no copy.
"""

from __future__ import annotations

from collections.abc import Mapping

from backupsvc.copies.target import Target
from policies.copy_manifest import MOST, manifest_name, read_manifest, sidecar_names
from policies.model import ArchiveCopy


def not_as_verified(target: Target, copy: ArchiveCopy, files: Mapping[str, int]) -> str | None:
    """Given a target, a copy that was verified there and what lies there now (names and sizes),
    return why it must not be removed: what has its name is not what was written. None if it is.
    """
    manifest = manifest_name(copy.file)
    if files.get(copy.file) != copy.size or not 0 < files.get(manifest, 0) <= MOST:
        return f"{copy.file} is not there as it was verified"
    with target.read(manifest) as stream:
        found = read_manifest(stream.read(MOST + 1))
    wanted = copy.route.volid, copy.file, copy.size, copy.sha256
    if found is None or (found.volid, found.file, found.size, found.sha256) != wanted:
        return f"{manifest} speaks of another copy than the catalog does"
    return None


def remove(target: Target, copy: ArchiveCopy) -> str | None:
    """Remove a copy, with all that was written beside it; what is gone already is removed. Return
    why it is left, if another file has its name by now; None when nothing of it is there.

    Raise what the target raises: then some of it may be gone.
    """
    files = target.files()
    if files.get(copy.file, copy.size) != copy.size:
        return f"{copy.file} has {files[copy.file]} bytes by now, not {copy.size}"
    for name in (manifest_name(copy.file), copy.file, *sidecar_names(copy.file)):
        if name in files:
            target.remove(name)
    return None
