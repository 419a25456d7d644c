"""The hash of a disk, by which tests see that a guest's data is as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.disks import ZEROS, hash_disk

SIZE = 8 * len(ZEROS)


def disk(path: Path, *written: tuple[int, bytes], size: int = SIZE) -> str:
    with path.open("wb") as file:
        file.truncate(size)
        for place, data in written:
            file.seek(place)
            file.write(data)
    return hash_disk(path)


def test_zeros_count_alike_whether_they_are_stored_or_not(tmp_path: Path) -> None:
    path, data = tmp_path / "disk", (3 * len(ZEROS) + 7, b"data")
    assert disk(path, data) == disk(path, (0, bytes(SIZE)), data)


@pytest.mark.parametrize(
    "other",
    [
        [(0, b"a"), (SIZE - 1, b"c")],  # another byte
        [(1, b"a"), (SIZE - 1, b"b")],  # in another place
        [(len(ZEROS), b"a"), (SIZE - 1, b"b")],  # in another block
        [(SIZE - 1, b"b")],  # one less
    ],
)
def test_each_change_of_what_it_holds_is_seen(
    tmp_path: Path, other: list[tuple[int, bytes]]
) -> None:
    path = tmp_path / "disk"
    assert disk(path, (0, b"a"), (SIZE - 1, b"b")) != disk(path, *other)


def test_a_disk_that_grew_or_lost_its_end_is_another(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    whole = disk(path, (0, b"a"))
    os.truncate(path, SIZE + 1)
    assert hash_disk(path) != whole
    os.truncate(path, SIZE - 1)
    assert hash_disk(path) != whole
