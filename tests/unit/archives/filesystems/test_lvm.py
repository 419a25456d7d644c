"""LVM: what its own tool (``pvck --dump``) reads of the same disks is read here too."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.filesystems.blocks import Disk
from backupsvc.archives.filesystems.lvm import Logical, Unreadable, logical, parse, physical

from . import made
from .made import EXTENT, Lv, noise
from .test_partitions import Bytes

ONE, TWO = noise(20 * EXTENT, 5), noise(8 * EXTENT, 6)
EXTENDED = Lv("root", ONE, [([(0, 3)], 10), ([(1, 5)], 6), ([(0, 40)], 4)])
STRIPED = Lv("fast", TWO, [([(0, 20), (1, 30)], 8)])


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def read(paths: Sequence[Path], opened: ExitStack) -> dict[str, Logical]:
    disks = []
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        opened.callback(os.close, descriptor)
        disks.append(Disk(path.name, descriptor, path.stat().st_size))
    found = [one for disk in disks if (one := physical(disk))]
    return {one.name: one for one in logical(found)}


def test_volumes_of_many_segments_and_of_stripes_over_two_disks_are_read(
    tmp_path: Path, opened: ExitStack
) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    made.lvm(paths, 64, [EXTENDED, STRIPED])
    found = read(paths, opened)
    for name, data in (("vg/root", ONE), ("vg/fast", TWO)):
        blocks = found[name].blocks
        assert blocks is not None and blocks.size == len(data) == found[name].size
        assert blocks.read(0, len(data)) == data
        assert blocks.read(12_345, 300_000) == data[12_345:312_345]
        assert blocks.read(len(data) - 5, 100) == data[-5:]
        assert blocks.read(len(data), 1) == blocks.read(2**60, 1) == b""


def test_a_volume_on_a_disk_that_is_missing_is_told_and_not_read(
    tmp_path: Path, opened: ExitStack
) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    here = Lv("here", TWO, [([(0, 50)], 8)])
    made.lvm(paths, 64, [EXTENDED, here])
    found = read(paths[:1], opened)
    assert found["vg/root"].blocks is None and "another disk" in found["vg/root"].lack
    assert found["vg/here"].blocks is not None


def test_the_newest_metadata_of_a_group_count(tmp_path: Path, opened: ExitStack) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    made.lvm([new, tmp_path / "second"], 64, [EXTENDED], seqno=9)
    made.lvm([old], 64, [Lv("gone", TWO, [([(0, 1)], 8)])], seqno=8)
    # the first disk did not hear of the last change
    with new.open("r+b") as file, old.open("rb") as source:
        file.write(source.read(made.MIB))
    assert set(read([new, tmp_path / "second"], opened)) == {"vg/root"}


@pytest.mark.parametrize("kind", ["thin", "raid1", "snapshot", "cache"])
def test_a_volume_of_another_type_is_called_by_it(
    kind: str, tmp_path: Path, opened: ExitStack
) -> None:
    made.lvm([tmp_path / "a"], 64, [Lv("one", TWO, [([(0, 0)], 8)], kind)])
    found = read([tmp_path / "a"], opened)["vg/one"]
    assert found.blocks is None and kind in found.lack


@pytest.mark.parametrize("at", [512 + 40, 4096 + 30, 4096 + made.MIB - 4096 - 512 + 20])
def test_a_label_a_header_or_a_text_whose_checksum_is_wrong_is_not_believed(
    at: int, tmp_path: Path, opened: ExitStack
) -> None:
    path = tmp_path / "a"
    made.lvm([path], 64, [Lv("one", TWO, [([(0, 0)], 8)])])
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes([old[0] ^ 1]))
    assert read([path], opened) == {}


def test_the_text_is_read_with_its_comments_quotes_and_nested_sections() -> None:
    text = '# c\nvg {\n a = "x \\"y\\" } # no"\n n = -3\n l = ["p", 4,\n5]\n e = []\n 1st {\n}\n}\n'
    assert parse(text) == {
        "vg": {"a": 'x "y" } # no', "n": -3, "l": ["p", 4, 5], "e": [], "1st": {}}
    }


@pytest.mark.parametrize(
    "text",
    ["}", "a", "a =", "a = [1", "a {", "a = }", "= 1", "a = [ b ]", '"', "a {" * 100, "a ? 1"],
)
def test_a_text_that_is_not_lvms_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text)


@given(st.text(alphabet='ab1-_." \n{}[]=,#\\', max_size=60))
def test_whatever_the_text_it_is_read_or_unreadable(text: str) -> None:
    with suppress(Unreadable):
        parse(text)


VALUES = st.recursive(
    st.integers(-2, 2**70) | st.sampled_from(["pv0", "striped", "VISIBLE", ""]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["physical_volumes", "logical_volumes", "pv0", "id", "extent_size", "segment1", "status",
             "segment_count", "start_extent", "extent_count", "type", "stripe_count", "stripes",
             "stripe_size", "pe_start"]
        ),
        inner,
        max_size=6,
    ),
)  # fmt: skip


@given(VALUES)
def test_whatever_the_metadata_say_volumes_can_be_read_or_say_why_not(told: object) -> None:
    from backupsvc.archives.filesystems.lvm import Physical

    segment = {"start_extent": 0, "extent_count": 1, "type": "striped", "stripe_count": 1}
    metadata = {
        "extent_size": 8,
        "physical_volumes": {"pv0": {"id": "x", "pe_start": 0}},
        "logical_volumes": {
            "v": {
                "status": ["VISIBLE"],
                "segment_count": 1,
                "segment1": segment | {"stripes": told},
            },
            "w": told,
        },
    }
    if isinstance(told, dict):
        metadata |= told
    for one in logical([Physical("x", Bytes(bytes(8192)), "vg", metadata)]):
        assert (one.blocks is None) == bool(one.lack)
        if one.blocks is not None:
            one.blocks.read(0, 100)
