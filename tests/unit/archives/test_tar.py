"""The tar pass over container archives."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.streams import ByteStream, Damage
from backupsvc.archives.tar import TarPass, looks_like_tar

from .build import unhurried

CONF = b"arch: amd64\nhostname: web\n"


def container(format: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar like vzdump's: the config first, then the root file system."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, data in (
            ("./etc/vzdump/pct.conf", CONF),
            ("./etc/vzdump/pct.fw", b"[OPTIONS]\n"),
            ("./bin/sh", b"\x7fELF" * 500),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        folder = tarfile.TarInfo("./" + "long/" * 60)
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        link = tarfile.TarInfo("./bin/bash")
        link.type, link.linkname, link.size = tarfile.LNKTYPE, "./bin/sh", 2000
        tar.addfile(link)
        last = tarfile.TarInfo("./" + "é" * 120)
        last.size = 700
        tar.addfile(last, io.BytesIO(b"x" * 700))
    return out.getvalue()


PACKED = container()
END = len(PACKED.rstrip(b"\0")) + 512 - len(PACKED.rstrip(b"\0")) % 512  # where the first block of zeros stands


def read(data: bytes) -> TarPass:
    reader = TarPass()
    reader.read(ByteStream([data]))
    return reader


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_container_archive_of_any_dialect_is_whole_and_gives_its_configs(format: int) -> None:
    if format == tarfile.USTAR_FORMAT:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=format) as tar:
            member = tarfile.TarInfo("etc/vzdump/pct.conf")
            member.size = len(CONF)
            tar.addfile(member, io.BytesIO(CONF))
        reader = read(out.getvalue())
    else:
        reader = read(container(format))
        assert reader.configs["pct.fw"] == b"[OPTIONS]\n" and reader.members == 6
    assert reader.problems == [] and reader.configs["pct.conf"] == CONF


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=posix"], ["--format=ustar"]])
def test_what_gnu_tar_writes_with_holes_is_whole(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "etc/vzdump").mkdir(parents=True)
    (tmp_path / "etc/vzdump/pct.conf").write_bytes(CONF)
    with (tmp_path / "sparse").open("wb") as file:
        for number in range(100):
            file.seek(number * 1_000_000)
            file.write(b"data")
    (tmp_path / ("n" * 90)).write_bytes(b"1")
    (tmp_path / "link").symlink_to("sparse")
    sparse = [] if "--format=ustar" in options else ["--sparse"]
    (tmp_path / "sparse").unlink() if not sparse else None
    packed = subprocess.run(
        ["tar", "-C", tmp_path, *options, *sparse, "-cf", "-", "."], stdout=subprocess.PIPE, check=True
    ).stdout
    reader = read(packed)
    assert reader.problems == [] and reader.configs == {"pct.conf": CONF}


@unhurried
@given(st.integers(0, END + 1023))
def test_a_tar_cut_anywhere_before_its_end_marker_is_found(cut: int) -> None:
    with pytest.raises(Damage) as caught:
        read(PACKED[:cut])
    assert (caught.value.offset or 0) <= cut and caught.value.problem.layer == "tar"


def test_the_last_record_need_not_be_filled() -> None:
    assert read(PACKED[: END + 1024]).problems == []


@unhurried
@given(st.sampled_from([0, 512 * 2, 512 * 4]), st.integers(0, 8 * 512 - 1))
def test_a_flipped_bit_in_a_header_is_found(at: int, bit: int) -> None:
    data = bytearray(container(tarfile.GNU_FORMAT))
    data[at + bit // 8] ^= 1 << bit % 8
    # The checksum's own field has room for blanks and zeros that say the same number.
    if not 148 <= bit // 8 < 156:
        with pytest.raises(Damage):
            read(bytes(data))


@unhurried
@given(st.binary(max_size=5000))
def test_random_bytes_are_no_tar_and_no_crash(data: bytes) -> None:
    with pytest.raises(Damage):
        read(data)


@unhurried
@given(st.data())
def test_any_flipped_bit_is_a_result_and_never_a_crash(data: st.DataObject) -> None:
    packed = bytearray(PACKED)
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    try:
        read(bytes(packed))
    except Damage as damage:
        assert damage.problem.text


def test_data_after_the_end_is_found() -> None:
    with pytest.raises(Damage, match="data after the end"):
        read(PACKED + b"x" * 512)
    with pytest.raises(Damage, match="data after the end"):
        read(PACKED[: END + 512] + b"x" * 512)


def test_a_tar_without_the_container_config_is_told() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w"):
        pass
    assert [problem.text for problem in read(out.getvalue()).problems] == [
        "no etc/vzdump/pct.conf inside: PVE cannot restore a container from it alone"
    ]


def test_sizes_beyond_octal_are_understood() -> None:
    member = tarfile.TarInfo("big")
    member.size = 9 * 1024**3
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with pytest.raises(Damage, match="inside a member") as caught:
            read(member.tobuf(format) + bytes(2048))
        assert (caught.value.offset or 0) > 512


@pytest.mark.parametrize(
    "records", [b"9 x=1\n", b"abc", b"99 path=x\n", b"8 path=x\n", b"12 size=-9\n\n", b"9999999999999 a=b\n", b"0 a=b\n"]
)
def test_a_broken_extension_is_damage(records: bytes) -> None:
    extension = tarfile.TarInfo("x")
    extension.type, extension.size = tarfile.XHDTYPE, len(records)
    data = extension.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0") + PACKED
    with pytest.raises(Damage, match="pax"):
        read(data)


def test_an_extension_that_claims_gigabytes_is_refused_before_it_is_read() -> None:
    extension = tarfile.TarInfo("x")
    extension.type, extension.size = tarfile.XHDTYPE, 2**32
    with pytest.raises(Damage, match="header extension of 4294967296 bytes"):
        read(extension.tobuf(tarfile.USTAR_FORMAT) + PACKED)


def test_a_tar_is_recognised_by_its_first_header() -> None:
    assert looks_like_tar(PACKED[:512])
    assert not looks_like_tar(PACKED[:511]) and not looks_like_tar(bytes(512)) and not looks_like_tar(b"VMA\0" * 128)
