"""The tar pass over container archives."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.streams import ByteStream, Damage
from backupsvc.archives.tar import TarPass, looks_like_tar

from . import hostile
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
# where the first block of zeros stands
END = len(PACKED.rstrip(b"\0")) + 512 - len(PACKED.rstrip(b"\0")) % 512


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
        ["tar", "-C", tmp_path, *options, *sparse, "-cf", "-", "."],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    reader = read(packed)
    assert reader.problems == [] and reader.configs == {"pct.conf": CONF}


@pytest.mark.slow
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
    "records",
    [
        b"9 x=1\n",
        b"abc",
        b"99 path=x\n",
        b"8 path=x\n",
        b"12 size=-9\n\n",
        b"9999999999999 a=b\n",
        b"0 a=b\n",
    ],
)
def test_a_broken_extension_is_damage(records: bytes) -> None:
    extension = tarfile.TarInfo("x")
    extension.type, extension.size = tarfile.XHDTYPE, len(records)
    data = extension.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0") + PACKED
    with pytest.raises(Damage, match="pax"):
        read(data)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(tarfile.XHDTYPE, "broken pax"), (tarfile.GNUTYPE_LONGNAME, "inside a member")],
)
def test_an_extension_that_claims_gigabytes_ends_where_the_stream_does(
    kind: bytes, text: str
) -> None:
    extension = tarfile.TarInfo("x")
    extension.type, extension.size = kind, 2**32
    with pytest.raises(Damage, match=text):
        read(extension.tobuf(tarfile.USTAR_FORMAT) + PACKED)


def test_a_tar_is_recognised_by_its_first_header() -> None:
    assert looks_like_tar(PACKED[:512])
    assert (
        not looks_like_tar(PACKED[:511])
        and not looks_like_tar(bytes(512))
        and not looks_like_tar(b"VMA\0" * 128)
    )


def one(
    name: bytes,
    kind: bytes = b"0",
    link: bytes = b"",
    change: Callable[[bytearray], object] = bytearray.copy,
) -> TarPass:
    """Read a container whose only file has this header."""
    header = bytearray(hostile.member(name, kind, 0, link))
    change(header)
    return read(hostile.tar([])[:-1024] + hostile.sum_up(header) + bytes(1024))


@pytest.mark.parametrize(
    ("name", "kind", "link", "text"),
    [
        (b"../evil", b"0", b"", "leads out of the folder"),
        (b"a/../../evil", b"0", b"", "leads out of the folder"),
        (b"", b"0", b"", "without a name"),
        (b"a", b"V", b"", "of a kind that no file system has"),
        (b"a", b"M", b"", "of a kind that no file system has"),
        (b"a", b"1", b"", "a link to nothing"),
        (b"a", b"2", b"", "a link to nothing"),
    ],
)
def test_law_5_what_tar_could_not_extract_is_not_whole(
    name: bytes, kind: bytes, link: bytes, text: str
) -> None:
    (problem,) = one(name, kind, link).problems
    assert text in problem.text and problem.offset == 1024


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        (b"./..a/b..", b"0", b""),
        (b"/etc/x", b"0", b""),
        (b"./", b"5", b""),
        (b"a", b"3", b""),
        (b"a", b"6", b""),
        (b"a", b"2", b".."),
    ],
)
def test_what_guests_really_hold_is_whole(name: bytes, kind: bytes, link: bytes) -> None:
    assert one(name, kind, link).problems == []


def test_law_5_an_owner_that_is_no_number_is_told() -> None:
    def foul(header: bytearray) -> None:
        header[108:110] = b"zz"

    assert "is no number" in one(b"a", change=foul).problems[0].text


@pytest.mark.parametrize(
    ("at", "field", "good"),
    [
        (108, b"\x80" + bytes(3) + b"\xff" * 4, True),
        (108, b"\x80" + bytes(2) + b"\1" + bytes(4), False),
        (116, b"\xff" * 8, False),
        (136, b"\xff" * 12, True),
        (136, b"\x80" + b"\xff" * 11, False),
    ],
)
def test_law_5_numbers_in_base_256_are_those_that_linux_has(
    at: int, field: bytes, good: bool
) -> None:
    def put(header: bytearray) -> None:
        header[at : at + len(field)] = field

    assert (one(b"a", change=put).problems == []) is good


FOUL = (
    b"10 uid=-1\n",
    b"18 gid=4294967296\n",
    b"11 uid=1.5\n",
    b"29 mtime=9223372036854775808\n",
    b"9 k\0=abc\n",
)


@pytest.mark.parametrize("record", FOUL)
def test_law_5_a_pax_record_that_tar_refuses_is_damage(record: bytes) -> None:
    with pytest.raises(Damage, match="pax"):
        read(hostile.tar([(b"x", b"x", record), (b"f", b"0", b"")]))


@pytest.mark.parametrize(
    "record", [b"19 mtime=-1.500000\n", b"18 gid=4294967295\n", b"24 mtime=1773086402.123\n"]
)
def test_a_pax_record_that_tar_writes_is_read(record: bytes) -> None:
    assert read(hostile.tar([(b"x", b"x", record), (b"f", b"0", b"")])).problems == []


@pytest.mark.parametrize("kind", [b"L", b"x"])
@pytest.mark.parametrize(
    ("name", "good"),
    [(b"n" * 255, True), (b"n" * 256, False), (b"n/" * 2047, True), (b"n/" * 3000, False)],
)
def test_law_5_a_name_that_is_longer_than_linux_takes_is_told(
    kind: bytes, name: bytes, good: bool
) -> None:
    record = b" path=" + name + b"\n"
    digits = next(count for count in range(1, 9) if len(str(len(record) + count)) == count)
    data = b"%d" % (len(record) + digits) + record if kind == b"x" else name + b"\0"
    found = read(hostile.tar([(b"ext", kind, data), (b"short", b"0", b"content")]))
    assert (found.problems == []) is good
    assert good or "longer than Linux takes" in found.problems[0].text


def test_the_same_problem_of_many_members_is_told_once() -> None:
    found = read(hostile.tar([(b"../x", b"0", b"") for _ in range(500)]))
    assert [problem.text for problem in found.problems] == [
        "a member whose name leads out of the folder into which it is extracted (and 499 more)"
    ]


def test_law_5_a_config_that_the_guest_wrote_itself_does_not_replace_the_one_that_vzdump_wrote() -> (
    None
):
    found = read(
        hostile.tar(
            [
                (b"./etc/vzdump/pct.conf", b"0", b"hostname: another\n"),
                (b"./etc/vzdump/own", b"0", b"x"),
            ]
        )
    )
    assert found.configs == {"pct.conf": hostile.CONF}


def test_a_folder_or_device_with_data_is_refused_since_readers_disagree_where_the_next_member_is() -> (
    None
):
    with pytest.raises(Damage, match="holds no data"):
        read(hostile.tar([(b"d", b"5", b"data")]))


def test_a_global_header_that_renames_every_member_is_refused_and_a_comment_is_not() -> None:
    with pytest.raises(Damage, match="of all members"):
        read(hostile.tar([(b"g", b"g", b"10 path=x\n"), (b"f", b"0", b"")]))
    assert read(hostile.tar([(b"g", b"g", b"13 comment=x\n"), (b"f", b"0", b"")])).problems == []


def test_an_extension_that_no_member_follows_is_damage() -> None:
    with pytest.raises(Damage, match="checksum"):
        read(hostile.tar([(b"x", b"x", b"10 path=x\n")]))
