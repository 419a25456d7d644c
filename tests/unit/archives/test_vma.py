"""The VMA pass: every cluster of every disk exactly once, and every wrong byte of structure told
with its offset.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from dissect.archive.vma import VMA
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.streams import ByteStream, Damage
from backupsvc.archives.vma import MAX_HEADER, Device, Header, VmaPass, read_header

from .build import BLOCK, CLUSTER, CTIME, UUID, Vma, entry, extent, pattern, sign, unhurried

SMALL, ODD = pattern(3 * CLUSTER), pattern(2 * CLUSTER + 5000)
GOOD = Vma({"drive-scsi0": SMALL, "drive-scsi1": ODD}, per_extent=2)
HEADER = len(GOOD.header())
EXTENTS = [extent(entries) for entries in GOOD.plan()]
BOUNDARIES = [HEADER + sum(map(len, EXTENTS[:number])) for number in range(len(EXTENTS))]


class Disks:
    """Keeps what the pass hands over."""

    def __init__(self) -> None:
        self.content: dict[str, bytearray] = {}

    def begin(self, header: Header, files: Sequence[str]) -> None:
        self.content = {
            device.name: bytearray(device.clusters * CLUSTER) for device in header.devices.values()
        }

    def write(self, device: Device, offset: int, data: memoryview) -> None:
        self.content[device.name][offset : offset + len(data)] = data


def read(data: bytes) -> VmaPass:
    reader = VmaPass()
    reader.read(ByteStream([data]))
    return reader


def texts(data: bytes) -> list[str]:
    return [problem.text for problem in read(data).problems]


def damage(data: bytes) -> tuple[str, int | None]:
    with pytest.raises(Damage) as caught:
        read(data)
    assert caught.value.problem.layer == "vma"
    return caught.value.problem.text, caught.value.offset


def test_the_header_tells_who_and_when_and_what() -> None:
    header = read_header(ByteStream([GOOD.bytes()]))
    assert (header.uuid.bytes, header.ctime, header.size) == (UUID, CTIME, HEADER)
    assert [(device.name, device.size, device.clusters) for device in header.devices.values()] == [
        ("drive-scsi0", 3 * CLUSTER, 3),
        ("drive-scsi1", 2 * CLUSTER + 5000, 3),
    ]
    assert header.configs == GOOD.config_files()


def test_the_test_suites_own_archives_are_read_the_same_by_another_reader(tmp_path: Path) -> None:
    path = tmp_path / "peer.vma"
    path.write_bytes(Vma({"drive-scsi0": SMALL}).bytes())
    with path.open("rb") as file:
        peer = VMA(file)
        assert peer.device(1).open().read() == SMALL


def test_a_good_archive_hands_over_each_disk_as_it_was() -> None:
    sink = Disks()
    reader = VmaPass(sink)
    reader.read(ByteStream([GOOD.bytes()]))
    assert reader.problems == []
    assert sink.content["drive-scsi0"] == SMALL
    assert sink.content["drive-scsi1"][: len(ODD)] == ODD


@unhurried
@given(st.permutations(range(6)), st.integers(1, 59))
def test_clusters_may_come_in_any_order_and_up_to_59_in_an_extent(
    order: list[int], per_extent: int
) -> None:
    entries = [one for part in GOOD.plan() for one in part]
    mixed = [entries[number] for number in order]
    parts = [mixed[at : at + per_extent] for at in range(0, 6, per_extent)]
    assert texts(GOOD.with_extents(parts).bytes()) == []


def test_an_extent_with_all_59_slots_taken_is_read() -> None:
    disk = pattern(60 * CLUSTER)
    assert texts(Vma({"drive-scsi0": disk}, per_extent=59).bytes()) == []


@unhurried
@given(st.integers(0, len(GOOD.bytes()) - 1))
def test_an_archive_cut_anywhere_is_not_taken_for_whole(cut: int) -> None:
    data = GOOD.bytes()[:cut]
    try:
        assert texts(data), "missing clusters are told"
    except Damage as found:
        assert (found.offset or 0) <= cut


@pytest.mark.parametrize("cut", BOUNDARIES)
def test_a_cut_at_an_extent_boundary_is_found_by_what_is_missing(cut: int) -> None:
    problems = read(GOOD.bytes()[:cut]).problems
    assert problems and all(
        problem.offset == cut and "missing cluster" in problem.text for problem in problems
    )


@unhurried
@given(st.integers(0, 8 * HEADER - 1))
def test_any_flipped_bit_of_the_header_is_found(bit: int) -> None:
    data = bytearray(GOOD.bytes())
    data[bit // 8] ^= 1 << bit % 8
    assert damage(bytes(data))


@unhurried
@given(st.sampled_from(BOUNDARIES), st.integers(0, 8 * 512 - 1))
def test_any_flipped_bit_of_an_extent_header_is_found_there(at: int, bit: int) -> None:
    data = bytearray(GOOD.bytes())
    data[at + bit // 8] ^= 1 << bit % 8
    assert damage(bytes(data)) == ("wrong vma extent header checksum", at)


@unhurried
@given(st.binary(max_size=20_000))
def test_random_bytes_are_no_archive_and_no_crash(data: bytes) -> None:
    assert damage(data)


def entries_of(disk: bytes = SMALL) -> list[tuple[int, int, int, bytes]]:
    return [entry(1, cluster, disk) for cluster in range(3)]


def one_disk(extents: list[list[tuple[int, int, int, bytes]]]) -> bytes:
    return Vma({"drive-scsi0": SMALL}).with_extents(extents).bytes()


def test_a_cluster_that_comes_twice_is_told_with_its_place() -> None:
    entries = entries_of()
    problem = read(one_disk([entries, [entries[1], entries[1]]])).problems[0]
    assert problem.text == "found duplicated cluster 1 for stream drive-scsi0 (and 1 more)"
    assert problem.offset == HEADER_ONE + len(extent(entries)) + 40


HEADER_ONE = len(Vma({"drive-scsi0": SMALL}).header())


def test_missing_clusters_are_summed_up_disk_by_disk() -> None:
    entries = entries_of()
    assert texts(one_disk([[entries[1]]])) == [
        "detected missing cluster 0 for stream drive-scsi0 (and 1 more)"
    ]
    assert texts(one_disk([entries[:2]])) == ["detected missing cluster 2 for stream drive-scsi0"]
    assert texts(GOOD.bytes()[:HEADER]) == [
        "detected missing cluster 0 for stream drive-scsi0 (and 2 more)",
        "detected missing cluster 0 for stream drive-scsi1 (and 2 more)",
    ]


def test_a_cluster_beyond_the_disk_is_told() -> None:
    assert texts(one_disk([[*entries_of(), (1, 3, 0, b"")]])) == [
        "got wrong block address - write beyond end, cluster 3 for stream drive-scsi0"
    ]


@pytest.mark.parametrize(("bit", "good"), [(1, True), (2, False), (15, False)])
def test_a_block_wholly_past_the_end_of_the_disk_is_told(bit: int, good: bool) -> None:
    disk = bytes(CLUSTER + 5000)  # the second cluster holds one block and a part of another
    data = Vma({"d": disk}).with_extents([[(1, 0, 0, b""), (1, 1, 1 << bit, b"x" * BLOCK)]]).bytes()
    assert (texts(data) == []) is good
    assert good or "write beyond end, cluster 1" in texts(data)[0]


def test_an_unknown_device_is_told() -> None:
    assert texts(one_disk([[*entries_of(), (7, 0, 0, b"")]])) == ["got wrong dev id 7"]


def test_the_state_of_memory_is_held_to_no_size() -> None:
    disk = bytes(CLUSTER)
    data = (
        Vma({"drive-scsi0": disk, "vmstate": disk})
        .with_extents([[(1, 0, 0, b""), (2, 9, 1, b"x" * BLOCK)]])
        .bytes()
    )
    assert texts(data) == []


def test_a_device_name_with_braces_breaks_nothing() -> None:
    data = Vma({"drive-{0}{x}": SMALL}).with_extents([[entry(1, 0, SMALL)] * 2]).bytes()
    assert texts(data)[0] == "found duplicated cluster 0 for stream drive-{0}{x}"


@pytest.mark.parametrize("size", [1, 511])
def test_a_little_garbage_at_the_end_is_a_short_extent(size: int) -> None:
    data = GOOD.bytes()
    assert damage(data + bytes(size)) == (f"read short extent ({size} bytes)", len(data))


def test_more_garbage_at_the_end_is_no_extent() -> None:
    data = GOOD.bytes()
    assert damage(data + bytes(600)) == ("wrong vma extent header checksum", len(data))


def test_an_extent_of_another_archive_is_told() -> None:
    data = Vma({"drive-scsi0": SMALL}).header() + extent(entries_of(), uuid=bytes(16))
    assert damage(data) == ("wrong vma extent uuid", HEADER_ONE + 8)


def test_an_extent_without_its_magic_is_told() -> None:
    broken = bytearray(extent(entries_of()))
    broken[0:4] = b"VMAX"
    header = sign(broken[:512], 24)
    data = Vma({"drive-scsi0": SMALL}).header() + header + bytes(broken[512:])
    assert damage(data) == ("wrong vma extent header magic", HEADER_ONE)


@pytest.mark.parametrize(("blocks", "words"), [(1, "too many blocks"), (900, "missing blocks")])
def test_an_extent_whose_count_is_not_its_masks_is_told(blocks: int, words: str) -> None:
    data = Vma({"drive-scsi0": SMALL}).header() + extent(entries_of(), blocks=blocks)
    text, offset = damage(data)
    assert words in text and offset == HEADER_ONE + 6


def test_an_extent_cut_in_its_data_tells_how_much_there_is() -> None:
    whole = extent(entries_of())
    data = Vma({"drive-scsi0": SMALL}).header() + whole[:-1]
    assert damage(data) == (f"short vma extent ({len(whole) - 1} < {len(whole)})", HEADER_ONE)


def resigned(at: int, value: bytes, vma: Vma = GOOD) -> bytes:
    """Return an archive whose header holds other bytes, and the MD5 to them."""
    header = bytearray(vma.header())
    header[at : at + len(value)] = value
    return sign(header, 32) + b"".join(EXTENTS)


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


@pytest.mark.parametrize(
    ("at", "value", "text"),
    [
        (0, b"VMB\0", "not a vma file - wrong magic number"),
        (4, u32(2), "wrong vma version 2"),
        (56, u32(12288), "wrong vma header size 12288"),
        (56, u32(MAX_HEADER + 1), f"wrong vma header size {MAX_HEADER + 1}"),
        (56, u32(0xFFFFFFFF), "wrong vma header size 4294967295"),
        (48, u32(4096), "wrong vma blob buffer offset"),
        (52, u32(100_000), "wrong vma blob buffer offset"),
        (2044, u32(100_000), "vma contains invalid data pointers"),
        (2044, u32(0), "vma contains invalid data pointers"),
        (3068, u32(0xFFFFFFFF), "vma contains invalid data pointers"),
        (4096 + 32, u32(0), "vma contains invalid data pointers"),
        (4096 + 32, u32(400), "vma contains invalid data pointers"),
        (4096 + 40, bytes(8), "vma contains invalid data pointers"),
        (4096, struct.pack(">IIQ", 1, 0, 5), "vma contains invalid data pointers"),
        (
            4096 + 40,
            struct.pack(">Q", 2**62),
            "wrong size 4611686018427387904 of device drive-scsi0: more than 2^32 clusters",
        ),
        (4096 + 64, u32(46), "vma contains invalid data pointers"),
    ],
)
def test_a_header_that_is_signed_but_senseless_is_refused(at: int, value: bytes, text: str) -> None:
    assert damage(resigned(at, value))[0] == text


def test_two_devices_or_configs_of_one_name_are_refused() -> None:
    pointer = struct.unpack_from(">I", GOOD.header(), 4096 + 32)[0]
    assert damage(resigned(4096 + 64, u32(pointer)))[0] == "device name drive-scsi0 appears twice"
    name = GOOD.header()[2044:2048]
    twice = bytearray(GOOD.header())
    twice[2048:2052], twice[3072:3076] = name, twice[3068:3072]
    assert damage(sign(twice, 32))[0] == "config name qemu-server.conf appears twice"


def test_a_header_that_claims_the_largest_disk_is_read_without_its_memory() -> None:
    data = Vma({"drive-scsi0": b""}, sizes={"drive-scsi0": 2**48}).bytes()
    assert texts(data) == [
        f"detected missing cluster 0 for stream drive-scsi0 (and {2**32 - 1} more)"
    ]


def test_an_archive_of_no_disk_is_whole() -> None:
    assert texts(Vma().bytes()) == []
