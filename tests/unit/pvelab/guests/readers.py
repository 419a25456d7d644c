"""The lab's archives as others read them: a third party's reader and the service's own, both of the
whole archive.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from backports import zstd
from dissect.archive.vma import VMA

from backupsvc.archives.extract import extract

_PLAIN: dict[str, Callable[[bytes], bytes]] = {
    ".zst": zstd.decompress,
    ".gz": gzip.decompress,
    ".vma": bytes,
}


def by_dissect(path: Path) -> dict[str, str]:
    """Return the SHA-256 of each disk of an archive, by device, as dissect.archive reads it."""
    devices = VMA(io.BytesIO(_PLAIN[path.suffix](path.read_bytes()))).devices()
    return {
        device.name: hashlib.sha256(device.open().read(device.size)).hexdigest()
        for device in devices
    }


def by_the_service(path: Path) -> dict[str, str]:
    """Return the same as the service reads it. Raise ArchiveError unless the archive is intact."""
    with tempfile.TemporaryDirectory() as directory:
        disks = [file for file in extract(path, directory).files if file.suffix == ".raw"]
        return {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in disks}


def by_both(path: Path) -> dict[str, str]:
    """Return the same. Raise AssertionError unless both agree."""
    found = by_dissect(path)
    assert found == by_the_service(path), path.name
    return found
