"""How long a command takes to begin, and what a restore test adds to what PVE and the guest need
anyway.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import Shell, settle_briefly

pytestmark = pytest.mark.bench
NEEDED = ("restore", "start", "boot", "check")


def median(words: list[str], rounds: int = 9) -> float:
    """Given a command, return the median of its wall time in seconds."""
    times = []
    for _ in range(rounds):
        began = time.monotonic()
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        times.append(time.monotonic() - began)
    return statistics.median(times)


def test_help_against_the_bare_interpreter(capsys: pytest.CaptureFixture[str]) -> None:
    bare = median([sys.executable, "-c", "pass"])
    shown = median([sys.executable, "-m", "backupsvc", "--help"])
    with capsys.disabled():
        print(
            f"\nbackupsvc --help {shown:.3f} s, python -c pass {bare:.3f} s: {shown / bare:.1f} x"
        )
    assert shown > 0


def test_a_restore_test_against_restore_boot_and_first_good_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path)
    assert shell("lab", "up", "--hypervisor", "qemu", timeout=600).code == 0
    try:
        settle_briefly(tmp_path, "0s")  # what it costs is measured in bench_settle.py
        assert shell("backup", "run", "--vmid", 108, "--json").code == 0
        rows = []
        for _ in range(5):
            began = time.monotonic()
            result = shell("restore-test", 108, "--json").json
            wall = time.monotonic() - began
            assert result["verdict"] == "proven"
            needed = sum(stage["seconds"] for stage in result["stages"] if stage["name"] in NEEDED)
            rows.append((wall - needed, needed, wall))
    finally:
        shell("lab", "down")
    added, needed, wall = (statistics.median(column) for column in zip(*rows, strict=True))
    with capsys.disabled():
        print(
            f"\nrestore-test 108: {wall:.2f} s in all; restore + boot + first good check "
            f"{needed:.2f} s; it adds {added:.2f} s",
            end=" ",
        )
        print(f"({wall / needed:.2f} x), the command's own start included")
