"""Disks out of an archive for a while: the wanted ones, whole, and without a name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from backupsvc.archives import disks
from backupsvc.archives.disks import opened_disks
from backupsvc.errors import ArchiveError, NoRoom, UsageError

from .build import CLUSTER, Vma, pattern, zst

ONE, TWO = pattern(3 * CLUSTER + 5000), pattern(CLUSTER) + bytes(CLUSTER)
GUEST = Vma({"drive-scsi0": ONE, "drive-tpmstate0-backup": TWO, "vmstate": pattern(CLUSTER)})


def archive(
    folder: Path, data: bytes, name: str = "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst"
) -> Path:
    path = folder / name
    path.write_bytes(zst(data) if name.endswith("zst") else data)
    return path


def contents(path: Path, wanted: Sequence[str], work: Path) -> dict[str, bytes]:
    with opened_disks(path, wanted, work) as found:
        assert not list(work.iterdir()), "they have no name"
        for disk in found:
            with pytest.raises(OSError):
                os.pwrite(disk.descriptor, b"x", 0)
        return {disk.name: disk.read(0, disk.size + 1) for disk in found}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.mark.parametrize("wanted", [[], ["scsi0"], ["drive-scsi0"], ["tpmstate0"]])
def test_the_wanted_disks_are_read_whole(wanted: list[str], tmp_path: Path, work: Path) -> None:
    found = contents(archive(tmp_path, GUEST.bytes()), wanted, work)
    whole = {"scsi0": ONE, "tpmstate0": TWO}
    assert found == (
        {wanted[0].removeprefix("drive-"): whole[wanted[0].removeprefix("drive-")]}
        if wanted
        else whole
    )


def test_a_disk_that_was_extracted_is_read_as_it_lies(tmp_path: Path, work: Path) -> None:
    path = archive(tmp_path, ONE, "drive-scsi0.raw")
    assert contents(path, [], work) == contents(path, ["scsi0"], work) == {"scsi0": ONE}
    with pytest.raises(UsageError, match="alone"), opened_disks(path, ["scsi1"], work):
        pass


@pytest.mark.parametrize("wanted", [[], ["scsi0"]])
@pytest.mark.parametrize("at", [-1, 20, -200])
def test_an_archive_that_is_not_intact_is_refused_and_leaves_nothing(
    at: int, wanted: list[str], tmp_path: Path, work: Path
) -> None:
    path = archive(tmp_path, GUEST.bytes())
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with (
        pytest.raises(ArchiveError, match="not intact") as caught,
        opened_disks(path, wanted, work),
    ):
        pass
    assert caught.value.hint and not list(work.iterdir())


def test_damage_in_a_disk_that_is_not_wanted_counts_too(tmp_path: Path, work: Path) -> None:
    extents = [[one for one in extent if one[:2] != (2, 1)] for extent in GUEST.plan()]
    path = archive(tmp_path, GUEST.with_extents(extents).bytes())
    with pytest.raises(ArchiveError, match="missing cluster"), opened_disks(path, ["scsi0"], work):
        pass


def test_what_is_not_in_the_archive_is_told_with_what_is(tmp_path: Path, work: Path) -> None:
    path = archive(tmp_path, GUEST.bytes())
    with (
        pytest.raises(UsageError, match="no disk scsi7") as caught,
        opened_disks(path, ["scsi7"], work),
    ):
        pass
    assert caught.value.hint == "It holds: scsi0, tpmstate0."


def test_a_containers_archive_is_for_tar(tmp_path: Path, work: Path) -> None:
    path = archive(tmp_path, bytes(10240), "vzdump-lxc-200-2026_03_10-21_00_03.tar")
    with pytest.raises(UsageError) as caught, opened_disks(path, [], work):
        pass
    assert "tar -xf" in caught.value.hint


def test_two_devices_that_would_be_one_disk_keep_their_own_names(
    tmp_path: Path, work: Path
) -> None:
    guest = Vma({"drive-scsi0": ONE, "scsi0": TWO}, configs={})
    assert contents(archive(tmp_path, guest.bytes()), [], work) == {
        "drive-scsi0": ONE,
        "scsi0": TWO,
    }


def test_where_there_is_no_room_nothing_is_begun(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "LOOK_EVERY", 2**62)
    path = archive(tmp_path, GUEST.bytes())
    with pytest.raises(NoRoom) as caught, opened_disks(path, [], work):
        pass
    assert caught.value.exit_code == 4 and not list(work.iterdir())
