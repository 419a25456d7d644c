"""A container under HA: taken over from its replica, moved, stopped and started as a VM is, and
back with its node.
"""

from __future__ import annotations

import pytest

from pvelab import cluster_settings
from pvelab.containers.power import switch_off, switch_on
from pvelab.containers.seed import seed_container
from pvelab.containers.trees import open_tree
from pvelab.kernel import Lab, VmConfig
from pvelab.moves import Replication
from pvelab.nodes_life import kill_node, revive_node

from .conftest import Client
from .test_ha_manager import Live, live

__all__ = ["live"]
VOLID = "local-lvm:vm-200-disk-0"


@pytest.fixture
def container(running: Lab) -> VmConfig:
    """Container 200 on clovis, on, with a replica on the other node."""
    vm = seed_container(running, "clovis")
    switch_on(running, vm)
    running.ha.master = "lge-pve02"
    job = {"200": {"target": "lge-pve02", "interval": 900}}
    cluster_settings.change(running, {"qdevice": True, "zfs": ["local-lvm"], "replication": job})
    Replication(running).round()
    return vm


def manage(client: Client, sid: str = "200") -> None:
    client.data("POST", "/cluster/ha/resources", {"sid": sid})


def state(client: Client) -> tuple[str, str]:
    (row,) = [row for row in client.get("/cluster/ha/status/current") if row.get("sid") == "ct:200"]
    return row["node"], row["state"]


def test_a_bare_vmid_is_the_containers_service_and_a_vms_name_is_none(
    client: Client, container: VmConfig
) -> None:
    assert client.ask("POST", "/cluster/ha/resources", {"sid": "vm:200"}).status == 500
    manage(client)
    assert client.get("/cluster/ha/resources/ct:200")["type"] == "ct"
    assert client.get("/nodes/clovis/lxc/200/status/current")["ha"] == {
        "managed": 1,
        "state": "started",
    }


def test_it_is_taken_over_where_its_volume_was_replicated(
    running: Lab, client: Client, container: VmConfig, live: Live
) -> None:
    manage(client)
    live(20)
    files = {path.name for path in open_tree(running, "clovis", VOLID).root.rglob("*")}
    kill_node(running, "clovis")
    live(300)
    assert state(client) == ("lge-pve02", "started")
    assert running.machine_status(200) == "running"
    assert {path.name for path in open_tree(running, "lge-pve02", VOLID).root.rglob("*")} == files


def test_a_move_takes_its_volume_along_and_a_stop_is_kept(
    running: Lab, client: Client, container: VmConfig, live: Live
) -> None:
    manage(client)
    live(20)
    client.data("POST", "/cluster/ha/resources/ct:200/migrate", {"node": "lge-pve02"})
    live(60)
    assert state(client) == ("lge-pve02", "started")
    assert not running.storage_dir("clovis", "local-lvm").joinpath("vm-200-disk-0").exists()
    upid = client.data("POST", "/nodes/lge-pve02/lxc/200/status/stop")
    assert (running.tasks.wait(upid), upid.split(":")[5]) == ("OK", "hastop")
    live(60)
    assert (state(client)[1], running.machine_status(200)) == ("stopped", "stopped")


def test_without_ha_a_container_starts_with_its_node(running: Lab, container: VmConfig) -> None:
    kill_node(running, "clovis")
    assert running.machine_status(200) == "stopped"
    assert running.tasks.wait(revive_node(running, "clovis")) == "OK"
    assert running.machine_status(200) == "running"


def test_it_is_destroyed_only_with_purge_which_takes_it_out_of_ha(
    running: Lab, client: Client, container: VmConfig
) -> None:
    manage(client)
    switch_off(running, 200)
    refused = client.ask("DELETE", "/nodes/clovis/lxc/200")
    assert (
        refused.reason
        == "unable to remove CT 200 - used in HA resources and purge parameter not set."
    )
    assert running.tasks.wait(client.data("DELETE", "/nodes/clovis/lxc/200?purge=1")) == "OK"
    assert "ct:200" not in running.ha.resources
