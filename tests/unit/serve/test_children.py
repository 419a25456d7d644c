"""A child that dies is missed, told of and started again; one that is ended takes its own children
along.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupsvc.serve.children import Child
from tests.waiting import wait_until


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


clock = Clock()
said: list[str] = []


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Iterator[Child]:
    """A child that runs the Python text it is parametrized with, or sleeps."""
    said.clear()
    made = Child(
        "sleeper",
        [sys.executable, "-c", getattr(request, "param", "import time; time.sleep(60)")],
        clock,
        said.append,
    )
    yield made
    made.kill()
    wait_until(made.gone)


def die(child: Child, number: int = signal.SIGKILL) -> None:
    """Kill it, and tend it until its death is noticed."""
    pid = child.fact().pid
    assert pid
    os.kill(pid, number)
    wait_until(lambda: child.tend() < 60)


def test_a_dead_child_waits_longer_each_time_and_then_runs_again(child: Child) -> None:
    child.tend()
    assert child.fact().up and child.fact().restarts == 0
    for restarts, pause in ((1, 1), (2, 2), (3, 4)):
        die(child)
        assert not child.fact().up and child.fact().last == "signal SIGKILL"
        assert f"ended with signal SIGKILL after 0 s; it is restarted in {pause} s" in said[-1]
        clock.sleep(pause - 0.1)
        child.tend()
        assert not child.fact().up, "it does not start before its pause is over"
        clock.sleep(0.1)
        child.tend()
        assert child.fact().up and child.fact().restarts == restarts


def test_one_that_ran_well_for_a_while_starts_from_the_shortest_pause_again(child: Child) -> None:
    child.tend()
    die(child)
    clock.sleep(1)
    child.tend()
    clock.sleep(60)
    die(child)
    assert "after 60 s; it is restarted in 1 s" in said[-1]


@pytest.mark.parametrize("child", ["import sys; sys.exit(7)"], indirect=True)
def test_an_exit_status_is_told(child: Child) -> None:
    child.tend()
    wait_until(lambda: child.tend() < 60)
    assert child.fact().last == "exit status 7" and "exit status 7" in said[0]


FORKS = (
    "import os, sys, time\npid = os.fork()\nif pid: open('{}', 'w').write(str(pid))\ntime.sleep(60)"
)


def test_what_a_dead_child_had_started_is_killed_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = Child("parent", [sys.executable, "-c", FORKS.format(note)], clock, said.append)
    child.tend()
    wait_until(lambda: note.exists() and note.read_text())
    grandchild = int(note.read_text())
    die(child)
    wait_until(lambda: not running(grandchild))


def test_a_stopped_child_is_killed_all_the_same(child: Child) -> None:
    child.tend()
    pid = child.fact().pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    child.ask_to_end()
    assert not child.gone()
    child.kill()
    wait_until(child.gone)


def running(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


WORDS = """
print("time=2026-03-09T20:00:00Z level=info process=worker-steps event=ready", flush=True)
print("12:M 09 Mar 2026 20:00:00.916 # Redis is now ready to exit", flush=True)
print("12:signal-handler (1773086400) Received SIGTERM", flush=True)
print("Traceback (most recent call last):", flush=True)
"""


@pytest.mark.parametrize("child", [WORDS], indirect=True)
def test_what_a_child_writes_is_passed_on_its_log_as_it_is_and_the_rest_as_lines_of_the_log(
    child: Child, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    child.tend()
    wait_until(lambda: child.tend() < 60 and said)
    assert capsys.readouterr().err.splitlines() == [
        "time=2026-03-09T20:00:00Z level=info process=worker-steps event=ready"
    ]
    assert [(record.getMessage(), record.process_name) for record in caplog.records] == [  # type: ignore[attr-defined]
        ("Redis is now ready to exit", "sleeper"),
        ("Received SIGTERM", "sleeper"),
        ("Traceback (most recent call last):", "sleeper"),
    ]
