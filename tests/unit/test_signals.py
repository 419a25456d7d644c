"""The processes that tests start find their signals as a user's do, however the tests themselves
were started.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# in the tests' place: a pytest that reads its conftest, and starts a program that tells which
# signals it ignores
STARTS = """
import subprocess, sys
import tests.conftest
print(subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, text=True, check=True).stdout)
"""
TELLS = (
    "print(next(line.split()[1] for line in open('/proc/self/status') if "
    "line.startswith('SigIgn')))"
)


IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT)


def ignore() -> None:
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.slow
def test_what_the_shell_ignored_is_not_ignored_by_what_a_test_starts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTS, TELLS],
        cwd=ROOT,
        preexec_fn=ignore,
        capture_output=True,
        text=True,
        check=True,
    )
    still = [number.name for number in IGNORED if int(done.stdout, 16) & (1 << (number - 1))]
    assert still == []


@pytest.mark.slow
def test_the_tests_themselves_go_on_to_pay_no_heed_to_it() -> None:
    script = (
        "import os, signal, tests.conftest\nos.kill(os.getpid(), signal.SIGHUP)\nprint('lives')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        preexec_fn=ignore,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "lives\n"
