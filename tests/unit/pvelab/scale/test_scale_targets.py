"""The size of the issue: 50 nodes, 2,000 guests, three years. What the server computes counts: a
busy machine changes it less.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvelab import control
from pvelab.control import LabAccess
from tests.bench.bench_lab_scale import MIB, Client, computed_by, proportional_memory

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("targets") / "lab"
    yield path
    control.down(path)


@pytest.fixture(scope="module")
def access(home: Path) -> LabAccess:
    return control.up(home, hypervisor="simulated", scale="50x2000", years=3)


def cost(access: LabAccess, home: Path, path: str) -> tuple[int, float]:
    """How many rows a path lists, and the seconds that the server computes for it."""
    pid = control.running(home)
    assert pid is not None
    before = computed_by(pid)
    _, rows = Client(access).timed(path, 1)
    return rows, computed_by(pid) - before


def test_ten_thousand_volumes_are_listed_in_half_a_second(access: LabAccess, home: Path) -> None:
    rows, seconds = cost(access, home, "/nodes/pve01/storage/local/content?content=backup")
    assert rows > 30_000
    assert seconds / rows * 10_000 < 0.5


def test_the_whole_clusters_resources_cost_less_than_a_fifth_of_a_second(
    access: LabAccess, home: Path
) -> None:
    cost(access, home, "/cluster/resources")
    rows, seconds = cost(access, home, "/cluster/resources")
    assert rows > 2000
    assert seconds < 0.2


def test_two_million_volumes_stand_on_less_than_a_gigabyte_of_memory_and_no_file(
    access: LabAccess, home: Path
) -> None:
    began, pid = time.monotonic(), control.running(home)
    assert pid is not None
    client = Client(access)
    rows = [
        client.timed(f"/nodes/pve{n:02d}/storage/local/content?content=backup", 1)[1]
        for n in (1, 25, 50)
    ]
    sundays = sum(
        client.timed(f"/nodes/pve01/storage/nas{n}/content?content=backup", 1)[1]
        for n in (1, 2, 3, 4)
    )
    assert sum(rows) / 3 * 50 + sundays > 2_000_000
    assert proportional_memory(pid) < 1024 * MIB
    assert not list(home.rglob("*.vma.zst"))
    assert time.monotonic() - began < 120
