"""A kept configuration as a file: the same bytes for the same content, and nothing hostile in what
is read back.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.copies import config_sets
from backupsvc.copies.config_sets import (
    FOLDER,
    SAID,
    folder_of,
    kept_in,
    pack,
    read,
    unpack,
)
from backupsvc.copies.snapshots import CONFIG, name_at
from backupsvc.errors import ArchiveError, CopyError
from policies.cluster_config import ConfigSet

KEPT = ConfigSet(
    {"storage.cfg": "dir: local\n\tpath /é\n", "guests/qemu-108.conf": "name: web\n"},
    {"guests/qemu-109.conf": "no: with a colon", "nodes/n2/": "offline"},
    {"storage.cfg": "rights"},
)


def test_what_is_packed_is_read_back_and_packed_again_to_the_same_bytes() -> None:
    data = pack(KEPT)
    assert unpack(data, "x") == KEPT
    turned = ConfigSet(*(dict(reversed(list(one.items()))) for one in (KEPT.files, KEPT.not_read, KEPT.in_part)))  # fmt: skip
    assert pack(turned) == data == pack(unpack(data, "x"))


def test_it_is_a_plain_tar_of_files_without_times_or_owners() -> None:
    with tarfile.open(fileobj=io.BytesIO(zstd.decompress(pack(KEPT))), mode="r:") as tar:
        found = tar.getmembers()
    assert [one.name for one in found] == ["guests/qemu-108.conf", SAID, "storage.cfg"]
    assert {(one.mtime, one.uid, one.gid, one.mode) for one in found} == {(0, 0, 0, 0o600)}


@pytest.mark.parametrize(("limit", "most"), [("MOST_FILES", 2), ("MOST_BYTES", 10_000)])
def test_what_could_not_be_read_back_is_not_packed(
    monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(config_sets, limit, most)
    with pytest.raises(CopyError, match="too large"):
        pack(KEPT)


def test_the_largest_that_is_packed_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(zstd.decompress(pack(KEPT)))
    monkeypatch.setattr(config_sets, "MOST_BYTES", size)
    monkeypatch.setattr(config_sets, "MOST_FILES", 3)
    assert unpack(pack(KEPT), "x") == KEPT


def tar_of(*members: tarfile.TarInfo, said: bytes = b"", form: int = tarfile.USTAR_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as tar:
        head = tarfile.TarInfo(SAID)
        head.size = len(said)
        tar.addfile(head, io.BytesIO(said))
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return zstd.compress(packed.getvalue())


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> bytes:
    one = tarfile.TarInfo(name)
    one.type, one.linkname, one.size = kind, link, size
    return tar_of(one)


def sparse() -> bytes:
    one = tarfile.TarInfo("a")
    one.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    return tar_of(one, form=tarfile.PAX_FORMAT)


def wide() -> bytes:
    """A frame that wants 128 MiB of memory before it gives a byte."""
    maker = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    return maker.compress(zstd.decompress(pack(KEPT))) + maker.flush()


def extended() -> bytes:
    """A file whose owner, name or size may be told twice."""
    one = tarfile.TarInfo("a")
    one.pax_headers = {"comment": "x"}
    return tar_of(one, form=tarfile.PAX_FORMAT)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no zstd": lambda: b"hello",
    "no tar": lambda: zstd.compress(b"hello" * 1000),
    "empty": lambda: zstd.compress(b""),
    "cut off": lambda: pack(KEPT)[:-20],
    "a flipped bit": lambda: pack(KEPT)[:60] + bytes([pack(KEPT)[60] ^ 4]) + pack(KEPT)[61:],
    "up and out": lambda: member("../../etc/cron.d/x"),
    "from the root": lambda: member("/etc/passwd"),
    "hidden": lambda: member(".ssh/authorized_keys"),
    "here": lambda: member("a/./b"),
    "doubled slash": lambda: member("a//b"),
    "with a control character": lambda: member("a\x1b[31m"),
    "with a blank": lambda: member("a b"),
    "a link": lambda: member("a", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": lambda: member("a", tarfile.LNKTYPE, SAID),
    "a device": lambda: member("a", tarfile.CHRTYPE),
    "a folder": lambda: member("a", tarfile.DIRTYPE),
    "a sparse file": lambda: member("a", tarfile.GNUTYPE_SPARSE),
    "a sparse file by pax": sparse,
    "extended headers": extended,
    "twice": lambda: member(SAID),
    "no utf-8": lambda: tar_of(said=b"\xff"),
    "no such line": lambda: tar_of(said=b"hello\n"),
    "a wide window": wide,
    "a bomb": lambda: zstd.compress(b"\0" * (config_sets.MOST_BYTES + 1024)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_kept_configuration_is_refused(case: str) -> None:
    with pytest.raises(ArchiveError, match="x is no kept configuration"):
        unpack(HOSTILE[case](), "x")


@pytest.mark.slow
@given(st.data())
def test_bytes_that_changed_are_refused_or_read_as_something_bounded(data: st.DataObject) -> None:
    whole = bytearray(zstd.decompress(pack(KEPT)))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = unpack(zstd.compress(bytes(whole)), "x")
    except ArchiveError:
        return
    assert sum(map(len, found.files.values())) <= len(whole)
    assert all(not name.startswith(("/", ".")) and ".." not in name.split("/") for name in found.files)  # fmt: skip


def test_the_folder_is_this_users_alone_and_lists_what_is_kept(tmp_path: Path) -> None:
    assert kept_in(tmp_path) == {}
    (tmp_path / FOLDER).mkdir(mode=0o755)
    folder = folder_of(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    names = [name_at(at, "tar", CONFIG) for at in (86_400, 0)]
    for name in (*names, "notes.txt", name_at(0, "sqlite"), f"{names[0]}.part"):
        (folder / name).write_bytes(pack(KEPT))
    (folder / "backupsvc-config-20269999T999999Z.tar.zst").write_bytes(b"")
    assert kept_in(tmp_path) == {0: folder / names[1], 86_400: folder / names[0]}
    assert read(folder / names[0]) == KEPT


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("")
    with pytest.raises(CopyError, match="cannot be made"):
        folder_of(tmp_path)
    with pytest.raises(CopyError, match="cannot be listed"):
        kept_in(tmp_path)


def test_neither_a_link_nor_a_pipe_in_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(pack(KEPT))
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArchiveError, match="cannot be read"):
        read(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="no kept configuration"):
        read(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="cannot be read"):
        read(tmp_path / "gone")
