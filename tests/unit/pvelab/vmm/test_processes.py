"""Children of the lab die with it, and only with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from pvelab.vmm import processes
from tests.waiting import wait_until

PARENT = """
import sys, threading, time
from pathlib import Path
from pvelab.vmm import processes
def start():
    print(processes.spawn(["sleep", "60"], Path(sys.argv[1])).pid, flush=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
time.sleep(60)
"""


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def dies(pid: int) -> bool:
    return bool(wait_until(lambda: not alive(pid)))


def test_a_child_outlives_the_thread_that_asked_for_it_and_not_the_process(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.3)
    assert alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert dies(child)


def test_a_child_that_ignores_the_request_to_end_is_made_to(tmp_path: Path) -> None:
    process = processes.spawn(
        ["sh", "-c", "trap '' TERM; echo set; while :; do sleep 0.1; done"], tmp_path / "log"
    )
    while "set" not in (tmp_path / "log").read_text():
        time.sleep(0.01)
    processes.end(process, timeout_s=0.2)
    assert process.returncode == -signal.SIGKILL


def test_what_a_child_says_is_in_its_log(tmp_path: Path) -> None:
    processes.spawn(["sh", "-c", "echo out; echo err >&2"], tmp_path / "log").wait()
    assert (tmp_path / "log").read_text() == "out\nerr\n"


def test_a_child_has_the_descriptors_it_was_given(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    processes.spawn(
        ["sh", "-c", f"echo here >/dev/fd/{writer}"], tmp_path / "log", descriptors=[writer]
    ).wait()
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "here\n"


def test_a_child_left_over_from_an_earlier_lab_is_killed(tmp_path: Path) -> None:
    orphan = subprocess.Popen(["sh", "-c", f"sleep 60; : {tmp_path}"])
    # Popen returns as soon as exec has left our memory (vfork), a moment before the kernel knows
    # the new command line
    assert wait_until(Path(f"/proc/{orphan.pid}/cmdline").read_bytes)
    (tmp_path / "pid").write_text(str(orphan.pid))
    threading.Thread(target=orphan.wait).start()
    assert processes.kill_left_over(tmp_path / "pid", str(tmp_path))
    assert dies(orphan.pid)
    assert not (tmp_path / "pid").exists()


def test_a_pid_that_now_belongs_to_something_else_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "60"])
    (tmp_path / "pid").write_text(str(other.pid))
    assert not processes.kill_left_over(tmp_path / "pid", str(tmp_path))
    assert alive(other.pid)
    other.kill()
    other.wait()
