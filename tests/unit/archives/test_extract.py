"""Disks out of an archive: exact, sparse, and all or nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from backupsvc.archives.extract import extract
from backupsvc.archives.files import safe_name
from backupsvc.errors import ArchiveError, UsageError

from .build import CLUSTER, Vma, entry, pattern, zst

SAMPLES = Path(__file__).parents[2] / "golden" / "vma_samples"
MANIFEST = json.loads((SAMPLES / "manifest.json").read_text())["entries"]
GOOD = [sample for sample in MANIFEST if not sample.get("broken")]
BROKEN = [sample for sample in MANIFEST if sample.get("broken")]


def archive(folder: Path, data: bytes, name: str = "guest.vma") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("sample", GOOD, ids=lambda sample: sample["file"])
def test_disks_and_configs_are_byte_for_byte_what_the_real_tool_extracts(
    sample: dict[str, Any], tmp_path: Path
) -> None:
    done = extract(SAMPLES / sample["file"], tmp_path / "a" / "b")
    expected = {f"{disk['devname']}.raw": disk["sha256"] for disk in sample["disks"]}
    expected |= {config["name"]: config["sha256"] for config in sample["configs"]}
    assert {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in done.files
    } == expected
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == set(expected), (
        "nothing else is left"
    )
    for disk in sample["disks"]:
        path = tmp_path / "a" / "b" / f"{disk['devname']}.raw"
        assert path.stat().st_size == disk["size"]
        assert path.stat().st_blocks * 512 < disk["size"], "holes stay holes"


@pytest.mark.parametrize("sample", BROKEN, ids=lambda sample: sample["file"])
def test_nothing_is_left_of_an_archive_that_is_not_intact(
    sample: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match="not intact") as caught:
        extract(SAMPLES / sample["file"], tmp_path / "new")
    assert caught.value.offset is not None and caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_damage_that_shows_only_at_the_very_end_leaves_nothing_either(tmp_path: Path) -> None:
    packed = zst(Vma({"drive-scsi0": pattern(2 * CLUSTER)}).bytes())
    path = archive(tmp_path, packed[:-1] + b"\0\0", "guest.vma.zst")
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError):
        extract(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_odd_sized_disk_gets_its_own_size_and_not_its_clusters(tmp_path: Path) -> None:
    disk = pattern(CLUSTER + 5000, holes=False)
    extract(archive(tmp_path, Vma({"drive-scsi0": disk}).bytes()), tmp_path / "out")
    assert (tmp_path / "out" / "drive-scsi0.raw").read_bytes() == disk


def test_blocks_of_zeros_that_were_stored_become_holes(tmp_path: Path) -> None:
    disk = bytes(63 * CLUSTER) + b"x" * CLUSTER
    entries = [
        (1, number, 0xFFFF, disk[number * CLUSTER : (number + 1) * CLUSTER]) for number in range(64)
    ]
    data = Vma({"drive-scsi0": disk}).with_extents([entries[:32], entries[32:]]).bytes()
    extract(archive(tmp_path, data), tmp_path / "out")
    path = tmp_path / "out" / "drive-scsi0.raw"
    assert path.read_bytes() == disk
    assert path.stat().st_blocks * 512 <= 2 * CLUSTER


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = archive(tmp_path, Vma({"drive-scsi0": pattern(CLUSTER)}).bytes())
    (tmp_path / "qemu-server.conf").write_text("mine")
    with pytest.raises(UsageError, match=r"qemu-server\.conf exists already"):
        extract(path, tmp_path)
    assert (tmp_path / "qemu-server.conf").read_text() == "mine"
    assert {found.name for found in tmp_path.iterdir()} == {"guest.vma", "qemu-server.conf"}


def test_names_from_the_archive_cannot_leave_the_folder(tmp_path: Path) -> None:
    data = Vma({"../../evil": pattern(CLUSTER)}, configs={"/etc/passwd": b"x", "..": b"y"}).bytes()
    done = extract(archive(tmp_path, data), tmp_path / "out")
    assert [path.name for path in done.files] == ["_.._evil.raw", "_etc_passwd", "unnamed"]
    assert all(path.parent == tmp_path / "out" for path in done.files)


@pytest.mark.parametrize(
    ("name", "safe"),
    [("a b\0c", "a_b_c"), ("...", "unnamed"), ("", "unnamed"), (".hidden", "hidden"), ("é", "_")],
)
def test_a_name_is_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_two_names_that_become_one_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path, Vma({"a/b": pattern(CLUSTER), "a:b": pattern(CLUSTER)}).bytes())
    with pytest.raises(ArchiveError, match=r"same file name, a_b\.raw"):
        extract(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_state_of_memory_is_written_where_its_clusters_say(tmp_path: Path) -> None:
    vma = Vma({"vmstate": bytes(10)}).with_extents([[entry(1, 0, b"s" * CLUSTER)]])
    extract(archive(tmp_path, vma.bytes()), tmp_path / "out")
    assert (tmp_path / "out" / "vmstate.raw").read_bytes() == b"s" * CLUSTER


def test_a_containers_archive_is_left_to_tar(tmp_path: Path) -> None:
    path = archive(tmp_path, bytes(2048), "vzdump-lxc-200-2026_03_09-21_00_02.tar")
    with pytest.raises(UsageError, match="container") as caught:
        extract(path, tmp_path / "out")
    assert "tar -xf" in caught.value.hint


def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    path = archive(tmp_path, Vma({"drive-scsi0": pattern(CLUSTER)}).bytes())
    with pytest.raises(ArchiveError, match="was not extracted") as caught:
        extract(path, path / "below-a-file")
    assert caught.value.hint
