"""One serve in a state directory, whoever died there before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backupsvc.errors import Refused, UsageError
from backupsvc.serve import lock

HOLD = """
import sys, time, pathlib
from backupsvc.serve import lock
with lock.only_one(pathlib.Path(sys.argv[1])) as write_down:
    write_down("x:1")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[bytes]:
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()
    return process


def test_a_second_one_is_refused_with_the_first_ones_process_id(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    try:
        with (
            pytest.raises(Refused, match=f"as process {holder.pid}") as caught,
            lock.only_one(tmp_path),
        ):
            pass
        assert f"kill {holder.pid}" in caught.value.hint and caught.value.exit_code == 4
        assert lock.running(tmp_path) == {"pid": holder.pid, "listen": "x:1"}
    finally:
        holder.kill()
        holder.wait()


def test_a_lock_whose_holder_was_killed_is_taken_over(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert str(holder.pid) in (tmp_path / lock.LOCK_FILE).read_text(), "it was left behind"
    assert lock.running(tmp_path) is None
    with lock.only_one(tmp_path):
        assert str(os.getpid()) in (tmp_path / lock.LOCK_FILE).read_text()
    assert lock.running(tmp_path) is None


def test_two_state_directories_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    with lock.only_one(tmp_path / "a"), lock.only_one(tmp_path / "b"):
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_a_state_directory_that_cannot_be_made_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match="cannot be written"),
        lock.only_one(tmp_path / "file" / "x"),
    ):
        pass
    assert lock.running(tmp_path) is None
