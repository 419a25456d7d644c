"""A small scaled cluster, in process: three nodes, twelve guests, one year."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pvelab import scale, seed
from pvelab.kernel import Lab
from pvelab.simulated import SimulatedHypervisor
from tests.unit.pvelab.guests.conftest import Api

SIZE = scale.Scale(nodes=3, guests=12, years=1)


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[[], Lab]]:
    """Opens the lab: new at the first time, from its state after that."""
    run_dir, hypervisors = seed.new_run_dir(), list[SimulatedHypervisor]()

    def opened() -> Lab:
        hypervisors.append(SimulatedHypervisor())
        known = seed.read_definition(tmp_path / "lab")
        definition = known or scale.cluster(SIZE) | {"auth_delay": 0.0}
        lab = seed.open_lab(tmp_path / "lab", hypervisors[-1], run_dir, definition)
        if known is None:
            scale.seed_lab(lab)
            seed.write_definition(tmp_path / "lab", definition)
        scale.attach(lab)
        return lab

    yield opened
    for hypervisor in hypervisors:
        hypervisor.close()
    shutil.rmtree(run_dir)


@pytest.fixture
def lab(reopen: Callable[[], Lab]) -> Lab:
    return reopen()


@pytest.fixture
def api(lab: Lab) -> Api:
    return Api(lab)
