"""A cluster with one modelled container, asked in process as its API would be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvelab import seed
from pvelab.containers import trees
from pvelab.containers.mounts import mounts
from pvelab.containers.seed import seed_container
from pvelab.kernel import Lab
from pvelab.simulated import SimulatedHypervisor
from tests.unit.pvelab.guests.conftest import Api

CT = "/nodes/clovis/lxc/200"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    definition = seed.cluster() | {"auth_delay": 0.0}
    run_dir = seed.new_run_dir()
    opened = seed.open_lab(tmp_path / "lab", SimulatedHypervisor(), run_dir, definition)
    seed.seed_cluster(opened)
    seed_container(opened, "clovis")
    yield opened
    opened.hypervisor.close()
    shutil.rmtree(run_dir)


@pytest.fixture
def api(lab: Lab) -> Api:
    return Api(lab)


def listing(lab: Lab, vmid: int) -> dict[str, tuple[object, ...]]:
    """Return every file of a container: its kind, owner, mode, and what it holds or where it
    points.
    """
    vm = lab.guests.need("clovis", vmid, "lxc")
    found: dict[str, tuple[object, ...]] = {}
    for mount in mounts(vm.config):
        if mount.kind != "volume":
            continue
        tree = trees.open_tree(lab, "clovis", mount.volume)
        for path in sorted(tree.root.rglob("*")):
            inside = f"./{path.relative_to(tree.root).as_posix()}"
            held = (
                path.readlink()
                if path.is_symlink()
                else path.read_bytes()
                if path.is_file()
                else None
            )
            owner = None if path.is_symlink() else tree.owner(inside, path.lstat())
            found[mount.path.rstrip("/") + inside[1:]] = (owner, held)
    return found
