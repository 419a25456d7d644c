"""What ``settle`` costs: restore tests of one real guest that need not live on after their checks,
and that live on for a while.

    python -m pytest tests/bench/bench_settle.py -s

Nothing of the wall time is asserted. A watch should cost what it waits for, plus the last round of
questions.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Shell, settle_briefly

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]
VMID, ROUNDS, SETTLES = 108, 3, (0, 5, 30)


def test_a_restore_test_with_and_without_settling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path)
    assert shell("lab", "up", "--hypervisor", "qemu", timeout=600).code == 0
    found: dict[int, list[tuple[float, dict[str, float]]]] = {}
    try:
        assert shell("backup", "run", "--vmid", VMID, "--json").code == 0
        original = (tmp_path / "lab" / "settings.json").read_text(encoding="utf-8")
        for settle in SETTLES:
            (tmp_path / "lab" / "settings.json").write_text(original, encoding="utf-8")
            settle_briefly(tmp_path, f"{settle}s")
            found[settle] = [_timed(shell) for _ in range(ROUNDS)]
    finally:
        shell("lab", "down")
    with capsys.disabled():
        print("", *_lines(found), sep="\n")


def _timed(shell: Shell) -> tuple[float, dict[str, float]]:
    began = time.monotonic()
    result: Any = shell("restore-test", VMID, "--json").json
    wall = time.monotonic() - began
    assert result["verdict"] == "proven", result
    return wall, {stage["name"]: float(stage["seconds"]) for stage in result["stages"]}


def _lines(found: dict[int, list[tuple[float, dict[str, float]]]]) -> list[str]:
    bare = statistics.median(wall for wall, _ in found[0])
    lines = []
    for settle, rows in found.items():
        wall = statistics.median(wall for wall, _ in rows)
        names = rows[0][1]
        stages = ", ".join(
            f"{name} {statistics.median(stages[name] for _, stages in rows):.2f}" for name in names
        )
        lines.append(
            f"restore-test {VMID}, settle {settle} s: {wall:.2f} s in all ({wall / bare:.2f} x); "
            f"{stages}"
        )
        if settle:
            over = statistics.median(stages["settle"] for _, stages in rows) - settle
            lines.append(f"  the watch took {over:+.2f} s more than it had to")
    return lines
