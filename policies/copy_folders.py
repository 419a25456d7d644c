"""What kind of place a copy target is, and which folder, in words."""

from __future__ import annotations

from policies.model import CopyTarget, Directory, PveStorage, SftpFolder


def kind_of(target: CopyTarget) -> str:
    """Given a target, return its kind as the policy writes it."""
    return {PveStorage: "pve-storage", SftpFolder: "sftp", Directory: "directory"}[
        type(target.place)
    ]


def folder_of(target: CopyTarget) -> str:
    """Given a target, return which folder it is, for a reader: ``lge-pve02:/var/lib/vz/dump``. No
    two targets have the same.
    """
    place = target.place
    if isinstance(place, PveStorage):
        return f"{place.node}:{place.path}"
    if isinstance(place, SftpFolder):
        return f"sftp://{place.host.lower()}:{place.port}{place.path}"
    return place.path
