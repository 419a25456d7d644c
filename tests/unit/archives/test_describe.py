"""An archive's identity card."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from backupsvc.archives.describe import describe
from backupsvc.errors import ArchiveError
from policies.model import GuestType

from .build import CTIME, Vma, pattern, zst

SAMPLES = Path(__file__).parents[2] / "golden" / "vma_samples"


def test_name_and_header_tell_all_of_a_vms_archive() -> None:
    found = describe(SAMPLES / "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst")
    assert (found.format, found.vmid, found.type, found.name) == (
        "vma.zst",
        108,
        GuestType.QEMU,
        "lab-two-disks",
    )
    assert [(device.name, device.size) for device in found.devices] == [
        ("drive-scsi0", 16777216),
        ("drive-scsi1", 8388608),
    ]
    assert len(found.configs["qemu-server.conf"].encode()) == 474


def test_only_the_header_is_read_so_a_cut_archive_can_be_told_too() -> None:
    found = describe(SAMPLES / "truncated-after-header.vma")
    assert list(found.configs) == ["qemu-server.conf", "qemu-server.fw"] and found.vmid is None


def test_the_guests_name_is_not_looked_for_in_its_snapshots(tmp_path: Path) -> None:
    path = tmp_path / "x.vma"
    path.write_bytes(
        Vma(
            {"d": pattern(4096)},
            configs={"qemu-server.conf": b"memory: 1\n\n[before]\nname: old\n"},
        ).bytes()
    )
    found = describe(path)
    assert (found.name, found.ctime) == (None, CTIME)


def test_a_containers_config_is_found_and_its_files_are_not_read(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (
            ("./etc/vzdump/pct.conf", b"hostname: web\n"),
            ("./bin/sh", bytes(100_000)),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        tar.addfile(tarfile.TarInfo("./bin/sh2"))
    cut = out.getvalue()[:-12000]
    path = tmp_path / "vzdump-lxc-200-2026_03_09-21_00_02.tar.zst"
    path.write_bytes(zst(cut))
    found = describe(path)
    assert (found.vmid, found.type, found.name, found.uuid) == (200, GuestType.LXC, "web", None)


def test_what_has_no_header_is_an_error_with_its_offset(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="wrong vma header checksum") as caught:
        describe(SAMPLES / "bad-header-md5.vma")
    assert caught.value.offset == 32 and "archive verify" in caught.value.hint
    (tmp_path / "empty").touch()
    with pytest.raises(ArchiveError, match="the file is empty"):
        describe(tmp_path / "empty")
    with pytest.raises(ArchiveError, match="No such file"):
        describe(tmp_path / "gone")
