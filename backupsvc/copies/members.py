"""What may be in a tar of ours that comes back from a target: files with plain names, and no more."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Collection

_NAME = re.compile(r"(?!\.)[\w.~%-]{1,120}", re.ASCII)


def must_be_ours(member: tarfile.TarInfo, known: Collection[str], most: int) -> None:
    """Given a member, the names of those before it and how many there may be, raise ValueError if
    nothing of ours has such a one.
    """
    # no link, no device, no hole: what was packed is files with all their bytes
    if member.type != tarfile.REGTYPE or member.issparse() or member.pax_headers:
        raise ValueError("it has more in it than files")
    # no part of a name is empty or begins with a dot: none leads out of the folder
    if not all(_NAME.fullmatch(part) for part in member.name.split("/")):
        raise ValueError("a file in it has a name that none of ours has")
    if member.name in known or len(known) >= most:
        raise ValueError("it has a file twice, or too many")
