"""Partition tables, as sfdisk writes them, and as nobody should."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.filesystems.partitions import Partition, find

from . import made
from .made import MIB, SECTOR

from ..build import unhurried  # isort: skip


@dataclass(frozen=True)
class Bytes:
    """A disk in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size] if offset >= 0 and size > 0 else b""


def disk(folder: Path, script: str, size: int = 8 * MIB) -> bytearray:
    path = made.blank(folder / "disk", size)
    made.run("sfdisk", "-q", path, stdin=script.encode())
    return bytearray(path.read_bytes())


GPT = "label: gpt\nstart=2048, size=4096, name=boot\nstart=8192, size=2048, name=größe\n"


def test_a_gpt_tells_its_partitions_and_their_names(tmp_path: Path) -> None:
    found = find(Bytes(bytes(disk(tmp_path, GPT))))
    assert found == (
        "gpt",
        [
            Partition(2048 * SECTOR, 4096 * SECTOR, "boot"),
            Partition(8192 * SECTOR, 2048 * SECTOR, "größe"),
        ],
    )


@pytest.mark.parametrize("where", [SECTOR + 20, SECTOR + 56, 2 * SECTOR + 40])
def test_a_gpt_whose_first_header_or_table_is_damaged_is_read_from_its_second(
    where: int, tmp_path: Path
) -> None:
    whole = disk(tmp_path, GPT)
    hurt = bytearray(whole)
    hurt[where] ^= 1
    assert find(Bytes(bytes(hurt))) == find(Bytes(bytes(whole)))


def test_a_gpt_of_which_nothing_is_whole_is_none(tmp_path: Path) -> None:
    data = disk(tmp_path, GPT)
    for start in (SECTOR, len(data) - SECTOR):
        data[start + 24] ^= 1
    assert find(Bytes(bytes(data))) is None, "nor is its protective MBR taken for a partition"


def test_a_gpt_of_sectors_of_4096_bytes_is_read() -> None:
    data, size = bytearray(4 * MIB), 4096
    entry = struct.pack("<16s16sQQQ72s", b"k" * 16, b"u" * 16, 10, 19, 0, "ab".encode("utf-16-le"))
    table = entry.ljust(128 * 128, b"\0")
    head = struct.pack(
        "<8sIIII4Q16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, 1023, 6, 1000, b"d" * 16, 2, 128, 128,
        zlib.crc32(table),
    )  # fmt: skip
    head = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
    data[size : size + len(head)] = head
    data[2 * size : 2 * size + len(table)] = table
    assert find(Bytes(bytes(data))) == ("gpt", [Partition(10 * size, 10 * size, "ab")])


def test_an_mbr_tells_primary_and_logical_partitions(tmp_path: Path) -> None:
    script = (
        "label: dos\nstart=2048, size=2048, type=83\nstart=4096, size=10240, type=5\n"
        "start=6144, size=1024, type=83\nstart=9216, size=2048, type=83\n"
    )
    found = find(Bytes(bytes(disk(tmp_path, script))))
    assert found is not None and found[0] == "mbr"
    assert [(one.start // SECTOR, one.size // SECTOR) for one in found[1]] == [
        (2048, 2048),
        (6144, 1024),
        (9216, 2048),
    ]


def test_logical_partitions_that_lead_back_to_themselves_come_to_an_end(tmp_path: Path) -> None:
    script = "label: dos\nstart=2048, size=8192, type=5\nstart=4096, size=1024, type=83\n"
    data = disk(tmp_path, script)
    at = 2048 * SECTOR + 446 + 16
    data[at : at + 16] = struct.pack("<4xB3xII", 5, 0, 1)
    found = find(Bytes(bytes(data)))
    assert found is not None and len(found[1]) == 1


def test_what_has_no_table_has_none(tmp_path: Path) -> None:
    assert find(Bytes(bytes(MIB))) is None
    assert find(Bytes(b"")) is None
    boot_code = bytearray(made.noise(MIB))
    boot_code[510:512] = b"\x55\xaa"
    boot_code[446] = 0x42  # no row begins so
    assert find(Bytes(bytes(boot_code))) is None


@unhurried
@given(st.data())
def test_whatever_stands_there_it_is_a_table_or_none(data: st.DataObject) -> None:
    image = bytearray(40 * SECTOR)
    image[510:512] = b"\x55\xaa"
    for _ in range(data.draw(st.integers(0, 4))):
        row = data.draw(st.integers(0, 3))
        at = data.draw(st.sampled_from([0, 1, 2, 39])) * SECTOR + 446 + 16 * row
        kind = data.draw(st.sampled_from([0, 5, 0x0F, 0x83, 0xEE]))
        numbers = data.draw(st.tuples(*[st.integers(0, 2**32 - 1) | st.integers(0, 39)] * 2))
        if at + 16 <= len(image):
            image[at : at + 16] = struct.pack("<4xB3xII", kind, *numbers)
    found = find(Bytes(bytes(image)))
    if found is not None:
        assert all(0 < one.start < len(image) and one.size > 0 for one in found[1])
