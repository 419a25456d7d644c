"""One pass over a file: the real tool's samples, every kind of damage, and what is reported of
it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from backports.zstd import decompress
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.verify import Verification, verify, verify_file
from backupsvc.errors import ArchiveError, RemoteUnreachable

from .build import CLUSTER, UUID, Vma, entry, extent, pattern, unhurried, zst

SAMPLES = Path(__file__).parents[2] / "golden" / "vma_samples"
MANIFEST = json.loads((SAMPLES / "manifest.json").read_text())["entries"]
GOOD = [sample for sample in MANIFEST if not sample.get("broken")]
BROKEN = [sample for sample in MANIFEST if sample.get("broken")]
NAME = "vzdump-qemu-108-2026_03_09-21_00_02.vma"

DISK = pattern(3 * CLUSTER)
SOURCE = Vma({"drive-scsi0": DISK}, per_extent=2)
PLAIN = SOURCE.bytes()
PACKED = zst(PLAIN)


def check(data: bytes, name: str = NAME) -> Verification:
    return verify(io.BytesIO(data), name)


@pytest.mark.parametrize("sample", GOOD, ids=lambda sample: sample["file"])
def test_what_the_real_tool_wrote_is_intact(sample: dict[str, Any]) -> None:
    found = verify_file(SAMPLES / sample["file"])
    assert found.intact and found.problems == ()
    assert [(device.name, device.size) for device in found.devices] == [
        (disk["devname"], disk["size"]) for disk in sample["disks"]
    ]
    assert list(found.configs) == [config["name"] for config in sample["configs"]]
    assert found.raw_size == sample["vma_size"]
    assert found.sha256 == sample.get("zst_sha256", sample["vma_sha256"])
    assert found.size == (SAMPLES / sample["file"]).stat().st_size
    assert found.checksummed is sample["file"].endswith(".zst")


@pytest.mark.parametrize("sample", BROKEN, ids=lambda sample: sample["file"])
def test_what_is_broken_is_a_result_with_its_offset(sample: dict[str, Any]) -> None:
    found = verify_file(SAMPLES / sample["file"])
    problem = found.problems[0]
    expected = {
        "bad-header-md5.vma": ("vma", 32, "wrong vma header checksum"),
        "truncated-after-header.vma": (
            "vma",
            13312,
            "detected missing cluster 0 for stream drive-virtio0 (and 15 more)",
        ),
        "truncated.vma.zst": (
            "file",
            41165,
            "the file ends in the middle of its zstd data (premature end)",
        ),
    }
    assert (problem.layer, problem.offset, problem.text) == expected[sample["file"]]
    assert found.sha256 == sample["sha256"], "the whole file is hashed all the same"


@unhurried
@given(st.integers(0, len(PACKED) - 1))
def test_law_5_a_compressed_archive_cut_anywhere_is_not_intact(cut: int) -> None:
    found = check(PACKED[:cut], NAME + ".zst")
    assert not found.intact and found.size == cut
    assert found.problems[0].layer == "file" and found.problems[0].offset <= cut


@unhurried
@given(st.integers(0, len(PLAIN) - 1))
def test_law_5_a_plain_archive_cut_anywhere_is_not_intact(cut: int) -> None:
    assert not check(PLAIN[:cut]).intact


@unhurried
@given(st.integers(0, 8 * len(PACKED) - 1))
def test_law_5_a_flipped_bit_in_a_compressed_archive_is_found_unless_its_content_is_the_same(
    bit: int,
) -> None:
    data = bytearray(PACKED)
    data[bit // 8] ^= 1 << bit % 8
    found = check(bytes(data), NAME + ".zst")
    # No decoder minds some bits, such as the frame's unused flag or a larger window: the content is
    # the same with them.
    assert not found.intact or decompress(bytes(data)) == PLAIN


def test_a_flipped_bit_in_the_data_of_a_plain_archive_is_beyond_any_reader_and_said_so() -> None:
    data = bytearray(PLAIN)
    data[-1] ^= 1
    found = check(bytes(data))
    assert found.intact and not found.checksummed


def test_a_flipped_bit_that_decodes_is_told_with_its_cause() -> None:
    """zstd may hand out wrong bytes before its checksum fails: then both are told, the structure
    and the checksum.
    """
    wrong = bytearray(PLAIN)
    wrong[len(SOURCE.header()) + 5] ^= 1
    packed = zst(bytes(wrong))
    found = check(packed[:-4] + zst(PLAIN)[-4:], NAME + ".zst")
    assert [(problem.layer, problem.offset) for problem in found.problems] == [
        ("vma", len(SOURCE.header())),
        ("file", len(packed) - 4),
    ]
    assert not found.checksummed


def test_a_frame_without_checksum_is_intact_in_structure_only() -> None:
    found = check(zst(PLAIN, checksum=False), NAME + ".zst")
    assert found.intact and not found.checksummed


def test_the_forms_of_compression_are_told_in_pves_words() -> None:
    assert (check(gzip.compress(PLAIN), NAME + ".gz").format, check(PLAIN).format) == (
        "vma.gz",
        "vma",
    )
    assert check(PACKED, NAME + ".zst").format == "vma.zst"
    lzo = check(b"\x89LZO\0\r\n\x1a\n", NAME + ".lzo")
    assert not lzo.intact and "lzop -d" in lzo.problems[0].text and lzo.format == "vma.lzo"


@pytest.mark.parametrize("data", [PLAIN, PACKED, gzip.compress(PLAIN)])
def test_a_file_of_any_other_name_is_told_by_its_content(data: bytes) -> None:
    assert check(data, "downloaded").intact


def test_a_file_that_is_not_what_its_name_says_is_not_intact() -> None:
    assert "wrong magic" in check(PLAIN, NAME + ".zst").problems[0].text
    assert "wrong magic" in check(PACKED, NAME).problems[0].text
    assert "not a vma file" in check(zst(b"hello" * 9999), NAME + ".zst").problems[0].text


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", "the file is empty"), (b"nothing of the kind", "neither a VMA nor a tar archive")],
)
def test_what_is_no_archive_at_all_is_a_result(data: bytes, text: str) -> None:
    found = check(data, "something")
    assert not found.intact and found.problems[0].text == text
    assert found.sha256 == hashlib.sha256(data).hexdigest()


@unhurried
@given(
    st.binary(max_size=3000),
    st.sampled_from(["", ".zst", ".gz", ".bz2", ".lzo"]),
    st.sampled_from([".vma", ".tar", ""]),
)
def test_random_bytes_of_any_name_are_a_result_and_never_a_crash(
    data: bytes, compression: str, kind: str
) -> None:
    assert not check(data, f"x{kind}{compression}").intact


def test_a_zstd_file_that_swells_ends_at_what_is_no_archive_and_in_little_memory() -> None:
    bomb = zst(bytes(64 * 1024 * 1024))
    found = check(bomb, NAME + ".zst")
    assert not found.intact and found.raw_size == 64 * 1024 * 1024


def test_all_problems_that_do_not_end_the_pass_are_told() -> None:
    extents = [[entry(1, 0, DISK), entry(1, 0, DISK), (9, 0, 0, b""), (1, 77, 0, b"")]]
    texts = [problem.text for problem in check(SOURCE.with_extents(extents).bytes()).problems]
    assert [text.split()[0:3] for text in texts] == [
        ["found", "duplicated", "cluster"],
        ["got", "wrong", "dev"],
        ["got", "wrong", "block"],
        ["detected", "missing", "cluster"],
    ]


def test_an_extent_of_another_archive_appended_is_found() -> None:
    found = check(PLAIN + extent([entry(1, 0, DISK)], uuid=UUID[::-1]))
    assert found.problems[0].offset == len(PLAIN) + 8


def test_a_container_archive_is_verified_too() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("./etc/vzdump/pct.conf")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"a: b\n"))
    whole = out.getvalue()
    found = check(zst(whole), "vzdump-lxc-200-2026_03_09-21_00_02.tar.zst")
    assert (found.intact, found.format, found.configs, found.uuid, found.devices) == (
        True,
        "tar.zst",
        ("pct.conf",),
        None,
        (),
    )
    assert check(gzip.compress(whole), "vzdump-lxc-200-2026_03_09-21_00_02.tgz").format == "tar.gz"
    assert check(whole, "anything").format == "tar"
    assert not check(zst(whole[:1024]), "vzdump-lxc-200-2026_03_09-21_00_02.tar.zst").intact


def told(config: bytes | None, disks: Mapping[str, bytes] | None = None) -> list[str]:
    """Return the problems of a VMA with this config (None: without any) and these disks, by default
    scsi0 alone.
    """
    configs = {"qemu-server.fw": b"[RULES]\n"} | (
        {} if config is None else {"qemu-server.conf": config}
    )
    found = check(Vma(disks or {"drive-scsi0": DISK}, configs=configs).bytes())
    assert found.intact is not bool(found.problems) and {
        problem.layer for problem in found.problems
    } <= {"vma"}
    return [problem.text for problem in found.problems]


def test_law_5_a_vma_without_a_config_is_not_intact() -> None:
    assert told(None) == ["no qemu-server.conf inside: PVE cannot restore the guest from it alone"]
    assert (
        told(b"")
        == told(b" \n\n")
        == ["the qemu-server.conf inside is empty: PVE cannot restore the guest from it alone"]
    )


def test_law_5_a_vma_whose_config_names_a_disk_that_its_header_lacks_is_not_intact() -> None:
    mapped = (
        b"scsi0: a:b\nscsi1: "
        b"a:c\n#qmdump#map:scsi0:drive-scsi0:a:raw:\n#qmdump#map:scsi1:drive-scsi1:a:raw:\n"
    )
    assert told(mapped) == [
        "the config says that disk scsi1 was dumped as drive-scsi1, which the header lacks"
    ]
    unmapped = b"scsi0: a:b\nscsi1: a:c\n#qmdump#map:scsi0:drive-scsi0:a:raw:\n"
    assert told(unmapped) == ["the config names the disk scsi1, which was not dumped"]


def test_law_5_a_vma_whose_header_has_a_disk_that_its_config_does_not_map_is_not_intact() -> None:
    config = b"scsi0: a:b\n#qmdump#map:scsi0:drive-scsi0:a:raw:\n"
    both = {"drive-scsi0": DISK, "drive-scsi1": DISK}
    assert told(config, both) == [
        "the config does not say which disk the device drive-scsi1 is: a restore leaves it out"
    ]
    assert told(config, {"drive-scsi0": DISK, "vmstate": DISK}) == [], "the memory is no disk"


def test_law_5_a_header_that_is_empty_of_disks_under_a_config_that_names_one_is_not_intact() -> (
    None
):
    found = check(Vma({}, configs={"qemu-server.conf": b"scsi0: a:b\n"}).bytes())
    assert [problem.text for problem in found.problems] == [
        "the config names the disk scsi0, which was not dumped"
    ]
    assert check(Vma({}, configs={"qemu-server.conf": b"memory: 128\n"}).bytes()).intact, (
        "a guest may have no disk at all"
    )


def test_one_device_is_not_two_disks() -> None:
    config = (
        b"scsi0: a:b\nscsi1: "
        b"a:c\n#qmdump#map:scsi0:drive-scsi0:a:raw:\n#qmdump#map:scsi1:drive-scsi0:a:raw:\n"
    )
    assert told(config) == [
        "the config says of scsi0 and scsi1 alike that they were dumped as drive-scsi0"
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"scsi1: a:c,backup=0,size=1G",
        b"scsi1: a:c,backup=no",
        b"ide2: none,media=cdrom",
        b"ide2: local:iso/debian.iso,media=cdrom,size=9M",
        b"ide2: local-lvm:vm-108-cloudinit,media=cdrom",
        b"efidisk0: a:c,size=4M",  # vzdump leaves it out where the firmware is no OVMF
        b"unused0: a:c",
        b"#scsi1: a:c",
        b"[before]\nscsi1: a:c",
    ],
)
def test_what_vzdump_leaves_out_by_rule_is_no_lack(line: bytes) -> None:
    assert told(b"scsi0: a:b\n#qmdump#map:scsi0:drive-scsi0:a:raw:\n" + line + b"\n") == []


def test_the_state_of_a_tpm_is_mapped_under_its_own_name_and_the_variables_of_ovmf_are_a_disk() -> (
    None
):
    config = (
        b"bios: ovmf\nefidisk0: a:c\ntpmstate0: a:d\n#qmdump#map:efidisk0:drive-efidisk0:a:raw:\n"
    )
    mapped = config + b"#qmdump#map:tpmstate0:drive-tpmstate0-backup:a:raw:\n"
    disks = {"drive-efidisk0": DISK, "drive-tpmstate0-backup": DISK}
    assert told(mapped, disks) == []
    assert (
        told(b"bios: ovmf\nefidisk0: a:c\n")[0]
        == "the config names the disk efidisk0, which was not dumped"
    )


def test_a_broken_header_is_told_alone() -> None:
    assert [problem.text for problem in check(PLAIN[:9000]).problems] == [
        "can't read vma header - got EOF"
    ]


@pytest.mark.parametrize("config", [b"", b"\n"])
def test_law_5_a_container_with_an_empty_config_is_not_intact(config: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("./etc/vzdump/pct.conf")
        member.size = len(config)
        tar.addfile(member, io.BytesIO(config))
    found = check(out.getvalue(), "vzdump-lxc-200-2026_03_09-21_00_02.tar")
    assert [problem.text for problem in found.problems] == [
        "no etc/vzdump/pct.conf inside: PVE cannot restore a container from it alone"
    ]


def test_the_json_form_has_the_keys_of_the_contract() -> None:
    told = json.loads(json.dumps(check(PACKED[:-1], NAME + ".zst").as_dict()))
    assert list(told) == [
        *("file", "intact", "format", "size", "raw_size", "sha256", "checksummed"),
        *("uuid", "ctime", "devices", "configs", "problems", "seconds"),
    ]
    assert told["intact"] is False
    assert told["problems"] == [
        {"offset": len(PACKED) - 1, "text": told["problems"][0]["text"], "layer": "file"}
    ]
    assert told["devices"] == [{"name": "drive-scsi0", "size": len(DISK), "clusters": 3}]
    assert (told["uuid"], told["ctime"]) == ("00010203-0405-0607-0809-0a0b0c0d0e0f", 1773086402)


def test_progress_ends_at_the_files_size() -> None:
    told: list[int] = []
    verify(io.BytesIO(PACKED), NAME + ".zst", on_progress=told.append)
    assert told[-1] == len(PACKED)


def test_a_file_that_is_not_there_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="No such file") as caught:
        verify_file(tmp_path / "gone.vma")
    assert caught.value.hint


def test_a_disk_that_fails_under_the_archive_is_a_result() -> None:
    # nothing is mapped at address 0: reading it is EIO, as on a bad sector
    found = verify_file("/proc/self/mem")
    assert not found.intact
    assert (
        found.problems[0].text == "the file cannot be read on from here: Input/output error"
        and found.problems[0].offset == 0
    )


def test_what_a_remote_stream_raises_is_not_taken_for_damage() -> None:
    class Lost(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise RemoteUnreachable("the node hung up")
            return super().read(5000)

    with pytest.raises(RemoteUnreachable):
        verify(Lost(PACKED), NAME + ".zst")
