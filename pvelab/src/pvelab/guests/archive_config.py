"""The configuration inside an archive: read without the rest of it (PVE's extractconfig; texts
recorded in 06_restore_errors).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pvelab.guests.compression import CompressorFailed, Decompressed
from pvelab.guests.vma_format import Header, VmaError
from pvelab.guests.vma_reader import read_header
from pvelab.kernel import LabError

CONFIG_FILE = "qemu-server.conf"
# how the configuration is read from archives other than VMA files; containers add theirs
READERS: dict[str, Callable[[Path], str]] = {}


def extract_config(path: Path) -> str:
    """Return the raw text of an archive's configuration. Raise LabError 500 in PVE's words if it
    cannot be read.
    """
    if ".tar" in path.suffixes:
        return READERS["tar"](path)
    return archived_header(path).configs[CONFIG_FILE].decode("utf-8", "replace")


def archived_header(path: Path) -> Header:
    """Return an archive's header. Raise LabError 500 in PVE's words if it cannot be read or holds
    no VM.
    """
    try:
        with Decompressed(path, str(path)) as stream:
            try:
                header = read_header(stream)
            except VmaError as error:
                raise LabError(
                    500,
                    "Failed to extract config from VMA archive: "
                    f"{stream.failure or f'vma: {error}'}\n\n",
                ) from error
    except CompressorFailed as error:
        raise LabError(500, f"Failed to extract config from VMA archive: {error}\n\n") from error
    if CONFIG_FILE not in header.configs:
        raise LabError(500, "Failed to extract config from VMA archive: no qemu-server.conf\n")
    return header
