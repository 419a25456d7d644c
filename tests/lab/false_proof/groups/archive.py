"""The archive is not what it seems, or holds less than it should."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from backports import zstd

from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import Cell, Words, forged
from tests.lab.false_proof.stage import Stage

# a zstd frame whose content every decoder passes over: its magic number and its size
SKIPPABLE = struct.Struct("<II")
ANOTHER = "is of another machine than guest"


def older_machine(text: str) -> str:
    """The config of a machine that stood under the VMID before: another SMBIOS UUID, created
    earlier.
    """
    text = re.sub(r"uuid=[0-9a-f-]{36}", "uuid=0b5e5e1e-0000-4000-8000-00000000001d", text)
    return re.sub(r"ctime=\d+", "ctime=1600000000", text)


def created_earlier(text: str) -> str:
    """The same SMBIOS UUID, as somebody may have given it to the next machine too."""
    return re.sub(r"ctime=\d+", "ctime=1600000000", text)


def unchecksummed(stage: Stage, content: bytes) -> bytes:
    """Compressed anew without a checksum, the last byte of data altered: nothing but the data
    itself could tell.
    """
    raw = bytearray(zstd.decompress(content))
    extents = [found.start() for found in re.finditer(rb"VMAE\0\0", raw)]
    sizes = {at: int.from_bytes(raw[at + 6 : at + 8], "big") * 4096 for at in extents}
    last = max(at for at, size in sizes.items() if size)
    raw[last + 512 + sizes[last] - 1] ^= 0xFF
    return zstd.compress(bytes(raw), options={zstd.CompressionParameter.checksum_flag: 0})


@contextmanager
def other_bytes_of_the_same_size(stage: Stage) -> Iterator[Words]:
    """An archive that was backed up and read by the service, then compressed anew and filled up to
    its old size.
    """
    made = stage.shell("backup", "run", "--vmid", 108, "--json")
    volid = made.json["guests"][0]["archive"]["volid"]
    path = stage.dump(volid)
    content = path.read_bytes()
    options: dict[int, int] = {
        zstd.CompressionParameter.checksum_flag: 1,
        zstd.CompressionParameter.compression_level: 19,
    }
    fresh = zstd.compress(zstd.decompress(content), options=options)
    missing = len(content) - len(fresh) - SKIPPABLE.size
    assert missing >= 0, "it did not become smaller"
    path.write_bytes(fresh + SKIPPABLE.pack(0x184D2A50, missing) + bytes(missing))
    try:
        yield ("--archive", volid)
    finally:
        path.unlink()
        stage.shell("catalog", "sync")


CELLS = (
    Cell("truncated", 108, forged(cells.truncated), "failed", "archive", 1, "is corrupt"),
    Cell("flipped", 108, forged(cells.flipped), "failed", "archive", 1, "not intact"),
    Cell(
        "a disk that only the config names",
        108,
        forged(cells.with_config(cells.line_added("scsi7: local-lvm:vm-108-disk-7,size=1G"))),
        "failed",
        "archive",
        1,
        "scsi7",
    ),
    Cell(
        "a mapped disk that the header lacks",
        108,
        forged(cells.with_config(cells.line_added("#qmdump#map:scsi7:drive-scsi7:local-lvm:raw:"))),
        "failed",
        "archive",
        1,
        "scsi7",
    ),
    Cell("another guest's", 105, forged(cells.as_it_is, of=104), "failed", "archive", 1, ANOTHER),
    Cell(
        "another guest's since it was recorded",
        105,
        forged(cells.as_it_is, recorded=True, of=104),
        "failed",
        "archive",
        1,
        "size",
    ),
    Cell(
        "of an older machine",
        108,
        forged(cells.with_config(older_machine)),
        "failed",
        "archive",
        1,
        ANOTHER,
    ),
    Cell(
        "of a machine created earlier",
        108,
        forged(cells.with_config(created_earlier)),
        "failed",
        "archive",
        1,
        ANOTHER,
    ),
    Cell(
        "compressed anew since it was recorded",
        108,
        forged(cells.compressed_anew, recorded=True),
        "failed",
        "archive",
        1,
        "size",
    ),
    Cell(
        "other bytes of the same size",
        108,
        other_bytes_of_the_same_size,
        "failed",
        "archive",
        1,
        "SHA-256 .* -> ",
    ),
    Cell(
        "truncated since it was recorded",
        108,
        forged(cells.truncated, recorded=True),
        "failed",
        "archive",
        1,
        "was changed",
    ),
    Cell(
        "flipped since it was recorded",
        108,
        forged(cells.flipped, recorded=True),
        "failed",
        "archive",
        1,
        "not intact",
    ),
    Cell(
        "unchecksummed, a byte altered",
        108,
        forged(unchecksummed),
        "inconclusive",
        None,
        1,
        "no checksum covers its data",
    ),
    Cell(
        "unchecksummed since it was recorded",
        108,
        forged(unchecksummed, recorded=True),
        "failed",
        "archive",
        1,
        "was changed",
    ),
    Cell(
        "no disk at all",
        108,
        forged(cells.with_config(cells.without_disks)),
        "failed",
        "archive",
        1,
        "no disk",
    ),
    Cell(
        "no config at all",
        108,
        forged(cells.with_config(lambda text: None)),
        "failed",
        "archive",
        1,
        "config",
    ),
    Cell(
        "an empty file",
        108,
        forged(lambda stage, content: b""),
        "inconclusive",
        None,
        1,
        "no archive",
    ),
    Cell(
        "a disk that was left out",
        105,
        cells.backed_up_without_disk,
        "failed",
        "archive",
        1,
        "scsi1 is not in the archive",
    ),
)
