"""A folder of this machine as a target: whether its disk is there, what it holds, and that nothing
leads out of it.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.opening import open_target
from backupsvc.errors import CopyError, TargetMissing
from backupsvc.remote.connections import NodeConnections
from backupsvc.settings import SshSettings
from policies.model import CopyTarget, Directory
from tests.unit.copies.scene import directory


def opened(path: Path, *, mounted: bool = False) -> None:
    target = CopyTarget("usb", Directory(str(path), mounted=mounted))
    with (
        closing(NodeConnections(SshSettings())) as nodes,
        open_target(target, nodes, SshSettings()) as folder,
    ):
        assert folder.files() == {}


def test_a_folder_that_is_not_there_is_told_with_the_target(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(TargetMissing, match=r"copy target usb \(.*\) is not there") as told:
            opened(path)
        assert told.value.exit_code == 3


def test_a_folder_without_a_disk_of_its_own_is_refused_where_one_is_demanded(
    tmp_path: Path,
) -> None:
    opened(tmp_path)
    with pytest.raises(
        TargetMissing, match=r"no disk is mounted at .*, so nothing is written to copy target usb"
    ):
        opened(tmp_path, mounted=True)


def test_files_alone_are_listed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert directory(tmp_path).files() == {"a": 5}


def test_a_link_is_not_followed_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    there = tmp_path / "there"
    target = directory(there)
    (there / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(CopyError), target.write("a", 1) as writing:
        writing.write(b"y")
    with pytest.raises(CopyError), target.read("a"):
        pass
    assert (tmp_path / "secret").read_bytes() == b"x"


def test_a_file_is_read_and_written_on_from_an_offset(tmp_path: Path) -> None:
    target = directory(tmp_path)
    with target.write("a") as writing:
        writing.write(b"012345")
    with target.write("a", 3) as writing:
        writing.write(b"ABCDE")
        writing.sync()
    with target.read("a", 2) as file:
        assert file.read(100) == b"2ABCDE"
    with pytest.raises(CopyError, match="File exists"), target.write("a"):
        pass


def test_a_name_that_is_taken_is_not_given(tmp_path: Path) -> None:
    target = directory(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    with pytest.raises(CopyError, match="has a file b already"):
        target.rename("a", "b")
    target.rename("a", "c")
    target.remove("c")
    target.remove("c")
    assert target.files() == {"b": 1}
    with pytest.raises(TargetMissing, match="has gone while we rename c"):
        target.rename("c", "d")


def test_what_is_written_never_lands_in_a_folder_that_took_the_places_of_the_one_that_was_opened(
    tmp_path: Path,
) -> None:
    there = tmp_path / "there"
    target = directory(there)
    there.rename(tmp_path / "unplugged")
    there.mkdir()
    with target.write("a") as writing:
        writing.write(b"x")
    assert list(there.iterdir()) == [] and [
        file.name for file in (tmp_path / "unplugged").iterdir()
    ] == ["a"]
    shutil.rmtree(tmp_path / "unplugged")
    with pytest.raises(TargetMissing), target.write("b"):
        pass


def test_the_room_is_that_of_its_file_system(tmp_path: Path) -> None:
    space = directory(tmp_path).space()
    assert space is not None and 0 < space.free <= space.total
    assert space.total == shutil.disk_usage(tmp_path).total


def test_a_target_is_closed_after_use(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        opened(tmp_path)
        with pytest.raises(TargetMissing):
            DirectoryTarget("usb", Directory(str(tmp_path), mounted=True))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
