"""The lab's own VMA writer and reader, against Proxmox's samples and against a third party's
reader.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from dissect.archive import vma as dissect_vma
from hypothesis import given
from hypothesis import strategies as st

from pvelab import seed
from pvelab.guests.compression import CompressorFailed, Decompressed, compressed
from pvelab.guests.vma_format import CLUSTER, Header, VmaError, pack_header
from pvelab.guests.vma_reader import Extraction, read_header
from pvelab.guests.vma_writer import Source, write_vma
from pvelab.images.site import guest
from tests.unit.pvelab.guests.conftest import Api, sha256
from tests.unit.pvelab.guests.readers import by_both

SAMPLES = Path(__file__).parents[3] / "golden" / "vma_samples"
ENTRIES = json.loads((SAMPLES / "manifest.json").read_text())["entries"]
GOOD = [entry for entry in ENTRIES if entry.get("disks")]
UUID = bytes(range(16))


def extract(path: Path, directory: Path) -> tuple[Header, dict[str, Path]]:
    """Extract an archive as a restore does; raise VmaError if it is damaged."""
    with Decompressed(path, str(path)) as stream:
        header = read_header(stream)
        files = {device.name: directory / f"{device.name}.raw" for device in header.devices}
        targets = {}
        for device in header.devices:
            files[device.name].touch()
            targets[device.id] = os.open(files[device.name], os.O_RDWR)
            os.ftruncate(targets[device.id], device.size)
        Extraction(header, targets, lambda _: None).run(stream)
        assert stream.failure is None
    return header, files


def write(path: Path, disks: dict[str, bytes], configs: dict[str, bytes] | None = None) -> None:
    """Write an archive of disks with these contents."""
    sources = []
    for name, content in disks.items():
        file = path.with_name(f"{name}.in")
        file.write_bytes(content)
        sources.append(Source(name, file, len(content)))
    with compressed(path, path.suffix if path.suffix == ".zst" else "") as sink:
        write_vma(
            sink.write,
            uuid=UUID,
            ctime=1_767_225_600,
            configs=configs or {"qemu-server.conf": b"memory: 64\n"},
            sources=sources,
        )


@pytest.mark.parametrize("entry", GOOD, ids=lambda entry: entry["file"])
def test_proxmox_samples_extract_to_their_checksums(entry: dict[str, Any], tmp_path: Path) -> None:
    header, files = extract(SAMPLES / entry["file"], tmp_path)
    for disk in entry["disks"]:
        content = files[disk["devname"]].read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (disk["size"], disk["sha256"])
    for config in entry["configs"]:
        assert hashlib.sha256(header.configs[config["name"]]).hexdigest() == config["sha256"]


def test_a_header_of_proxmox_is_packed_again_byte_for_byte() -> None:
    raw = (SAMPLES / "vzdump-qemu-108-2026_03_09-21_00_02.vma").read_bytes()
    header = read_header(io.BytesIO(raw))
    assert raw.startswith(pack_header(header))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("bad-header-md5.vma", "wrong vma header chechsum"),
        ("truncated-after-header.vma", "detected missing cluster 0 for stream"),
    ],
)
def test_damaged_samples_are_refused_in_the_words_of_the_vma_tool(
    file: str, text: str, tmp_path: Path
) -> None:
    with pytest.raises(VmaError, match=text):
        extract(SAMPLES / file, tmp_path)


def test_a_truncated_compressed_sample_ends_early_with_the_words_of_zstd(tmp_path: Path) -> None:
    path = SAMPLES / "truncated.vma.zst"
    with Decompressed(path, "x.vma.zst") as stream:
        header = read_header(stream)
        with pytest.raises(VmaError):
            Extraction(header, {}, lambda _: None).run(stream)
        assert stream.failure == "x.vma.zst : Read error (39) : premature end "


disk = st.lists(
    st.sampled_from(
        [
            bytes(4096),
            b"\1" * 4096,
            bytes(range(256)) * 16,
            bytes(4095) + b"x",
            bytes(CLUSTER),
            b"\7" * CLUSTER,
        ]
    ),
    max_size=40,
).map(b"".join)


@pytest.mark.slow
@given(disk, disk, st.integers(1, 5000))
def test_whatever_is_written_is_read_back_by_both_readers(
    tmp_path_factory: pytest.TempPathFactory, a: bytes, b: bytes, odd: int
) -> None:
    directory = tmp_path_factory.mktemp("vma")
    contents = {"drive-scsi0": a + b"y" * odd, "drive-scsi1": b + bytes(odd)}
    write(
        directory / "disk.vma",
        contents,
        {"qemu-server.conf": b"cores: 1\n", "qemu-server.fw": b"[RULES]\n"},
    )
    header, files = extract(directory / "disk.vma", directory)
    assert {name: path.read_bytes() for name, path in files.items()} == contents
    assert header.configs == {"qemu-server.conf": b"cores: 1\n", "qemu-server.fw": b"[RULES]\n"}
    with (directory / "disk.vma").open("rb") as file:
        third = dissect_vma.VMA(file)
        assert third.creation_time.timestamp() == 1_767_225_600
        assert {d.name: d.open().read(d.size) for d in third.devices()} == contents


@pytest.mark.parametrize("compress", ["0", "gzip", "zstd"])
@pytest.mark.parametrize(
    ("vmid", "mode", "running"),
    [(104, "stop", False), (104, "snapshot", True), (108, "suspend", True), (108, "stop", True)],
)
def test_dissect_and_the_service_read_every_kind_of_dump_to_the_sums_of_its_disks(
    api: Api, vmid: int, mode: str, running: bool, compress: str
) -> None:
    wanted = {
        f"drive-{key}": sha256(seed.disk_path(api.lab, guest(vmid), key))
        for key in guest(vmid).disks
    }
    if running:
        api.start(vmid)
    volid = api.dump(vmid, mode=mode, compress=compress)
    assert (
        by_both(api.lab.storage_dir("clovis", "local") / "dump" / volid.partition("/")[2]) == wanted
    )


@pytest.mark.parametrize("entry", GOOD, ids=lambda entry: entry["file"])
def test_dissect_and_the_service_read_proxmox_samples_to_their_checksums_too(
    entry: dict[str, Any],
) -> None:
    assert by_both(SAMPLES / entry["file"]) == {
        disk["devname"]: disk["sha256"] for disk in entry["disks"]
    }


@pytest.mark.slow
def test_a_hole_is_never_read(tmp_path: Path) -> None:
    disk = tmp_path / "big"
    with disk.open("wb") as file:
        file.truncate(64 << 30)
        file.seek(5 << 30)
        file.write(b"data")
        file.truncate(64 << 30)
    stored = bytearray()
    written = write_vma(
        stored.extend,
        uuid=UUID,
        ctime=0,
        configs={},
        sources=[Source("drive-scsi0", disk, 64 << 30)],
    )
    assert (written.read, written.stored) == (64 << 30, 4096)


def test_an_archive_has_one_zstd_frame_with_a_checksum_and_no_content_size(tmp_path: Path) -> None:
    write(tmp_path / "a.vma.zst", {"drive-scsi0": b"z" * 300_000})
    descriptor = (tmp_path / "a.vma.zst").read_bytes()[4]
    assert descriptor & 0b100, "no frame checksum"
    assert descriptor >> 6 == 0 and not descriptor & 0b100000, "the content size is announced"


@pytest.mark.parametrize("flipped", [0.3, 0.6, 0.95])
def test_a_flipped_bit_in_a_compressed_archive_never_passes(tmp_path: Path, flipped: float) -> None:
    path = tmp_path / "a.vma.zst"
    write(path, {"drive-scsi0": os.urandom(900_000)})
    raw = bytearray(path.read_bytes())
    raw[int(len(raw) * flipped)] ^= 4
    path.write_bytes(raw)
    with pytest.raises((VmaError, AssertionError)):
        extract(path, tmp_path)


def test_a_config_over_64_kib_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(VmaError, match="too large"):
        write(tmp_path / "a.vma", {}, {"qemu-server.conf": b"#" * 70_000})


def test_a_full_disk_is_told_in_the_words_of_zstd_and_qemu() -> None:
    broken = pytest.raises(CompressorFailed, match="vma_queue_write: write error - Broken pipe")
    with broken as caught, compressed(Path("/dev/full"), ".zst") as sink:
        sink.write(os.urandom(3_000_000))
    assert (
        caught.value.raw
        == "zstd: error 70 : Write error : cannot write block : No space left on device "
    )
