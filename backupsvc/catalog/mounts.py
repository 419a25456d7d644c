"""Where a file lies: SQLite's WAL needs memory that all its processes share, which a network file
system does not give.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath

_NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ceph",
        "lustre",
        "afs",
        "gfs2",
        "ocfs2",
        "beegfs",
        "pvfs2",
    }
)
_NETWORK_FUSE = frozenset(
    {"fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone"}
)


def network_file_system(path: Path) -> str | None:
    """Given a path, return the type of the network file system that it lies on, or None if it lies
    on this machine.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux: nothing is known
        return None
    type = file_system(path.resolve(), mounts)
    return type if type in _NETWORK | _NETWORK_FUSE else None


def file_system(path: PurePath, mountinfo: str) -> str | None:
    """Given an absolute path and the text of /proc/self/mountinfo (proc(5)), return the type of its
    file system, or None.
    """
    found: tuple[int, str | None] = (0, None)
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        # a blank in a path stands there as \040, its octal code
        mounted = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        place = PurePath(mounted)
        # of two on one place the later one hides the other
        if path.is_relative_to(place) and len(place.parts) >= found[0]:
            found = (len(place.parts), after.split(" ")[0])
    return found[1]
