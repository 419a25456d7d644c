"""Manifests whose copy is gone: PVE removes an archive with its notes and log, and knows nothing of
the manifest beside it.
"""

from __future__ import annotations

from backupsvc.copies.target import Target
from policies.copy_manifest import MANIFEST_END, MOST, manifest_name, read_manifest


def remove_stale_manifests(target: Target) -> list[str]:
    """Given a target where things can be removed, remove the manifests of copies that are no longer
    there; return their names.

    Only what reads as a manifest of ours is removed. A copy under way has none: it comes last.
    """
    listed = target.files()
    stale: list[str] = []
    for name in _alone(listed):
        if listed[name] <= MOST:
            with target.read(name) as stream:
                found = read_manifest(stream.read(MOST + 1))
            if found is not None and manifest_name(found.file) == name:
                stale.append(name)
    # looked for once more: a listing that was made while files got their names may lack some
    gone = set(_alone(target.files())) if stale else set()
    for name in (removed := [name for name in stale if name in gone]):
        target.remove(name)
    return removed


def _alone(files: dict[str, int]) -> list[str]:
    return [
        name
        for name in files
        if name.endswith(MANIFEST_END) and name.removesuffix(MANIFEST_END) not in files
    ]
