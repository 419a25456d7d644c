"""Bundles: what was packed comes back, and nothing else does; a hostile one leaves nothing."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.copies import bundles
from backupsvc.copies.bundles import SUMS, pack, unpack
from backupsvc.errors import ArchiveError, NoRoom, UsageError

HELD = {"README.txt": b"read me\n", "guests/108-a.txt": b"", "cluster/a/" + "b" * 110: b"deep"}


def whole(tmp_path: Path, large: int = 300_000) -> Path:
    file, to = tmp_path / "catalog", tmp_path / "bundle.tar.zst"
    file.write_bytes(b"\x00\x01" * large)
    pack([*HELD.items(), ("catalog.sqlite", file)], to, lambda: None)
    return to


def opened(data: bytes, into: Path) -> tuple[str, ...]:
    return unpack(io.BytesIO(data), "bundle", into)


def crafted(change: Callable[[tarfile.TarFile, dict[str, bytes]], None]) -> bytes:
    """A bundle as somebody else may write one."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        change(tar, dict(HELD))
    return zstd.compress(plain.getvalue())


def add(tar: tarfile.TarFile, name: str, data: bytes, **changes: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in changes.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(data))


def summed(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
    add(
        tar,
        SUMS,
        "".join(
            f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in held.items()
        ).encode(),
    )


def test_what_was_packed_comes_back_for_this_user_alone(tmp_path: Path) -> None:
    bundle, into = whole(tmp_path), tmp_path / "deep" / "state"
    names = opened(bundle.read_bytes(), into)
    assert set(names) == {*HELD, "catalog.sqlite"}
    assert {name: (into / name).read_bytes() for name in HELD} == HELD
    assert (into / "catalog.sqlite").stat().st_size == 600_000
    assert {path.stat().st_mode & 0o77 for path in [into, *into.rglob("*")]} == {0}


def test_it_can_be_read_with_tar_and_sha256sum_alone(tmp_path: Path) -> None:
    bundle, into = whole(tmp_path), tmp_path / "by-hand"
    into.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", bundle, "-C", into], check=True)
    # its own list is made of all others as they were written
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=into, check=True)


def test_it_is_the_same_whoever_packs_it(tmp_path: Path) -> None:
    first = whole(tmp_path).read_bytes()
    assert whole(tmp_path).read_bytes() == first


def test_somebody_is_told_again_and_again_that_it_goes_on(tmp_path: Path) -> None:
    told: list[int] = []
    (tmp_path / "large").write_bytes(bytes(1_000_000))
    pack([("large", tmp_path / "large")], tmp_path / "b", lambda: told.append(1))
    assert len(told) > 10


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_bundle_that_was_damaged_leaves_nothing_or_is_whole(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("damaged")
    data = bytearray(whole(tmp_path, 3000).read_bytes())
    data[at % len(data)] ^= 1 << bit
    try:
        names = opened(bytes(data), tmp_path / "into")
    except ArchiveError:
        assert not (tmp_path / "into").exists()
    else:  # a bit that says nothing
        assert set(names) == {*HELD, "catalog.sqlite"}
        assert {name: (tmp_path / "into" / name).read_bytes() for name in HELD} == HELD


@pytest.mark.parametrize("cut", [0, 1, 50, -1, -10])
def test_a_bundle_that_was_cut_off_leaves_nothing(tmp_path: Path, cut: int) -> None:
    data = whole(tmp_path).read_bytes()
    with pytest.raises(ArchiveError):
        opened(data[:cut], tmp_path / "into")
    assert not (tmp_path / "into").exists()


HOSTILE: dict[str, Callable[[tarfile.TarFile, dict[str, bytes]], None]] = {
    "above": lambda tar, held: add(tar, "../above", b"x"),
    "absolute": lambda tar, held: add(tar, "/tmp/absolute", b"x"),
    "hidden": lambda tar, held: add(tar, ".ssh/authorized_keys", b"x"),
    "inside": lambda tar, held: add(tar, "a/../../b", b"x"),
    "link": lambda tar, held: add(tar, "link", b"", type=tarfile.SYMTYPE, linkname="/etc"),
    "hard link": lambda tar, held: add(tar, "hard", b"", type=tarfile.LNKTYPE, linkname="a"),
    "device": lambda tar, held: add(tar, "null", b"", type=tarfile.CHRTYPE),
    "folder": lambda tar, held: add(tar, "folder", b"", type=tarfile.DIRTYPE),
    "blank": lambda tar, held: add(tar, "a b", b"x"),
    "control": lambda tar, held: add(tar, "a\x1b[2J", b"x"),
    "long": lambda tar, held: add(tar, "x" * 200, b"x"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_law_1_nothing_is_written_outside_the_folder_nor_as_anything_but_files(
    tmp_path: Path, name: str
) -> None:
    def made(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        add(tar, "first", b"1")
        HOSTILE[name](tar, held)
        summed(tar, {"first": b"1"})

    with pytest.raises(ArchiveError):
        opened(crafted(made), tmp_path / "in" / "to")
    assert list((tmp_path / "in").iterdir()) == [] and not (tmp_path / "above").exists()


def test_files_that_no_checksum_names_and_checksums_without_a_file_are_refused(
    tmp_path: Path,
) -> None:
    def more(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        add(tar, "a", b"1")
        add(tar, "b", b"2")
        summed(tar, {"a": b"1"})

    def fewer(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        add(tar, "a", b"1")
        summed(tar, {"a": b"1", "b": b"2"})

    def other(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        add(tar, "a", b"1")
        summed(tar, {"a": b"2"})

    def after(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        add(tar, "a", b"1")
        summed(tar, {"a": b"1"})
        add(tar, "late", b"3")

    def twice(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        add(tar, "a", b"1")
        add(tar, "a", b"1")
        summed(tar, {"a": b"1"})

    def never(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        add(tar, "a", b"1")

    def odd(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        add(tar, SUMS, b"what is this\n")

    def binary(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        add(tar, SUMS, b"\xff\xfe\n")

    for change in (more, fewer, other, after, twice, never, odd, binary):
        with pytest.raises(ArchiveError):
            opened(crafted(change), tmp_path / "into")
        assert not (tmp_path / "into").exists(), change.__name__


def test_a_file_through_another_one_is_no_file(tmp_path: Path) -> None:
    def through(tar: tarfile.TarFile, held: dict[str, bytes]) -> None:
        add(tar, "a", b"1")
        add(tar, "a/b", b"2")
        summed(tar, {"a": b"1", "a/b": b"2"})

    with pytest.raises(ArchiveError):
        opened(crafted(through), tmp_path / "into")
    assert not (tmp_path / "into").exists()


# the last bytes are not its own: other things live on that disk
@pytest.mark.parametrize("free", [1000, 64 << 20])
def test_what_was_packed_is_bounded_by_the_room_and_not_by_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    data = whole(tmp_path).read_bytes()
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(NoRoom, match=f"{free} are free"):
        opened(data, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MOST_FILES", 2)
    with pytest.raises(ArchiveError, match="too many"):
        opened(whole(tmp_path).read_bytes(), tmp_path / "into")
    monkeypatch.setattr(bundles, "MOST_FILES", 100)
    monkeypatch.setattr(bundles, "MOST_SUMS", 10)
    with pytest.raises(ArchiveError, match="larger than any of ours"):
        opened(whole(tmp_path).read_bytes(), tmp_path / "into")


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "mine").write_text("mine")
    with pytest.raises(UsageError, match="cannot be made"):
        opened(whole(tmp_path).read_bytes(), there)
    assert (there / "mine").read_text() == "mine"


def test_a_value_stands_in_a_file_of_settings_as_one_word() -> None:
    for value in ("", "a b", "it's", "$(reboot)", 'a"b', "a;b|c"):
        done = subprocess.run(
            ["sh", "-c", f"printf %s {bundles.shell_quoted(value)}"],
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode() == value
