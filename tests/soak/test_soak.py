"""A good archive is called proven every time, also while every core is busy with something else."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.false_proof.stage import POLICY, Stage, built, said

COUNT = int(os.environ.get("SOAK_COUNT", "50"))
GUESTS = (104, 105, 108)
MAX_EACH = 600  # seconds: so long may one test take
pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200 + COUNT * MAX_EACH)]

# What a site would set: nothing here is about how fast this machine is.
PATIENT = POLICY.replace("boot-timeout: 30s", "boot-timeout: 5m").replace(
    "check-timeout: 5s", "check-timeout: 2m"
)
_BURNER = """
import os, sys, time
parent, end = os.getppid(), time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and os.getppid() == parent:
    sum(range(100_000))
"""


@contextmanager
def busy() -> Iterator[None]:
    """Keep every core busy. The burners stop by themselves: in time, or when whoever began them is
    gone.
    """
    most = str(MAX_EACH * COUNT)
    burners = [
        subprocess.Popen([sys.executable, "-c", _BURNER, most]) for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
        assert all(burner.poll() is None for burner in burners), (
            "a burner stopped too early: nothing was endured"
        )
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with built(tmp_path) as made:
        Path(made.shell.env["BACKUPSVC_POLICY"]).write_text(PATIENT, encoding="utf-8")
        yield made


def test_law_5_every_good_archive_is_proven_while_all_cores_are_busy(stage: Stage) -> None:
    verdicts: list[str] = []
    seconds: list[float] = []
    production = stage.production()
    with busy():
        for number, vmid in zip(range(1, COUNT + 1), itertools.cycle(GUESTS), strict=False):
            began = time.monotonic()
            answer = stage.shell("restore-test", vmid, "--json")
            seconds.append(time.monotonic() - began)
            verdicts.append(str(answer.json.get("verdict")))
            why = "" if verdicts[-1] == "proven" else f": {said(answer)}"
            print(
                f"{number} of {COUNT}: guest {vmid} {verdicts[-1]} in {seconds[-1]:.1f} s{why}",
                flush=True,
            )
    good = verdicts.count("proven")
    middle = statistics.median(seconds)
    print(
        f"{good} proven of {COUNT}; seconds: shortest {min(seconds):.1f}, median {middle:.1f}, "
        f"longest {max(seconds):.1f}"
    )
    assert good == COUNT
    assert stage.left_behind() == []
    assert stage.production() == production
