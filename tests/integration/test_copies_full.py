"""Copies to disks that are full, small, or not there: real file systems, mounted for the test where
the machine lets us.
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backupsvc.copies.opening import open_target
from backupsvc.copies.send import Watch, send
from backupsvc.copies.sources import LocalSource
from backupsvc.errors import CopyError, NoRoom, TargetMissing, TargetRefused
from backupsvc.remote.connections import NodeConnections
from backupsvc.settings import SshSettings
from policies.model import CopyTarget, Directory, SftpFolder
from tests.unit.copies.scene import (
    NAME,
    PART,
    WHOLE,
    Watched,
    directory,
    forked,
    order,
    write_archive,
)
from tests.unit.remote.sshd import running_sshd

MIB = 1 << 20


def mount(folder: Path, *words: str) -> None:
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount(folder, "-t", "tmpfs", "-o", "size=4m", "none")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def source(tmp_path: Path) -> LocalSource:
    return write_archive(tmp_path / "here")


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


class FillsUp:
    """Somebody else writes to that disk while we do."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._done = folder, False

    def __call__(self, said: str) -> None:
        if said == "write on" and not self._done:
            self._done = True
            (self._folder / "theirs").write_bytes(bytes(2 * MIB))


def test_a_disk_that_is_mounted_is_taken_and_one_that_is_read_only_is_told(
    small: Path, source: LocalSource
) -> None:
    target = CopyTarget("usb", Directory(str(small), mounted=True))
    with (
        closing(NodeConnections(SshSettings())) as nodes,
        open_target(target, nodes, SshSettings()) as folder,
    ):
        assert send(source, folder, order()).moved == 3_000_000 and names(small) == WHOLE
        (small / NAME).unlink()
        mount(small, "-o", "remount,ro")
        with pytest.raises(
            TargetRefused, match=r"does not let us write .*Read-only file system"
        ) as told:
            send(source, folder, order())
        assert "dmesg" in told.value.hint


def test_a_disk_that_was_unplugged_takes_nothing(small: Path, source: LocalSource) -> None:
    target = CopyTarget("usb", Directory(str(small), mounted=True))
    subprocess.run(["umount", str(small)], check=True)
    refused = pytest.raises(TargetMissing, match="no disk is mounted")
    with (
        refused,
        closing(NodeConnections(SshSettings())) as nodes,
        open_target(target, nodes, SshSettings()) as folder,
    ):
        send(source, folder, order())
    mount(small, "-t", "tmpfs", "-o", "size=4m", "none")
    assert names(small) == set()


def test_a_disk_on_which_it_does_not_fit_is_not_begun_on(small: Path, tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match=r"4\.8 MiB are to come, 4\.0 MiB of 4\.0 MiB are free"):
        send(write_archive(tmp_path / "large", 5_000_000), directory(small), order())
    assert names(small) == set()


def test_a_disk_that_fills_up_in_mid_copy_ends_in_an_error_and_what_was_written_is_out_of_the_way(
    small: Path, source: LocalSource
) -> None:
    with pytest.raises(NoRoom, match=r"has no room: write .*No space left on device"):
        send(source, Watched(directory(small), FillsUp(small)), order())
    assert names(small) == {"theirs"}


def test_a_servers_disk_that_fills_up_in_mid_copy_is_told_though_the_server_says_failure_alone(
    small: Path, tmp_path: Path, source: LocalSource
) -> None:
    with running_sshd(tmp_path / "sshd", extra="ForceCommand internal-sftp") as server:
        place = SftpFolder("127.0.0.1", server.port, server.user, str(small), (server.host_key,))
        ssh = SshSettings(key_file=server.key_file)
        target = CopyTarget("offsite", place, allow_root=True)
        refused = pytest.raises(
            NoRoom, match=r"has no room: write .*Failure, and [0-9]+ bytes are free"
        )
        with (
            closing(NodeConnections(ssh)) as nodes,
            open_target(target, nodes, ssh) as folder,
            refused,
        ):
            send(source, Watched(folder, FillsUp(small)), order())
    assert names(small) == {"theirs"}


def test_a_file_that_may_not_grow_any_more_is_told_with_what_limits_it(
    source: LocalSource, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, 2 * MIB))
        with pytest.raises(CopyError, match="takes no file that large") as told:
            send(source, directory(there), order(), Watch())
        assert "FAT32" in told.value.hint

    assert forked(limited) == 0
    assert names(there) == {PART}
