"""What a guest's disk holds, as a hash: most of a disk is holes, and to read these takes longer than
the rest of a test.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

ZEROS = bytes(64 * 1024)


def hash_disk(path: Path) -> str:
    """The hash of a disk's size and of its blocks, each with its place; those of zeros are left
    out, wherever they are stored or not.
    """
    digest = hashlib.sha256(b"%d" % path.stat().st_size)
    with path.open("rb", buffering=0) as file:
        for place in _stored(file.fileno()):
            block = os.pread(file.fileno(), len(ZEROS), place)
            if not ZEROS.startswith(block):
                digest.update(b"%d:" % place)
                digest.update(block)
    return digest.hexdigest()


def _stored(file: int) -> Iterator[int]:
    """Where the blocks begin of which a file stores anything: the others read as zeros."""
    place = 0
    while True:
        try:
            place = max(place, os.lseek(file, place, os.SEEK_DATA) // len(ZEROS) * len(ZEROS))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # nothing is stored from there to the end
        yield place
        place += len(ZEROS)
