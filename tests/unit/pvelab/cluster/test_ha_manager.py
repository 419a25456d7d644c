"""The HA manager over a death: PVE's states and waits in order, and where the guest ends up with
and without its disks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pvelab import cluster_settings, seed
from pvelab.guests import volumes
from pvelab.guests.state import save
from pvelab.ha_manager import ROUND, HaManager
from pvelab.kernel import Lab, StorageDef
from pvelab.moves import Replication
from pvelab.nodes_life import kill_node, revive_node, set_drift
from pvelab.simulated import make_disk

from .conftest import Client, Hand

Live = Callable[[float], None]


@pytest.fixture
def live(running: Lab, hand: Hand) -> Live:
    """The manager's life: so many cluster seconds, round by round, each round's tasks awaited."""
    set_drift(running, "lge-pve02", 0)
    running.settings["qdevice"] = True
    manager = HaManager(running)

    def on(seconds: float) -> None:
        end = hand.at + seconds
        while hand.at < end:
            hand.at += ROUND
            manager.round()
            for upid in running.tasks.running():
                if upid.type != "startall":
                    running.tasks.wait(upid.text)

    on(ROUND)
    return on


def service(client: Client) -> tuple[str, str]:
    """Where vm:108 is and in which state."""
    (row,) = [row for row in client.get("/cluster/ha/status/current") if row["type"] == "service"]
    return row["node"], row["state"]


def nodes(client: Client) -> dict[str, str]:
    found: dict[str, str] = client.get("/cluster/ha/status/manager_status")["manager_status"][
        "node_status"
    ]
    return found


def log(client: Client, *query: str, node: str = "lge-pve02") -> list[str]:
    """What is in a node's system log, without when and by whom."""
    rows = client.get(f"/nodes/{node}/syslog?{'&'.join(query)}")
    return [row["t"].partition("]: ")[2] or row["t"] for row in rows]


def words(client: Client) -> dict[str, str]:
    rows = client.get("/cluster/ha/status/current")
    return {
        row["id"]: row["status"].partition("(")[2].partition(",")[0]
        for row in rows
        if row["type"] in ("master", "lrm")
    }


def replicated(lab: Lab) -> None:
    cluster_settings.change(
        lab,
        {"zfs": ["local-lvm"], "replication": {"108": {"target": "lge-pve02", "interval": 900}}},
    )
    Replication(lab).round()


def test_a_dead_node_is_unknown_then_fenced_and_its_service_comes_back_where_its_disks_were_replicated(
    running: Lab, client: Client, live: Live
) -> None:
    running.ha.master = "lge-pve02"
    replicated(running)
    kill_node(running, "clovis")
    live(20)
    assert (nodes(client)["clovis"], service(client)) == ("unknown", ("clovis", "starting"))
    live(50)
    assert (nodes(client)["clovis"], service(client)) == ("fence", ("clovis", "fence"))
    assert words(client)["lrm:clovis"] == "old timestamp - dead?"
    live(60)
    assert service(client) == ("lge-pve02", "started")
    assert nodes(client) == {"clovis": "unknown", "lge-pve02": "online"}
    assert client.get("/nodes/lge-pve02/qemu/108/status/current")["status"] == "running"


def test_the_manager_writes_what_it_does_to_the_system_log_of_the_node_that_leads(
    running: Lab, client: Client, live: Live
) -> None:
    running.ha.master = "lge-pve02"
    replicated(running)
    assert log(client) == ["no content"]
    kill_node(running, "clovis")
    live(130)
    assert log(client) == [
        "node 'clovis': state changed from 'online' => 'unknown'",
        "service 'vm:108': state changed from 'started' to 'fence'",
        "node 'clovis': state changed from 'unknown' => 'fence'",
        "fencing: acknowledged - got agent lock for node 'clovis'",
        "node 'clovis': state changed from 'fence' => 'unknown'",
        "service 'vm:108': state changed from 'fence' to 'recovery'",
        "recover service 'vm:108' from fenced node 'clovis' to node 'lge-pve02'",
        "service 'vm:108': state changed from 'recovery' to 'started'  (node = lge-pve02)",
    ]
    assert log(client, "limit=1", "start=6")[0].startswith("recover service 'vm:108'")
    assert log(client, "until=2020-01-01") == log(client, "since=2099-01-01%2000:00:00")
    assert log(client, "service=pvedaemon") == ["no content"]
    blind = Client(running, token=seed.SERVICE_TOKEN)
    refused = blind.ask("GET", "/nodes/lge-pve02/syslog")
    assert (refused.status, "Sys.Syslog" in refused.reason) == (403, True)
    assert client.ask("GET", "/nodes/clovis/syslog").status == 595
    revive_node(running, "clovis")
    assert log(client, node="clovis") == ["status change startup => wait_for_quorum"]


def test_a_new_master_says_that_it_leads_before_it_misses_the_old_one(
    running: Lab, client: Client, live: Live
) -> None:
    replicated(running)
    kill_node(running, "clovis")
    live(300)
    told = log(client)
    assert told[:2] == [
        "status change slave => master",
        "node 'clovis': state changed from 'online' => 'unknown'",
    ]
    assert "recover service 'vm:108' from fenced node 'clovis' to node 'lge-pve02'" in told


def test_disks_on_a_shared_storage_are_there_whichever_node_starts_the_guest(
    running: Lab, client: Client, live: Live
) -> None:
    running.storages["nas1"] = StorageDef("nas1", "nfs", ("images",), shared=True)
    vm = running.guests.need("clovis", 108)
    make_disk(
        volumes.find(running, "clovis", "nas1:108/vm-108-disk-0.raw").path, 1024 * 1024, "shared"
    )
    save(running, vm, {**vm.config, "scsi0": "nas1:108/vm-108-disk-0.raw,size=1M"})
    running.ha.master = "lge-pve02"
    kill_node(running, "clovis")
    live(130)
    assert service(client) == ("lge-pve02", "started")


def test_when_the_master_dies_too_its_lock_has_to_run_out_first(
    running: Lab, client: Client, live: Live
) -> None:
    replicated(running)
    kill_node(running, "clovis")
    live(110)
    assert nodes(client)["clovis"] == "online"
    assert words(client)["master"] == "old timestamp - dead?"
    live(60)
    assert (
        client.get("/cluster/ha/status/manager_status")["manager_status"]["master_node"]
        == "lge-pve02"
    )
    assert service(client)[1] in ("starting", "fence")
    live(30)
    assert service(client) == ("lge-pve02", "started")


def test_without_its_disks_the_configuration_moves_and_the_start_fails_until_the_service_is_in_error(
    running: Lab, client: Client, live: Live
) -> None:
    kill_node(running, "clovis")
    live(300)
    assert service(client) == ("lge-pve02", "error")
    starts = [
        status
        for upid, _, status in running.tasks.finished("lge-pve02")
        if (upid.type, upid.id) == ("qmstart", "108")
    ]
    # (max_restart + 1) on each of two tries to relocate
    assert starts == ["no such volume 'local-lvm:vm-108-disk-0'"] * 4
    text = "service 'vm:108' in error state, must be disabled and fixed first"
    for method, path, body in (
        ("POST", "/cluster/ha/resources/vm:108/migrate", {"node": "lge-pve02"}),
        ("PUT", "/cluster/ha/resources/vm:108", {"state": "started"}),
    ):
        assert client.ask(method, path, body).reason == text
    client.data("PUT", "/cluster/ha/resources/vm:108", {"state": "disabled"})
    live(10)
    assert service(client) == ("lge-pve02", "stopped")


def test_without_quorum_nothing_is_recovered_and_the_survivors_watchdog_resets_it(
    running: Lab, client: Client, live: Live
) -> None:
    running.settings["qdevice"] = False
    kill_node(running, "lge-pve02")
    live(60)
    assert client.get("/cluster/ha/status/current")[0]["status"] == "No quorum on node 'clovis'!"
    assert words(client)["lrm:clovis"] == "lost agent lock"
    assert running.machine_status(108) == "running"
    live(30)
    assert running.machines == {}
    assert client.ask("GET", "/version").status == 595
    live(100)
    assert client.get("/nodes/clovis/status")["kversion"]
    assert running.machines == {}
    revive_node(running, "lge-pve02")
    live(20)
    assert service(client) == ("clovis", "started")


def test_a_node_that_is_back_within_a_minute_keeps_its_service(
    running: Lab, client: Client, live: Live
) -> None:
    replicated(running)
    kill_node(running, "clovis")
    live(40)
    revive_node(running, "clovis")
    live(20)
    assert service(client) == ("clovis", "started")
    assert nodes(client)["clovis"] == "online"


def test_a_node_that_returns_late_does_not_get_its_service_back(
    running: Lab, client: Client, live: Live
) -> None:
    replicated(running)
    kill_node(running, "clovis")
    live(200)
    running.tasks.wait(revive_node(running, "clovis"))
    live(20)
    assert service(client) == ("lge-pve02", "started")
    assert [row["vmid"] for row in client.get("/nodes/lge-pve02/qemu")] == [108]
    assert running.machine_status(100) == "running"


def test_the_lock_of_a_cut_dump_does_not_stop_the_recovery(
    running: Lab, client: Client, live: Live
) -> None:
    replicated(running)
    running.guests.need("clovis", 108).config["lock"] = "backup"
    kill_node(running, "clovis")
    live(210)
    assert service(client) == ("lge-pve02", "started")


def test_a_guest_that_goes_down_by_itself_is_started_again(
    running: Lab, client: Client, live: Live
) -> None:
    running.machines[108].stop()
    assert service(client) == ("clovis", "starting")
    live(10)
    assert service(client) == ("clovis", "started")


@pytest.mark.parametrize("kind", ["migrate", "relocate"])
def test_a_move_that_is_asked_for_takes_disks_and_guest_along(
    running: Lab, client: Client, live: Live, kind: str
) -> None:
    answer = client.data("POST", f"/cluster/ha/resources/108/{kind}", {"node": "lge-pve02"})
    assert answer == {"sid": "vm:108", "requested-node": "lge-pve02"}
    live(20)
    assert service(client) == ("lge-pve02", "started")
    assert not (running.storage_dir("clovis", "local-lvm") / "vm-108-disk-0").exists()
    assert [s for upid, _, s in running.tasks.finished("clovis") if upid.type == "qmigrate"] == [
        "OK"
    ]


def test_a_move_to_a_node_that_is_not_there_is_queued_and_dropped(
    running: Lab, client: Client, live: Live
) -> None:
    assert (
        client.data("POST", "/cluster/ha/resources/vm:108/migrate", {"node": "nosuch"})[
            "requested-node"
        ]
        == "nosuch"
    )
    live(20)
    assert service(client) == ("clovis", "started")
    assert client.ask(
        "POST", "/cluster/ha/resources/vm:4711/relocate", {"node": "clovis"}
    ).reason == ("resource 'vm:4711' is not HA managed")


def test_a_node_affinity_rule_says_where_a_service_belongs(
    running: Lab, client: Client, live: Live
) -> None:
    rule = {
        "rule": "home",
        "type": "node-affinity",
        "resources": "vm:108",
        "nodes": "lge-pve02:2,clovis:1",
    }
    client.data("POST", "/cluster/ha/rules", rule)
    live(30)
    assert service(client) == ("lge-pve02", "started")


def test_a_stop_through_ha_is_kept_and_a_disabled_service_is_not_recovered(
    running: Lab, client: Client, live: Live
) -> None:
    client.data("PUT", "/cluster/ha/resources/vm:108", {"state": "disabled"})
    live(20)
    assert service(client) == ("clovis", "stopped")
    kill_node(running, "clovis")
    live(300)
    assert service(client) == ("clovis", "stopped")


def test_what_the_manager_knows_outlives_a_restart(running: Lab, live: Live) -> None:
    kill_node(running, "clovis")
    live(300)
    again = type(running.ha)(running.etc / "ha.json")
    assert (again.services["vm:108"].state, again.node_status["clovis"], again.master) == (
        "error",
        "unknown",
        "lge-pve02",
    )


def test_replication_copies_at_its_interval_and_turns_round_after_a_takeover(
    running: Lab, live: Live, hand: Hand
) -> None:
    cluster_settings.change(
        running,
        {"zfs": ["local-lvm"], "replication": {"108": {"target": "lge-pve02", "interval": 900}}},
    )
    replication, source = (
        Replication(running),
        running.storage_dir("clovis", "local-lvm") / "vm-108-disk-0",
    )
    copy = running.storage_dir("lge-pve02", "local-lvm") / "vm-108-disk-0"
    replication.round()
    assert copy.read_bytes() == source.read_bytes()
    with source.open("r+b") as disk:
        disk.write(b"changed")
    hand.at += 890
    replication.round()
    assert not copy.read_bytes().startswith(b"changed")
    hand.at += 10
    replication.round()
    assert copy.read_bytes().startswith(b"changed")
    kill_node(running, "clovis")
    live(300)
    assert running.guests.need("lge-pve02", 108)
    with copy.open("r+b") as disk:
        disk.write(b"over there")
    revive_node(running, "clovis")
    hand.at += 900
    replication.round()
    assert source.read_bytes().startswith(b"over there")
