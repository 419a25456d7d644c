"""What a restore adds to PVE's own tasks: a lost guest of a modelled lab, brought back again and again.

    python -m pytest tests/bench/bench_restore.py -s

Nothing of the wall time is asserted; under 2 s is wanted. What is added: a plan, the looks before it
begins and before the start, reading back, and what the command itself takes to begin and to end. On a
real network each address that nobody answers costs the seconds of the two looks on top of that.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from backupsvc.operations.restore.hearing import LONG, SHORT
from pvelab.accident import delete_guest
from tests.commands import Shell, settle_briefly

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]
VMID, NODE, ROUNDS = 105, "clovis", 5
PVES_OWN = ("restore", "start")


def test_a_restore_against_pves_own_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell, rows = Shell(tmp_path), []
    assert shell("lab", "up", "--hypervisor", "simulated", timeout=600).code == 0
    try:
        settle_briefly(tmp_path, "0s")
        assert shell("backup", "run", "--vmid", VMID, "--json").code == 0
        for _ in range(ROUNDS):
            delete_guest(tmp_path / "lab", NODE, VMID)
            began = time.monotonic()
            told: Any = shell("restore", VMID, "--json").json
            wall = time.monotonic() - began
            assert told["started"] and told["verdict"] == "simulated", told
            stages = {stage["name"]: float(stage["seconds"]) for stage in told["stages"]}
            rows.append((wall, sum(stages[name] for name in PVES_OWN), sum(stages.values())))
    finally:
        shell("lab", "down")
    wall, own, all_steps = (statistics.median(column) for column in zip(*rows, strict=True))
    with capsys.disabled():
        print(
            f"\nrestore {wall:.2f} s, PVE's tasks as they were waited for {own:.2f} s: {wall / own:.2f} x, "
            f"{wall - own:.2f} s added ({all_steps - own:.2f} s of it in steps)\n"
            f"a silent address: {LONG:g} s more while it is planned, {SHORT:g} s before the start"
        )
    assert wall > 0
