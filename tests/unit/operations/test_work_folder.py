"""A folder of work holds decrypted archives: it is one process's, and goes at once when that has
ended.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backupsvc.operations.copy.work_folder import REHEARSAL, SNAPSHOT, work_folder

ROOT = Path(__file__).parents[3]
CODE = """
import sys
from pathlib import Path
from backupsvc.operations.copy.work_folder import REHEARSAL, work_folder
with work_folder(Path(sys.argv[1]), REHEARSAL) as folder:
    (folder / "plain").write_bytes(b"secret")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_at_work(state: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process of its own that has such a folder, and the folder."""
    command = [sys.executable, "-c", CODE, str(state)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_folder_is_empty_but_for_its_lock_only_this_users_and_gone_afterwards(
    tmp_path: Path,
) -> None:
    with work_folder(tmp_path / "state", SNAPSHOT) as folder:
        assert folder.name.startswith("snapshot-") and folder.stat().st_mode & 0o077 == 0
        assert (tmp_path / "state").stat().st_mode & 0o077 == 0
        assert [one.name for one in folder.iterdir()] == [".lock"]
        (folder / "deep").mkdir()
    assert list((tmp_path / "state").iterdir()) == []


def test_what_fails_in_it_is_raised_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), work_folder(tmp_path, REHEARSAL) as folder:
        (folder / "not there").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_and_what_a_living_one_has_stays(
    tmp_path: Path,
) -> None:
    with another_at_work(tmp_path) as (process, its_folder):
        os.utime(its_folder, (1, 1))  # age says nothing: a large archive takes hours
        with work_folder(tmp_path, SNAPSHOT):
            assert (its_folder / "plain").read_bytes() == b"secret"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert its_folder.exists()
        with work_folder(tmp_path, SNAPSHOT):
            assert not its_folder.exists()


@pytest.mark.parametrize("files", [[], ["plain"]])
def test_what_an_older_version_left_without_a_lock_goes_too(
    tmp_path: Path, files: list[str]
) -> None:
    left = tmp_path / "rehearsal-old"
    left.mkdir()
    for name in files:
        (left / name).touch()
    with work_folder(tmp_path, REHEARSAL):
        assert not left.exists()


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), NotADirectoryError(20, "file")])
def test_what_cannot_be_looked_into_stays_and_keeps_nobody_from_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    (tmp_path / "rehearsal-of-another-user").mkdir()
    real = Path.open

    def refused(path: Path, *args: Any, **more: Any) -> Any:
        if path.parent.name == "rehearsal-of-another-user":
            raise error
        return real(path, *args, **more)

    monkeypatch.setattr(Path, "open", refused)
    with work_folder(tmp_path, SNAPSHOT) as folder:
        assert folder.is_dir()
    assert [one.name for one in tmp_path.iterdir()] == ["rehearsal-of-another-user"]


def test_a_folder_that_is_taken_for_a_dead_ones_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, taken = fcntl.flock, list[Path]()

    def late(file: int, how: int) -> None:
        if not taken:
            taken.extend(tmp_path.iterdir())
            with work_folder(tmp_path, SNAPSHOT):
                assert not taken[0].exists()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with work_folder(tmp_path, REHEARSAL) as folder:
        assert folder.exists() and folder != taken[0]
    assert list(tmp_path.iterdir()) == []
