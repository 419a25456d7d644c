"""With real guests: the node of the HA guest dies, and the guest answers on the other one from its
replicated disk.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pvelab import cluster_settings, power
from pvelab.kernel import Lab
from pvelab.nodes_life import kill_node
from pvelab.server import LabServer
from pvelab.vmm.probe import answers_ssh
from tests.waiting import HANGS

pytestmark = pytest.mark.lab

HOME, OTHER, VMID = "clovis", "lge-pve02", 108


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LabServer]:
    running = LabServer(tmp_path, "qemu", print, guests=f"102,{VMID}")
    try:
        running.start()
        yield running
    finally:
        running.stop()


def until(true: Callable[[], bool]) -> float:
    """Wait until something is so; return after how many seconds it was."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < HANGS
        time.sleep(0.1)
    return time.monotonic() - began


def answers(lab: Lab) -> bool:
    vm = lab.guests.get(VMID)
    return vm is not None and vm.node == OTHER and power.answers(lab, vm)


def test_108_answers_on_the_other_node_after_the_death_of_its_own(server: LabServer) -> None:
    lab = server.lab
    job = {str(VMID): {"target": OTHER, "interval": 900}}
    cluster_settings.change(
        lab, {"time_factor": 30, "qdevice": True, "zfs": ["local-lvm"], "replication": job}
    )
    replica = lab.storage_dir(OTHER, "local-lvm") / "vm-108-disk-0"
    until(replica.is_file)
    pids = [machine.pid for machine in lab.machines.values()]
    assert len(pids) == 2
    host, _, port = json.loads((server.directory / "settings.json").read_text())["ssh"]["nodes"][
        HOME
    ].partition(":")
    assert answers_ssh(host, int(port))

    kill_node(lab, HOME)
    assert not any(pid and Path(f"/proc/{pid}").exists() for pid in pids)
    assert not answers_ssh(host, int(port))
    assert lab.quorate()
    took = until(lambda: answers(lab))
    print(
        f"vm:108 answers on {OTHER} {took:.1f} s after the death of {HOME} ({took * 30:.0f} s of "
        "PVE's)"
    )
    assert took * 30 > 120  # PVE's locks have run out first
    assert [disk.path for disk in lab.machines[VMID].spec.disks] == [replica]
    assert lab.ha.services["vm:108"].state == "started"
    assert [vm.vmid for vm in lab.guests.all(OTHER)] == [VMID]
