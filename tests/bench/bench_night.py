"""What a night of 2,000 guests on 50 nodes costs: how long it lasts, what PVE is asked, how long a
tick takes.

    python -m pytest tests/bench/bench_night.py -s

The cluster and the clock are virtual (tests/fakes/cluster.py); the engine, the adapters
over the HTTP client and the catalog (SQLite, in a file) are the real ones. Targets: within 5 % of
the longest node queue, at most 12 calls a guest with every poll counted, a tick under 1 s with all
operations open.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from backupsvc.catalog import Catalog
from tests.unit.operations.virtual_night import Night

pytestmark = [pytest.mark.bench, pytest.mark.timeout(7200)]

# 10 nodes with 80 guests, 30 with 35, 10 with 15: 2,000 guests
HOMES = {
    f"pve{number:02d}": 80 if number <= 10 else 35 if number <= 40 else 15
    for number in range(1, 51)
}


def test_two_thousand_guests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}") as catalog:
        found = Night(catalog, tmp_path, HOMES).run()
    with capsys.disabled():
        print("", *found.lines(), sep="\n")
    assert found.guests == 2000 and found.states["backup done"] == 2000
    assert found.ratio <= 1.05
    assert found.calls_per_guest <= 12


def test_a_node_that_takes_three_seconds_for_every_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small night, for the figure alone: its guests wait for each other's questions."""
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}") as catalog:
        found = Night(
            catalog, tmp_path, {"pve01": 10, "pve02": 10, "pve03": 5}, slow=frozenset({"pve01"})
        ).run()
    with capsys.disabled():
        print(
            "",
            f"a slow node: makespan {found.makespan:.0f} s, lower bound {found.bound:.0f} s, "
            f"ratio {found.ratio:.3f}",
            sep="\n",
        )
    assert found.states["backup done"] == 25
