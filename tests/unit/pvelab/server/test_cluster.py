"""The cluster as the reference site's document shows it: nodes, quorum, HA, clocks, the job."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pvelab.kernel import Lab

from .conftest import Client


def test_two_nodes_have_quorum_together_and_lose_it_apart(lab: Lab, client: Client) -> None:
    first, *nodes = client.get("/cluster/status")
    assert (first["type"], first["nodes"], first["quorate"]) == ("cluster", 2, 1)
    assert [(n["name"], n["nodeid"], n["ip"], n["online"]) for n in nodes] == [
        ("clovis", 1, "192.168.3.221", 1),
        ("lge-pve02", 2, "192.168.3.225", 1),
    ]
    lab.nodes["lge-pve02"].online = False
    assert client.get("/cluster/status")[0]["quorate"] == 0
    assert client.get("/cluster/ha/status/current")[0]["status"] == "No quorum on node 'clovis'!"


def test_a_dead_node_is_a_595_without_a_body_and_its_guests_are_unknown(
    lab: Lab, client: Client
) -> None:
    lab.nodes["clovis"].online = False
    reply = client.ask("GET", "/nodes/clovis/status")
    assert (reply.status, reply.reason, reply.body) == (595, "No route to host", b"")
    assert {row["status"] for row in client.get("/cluster/resources?type=vm")} == {"unknown"}


def test_the_second_node_reads_an_hour_ahead_and_ha_says_so(client: Client) -> None:
    before, ahead, after = (
        client.get(f"/nodes/{node}/time")["time"] for node in ("clovis", "lge-pve02", "clovis")
    )
    assert before + 3643 <= ahead <= after + 3645
    lrm = {
        row["node"]: row["status"]
        for row in client.get("/cluster/ha/status/current")
        if row["type"] == "lrm"
    }
    assert lrm["lge-pve02"].startswith("lge-pve02 (detected time drift!, ")
    assert lrm["clovis"].startswith("clovis (active, watchdog active, ")


def test_local_time_is_shifted_by_the_zone(client: Client) -> None:
    answer = client.get("/nodes/clovis/time")
    paris = datetime.fromtimestamp(answer["time"], ZoneInfo("Europe/Paris")).replace(tzinfo=UTC)
    assert answer["localtime"] == int(paris.timestamp())
    assert answer["timezone"] == "Europe/Paris"


def test_the_documents_job_saves_the_eleven_guests_of_clovis_at_nine(client: Client) -> None:
    (job,) = client.get("/cluster/backup")
    assert (job["id"], job["node"], job["storage"], job["schedule"], job["enabled"]) == (
        "backup-langeo",
        "clovis",
        "local",
        "21:00",
        1,
    )
    assert job["vmid"].split(",") == [str(vmid) for vmid in range(100, 111)]
    assert (
        datetime.fromtimestamp(job["next-run"], ZoneInfo("Europe/Paris")).strftime("%H:%M")
        == "21:00"
    )
    assert client.get("/cluster/backup-info/not-backed-up") == []
    volumes = client.get("/cluster/backup/backup-langeo/included_volumes")["children"]
    assert [len(guest["children"]) for guest in volumes] == [1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1]


def test_a_disabled_job_still_counts_as_cover(client: Client) -> None:
    client.data("PUT", "/cluster/backup/backup-langeo", {"enabled": "0"})
    assert client.get("/cluster/backup-info/not-backed-up") == []
    client.data("PUT", "/cluster/backup/backup-langeo", {"vmid": "100,101"})
    assert [row["vmid"] for row in client.get("/cluster/backup-info/not-backed-up")] == list(
        range(102, 111)
    )


def test_property_strings_of_a_job_come_back_as_objects(client: Client) -> None:
    body = {
        "id": "second",
        "vmid": "100",
        "schedule": "mon..fri 22:30",
        "prune-backups": "keep-last=2",
        "fleecing": "enabled=1,storage=local",
    }
    client.data("POST", "/cluster/backup", body)
    job = client.get("/cluster/backup/second")
    assert job["prune-backups"] == {"keep-last": "2"}
    assert job["fleecing"] == {"enabled": 1, "storage": "local"}


def test_a_job_selects_by_vmid_or_by_all_and_the_last_word_counts(client: Client) -> None:
    client.data("PUT", "/cluster/backup/backup-langeo", {"all": "1", "exclude": "100"})
    assert "vmid" not in client.get("/cluster/backup/backup-langeo")
    client.data("PUT", "/cluster/backup/backup-langeo", {"vmid": "108"})
    job = client.get("/cluster/backup/backup-langeo")
    assert job["vmid"] == "108"
    assert "all" not in job
    assert "exclude" not in job


def test_old_start_time_and_days_become_a_schedule(client: Client) -> None:
    client.data(
        "POST",
        "/cluster/backup",
        {"id": "old-style", "vmid": "200", "starttime": "21:00", "dow": "mon,tue"},
    )
    assert client.get("/cluster/backup/old-style")["schedule"] == "mon,tue 21:00"


def test_guest_108_is_the_one_ha_resource(client: Client) -> None:
    (resource,) = client.get("/cluster/ha/resources")
    assert (resource["sid"], resource["state"]) == ("vm:108", "started")
    service = next(
        row for row in client.get("/cluster/ha/status/current") if row["type"] == "service"
    )
    assert (
        service["sid"],
        service["max_restart"],
        service["max_relocate"],
        service["failback"],
    ) == ("vm:108", 1, 1, 1)
    assert (
        client.get("/cluster/ha/status/manager_status")["manager_status"]["master_node"] == "clovis"
    )


def test_ha_resources_are_added_changed_and_removed(client: Client) -> None:
    client.data(
        "POST",
        "/cluster/ha/resources",
        {"sid": "vm:100", "state": "ignored", "comment": "lab", "max_restart": "2"},
    )
    client.data("PUT", "/cluster/ha/resources/100", {"max_relocate": "3", "delete": "comment"})
    changed = client.get("/cluster/ha/resources/vm:100")
    assert {key: changed[key] for key in ("state", "max_restart", "max_relocate")} == {
        "state": "ignored",
        "max_restart": 2,
        "max_relocate": 3,
    }
    assert "comment" not in changed
    client.data("DELETE", "/cluster/ha/resources/vm:100")
    assert len(client.get("/cluster/ha/resources")) == 1


def test_resources_hold_guests_nodes_storages_and_zones(client: Client) -> None:
    rows = client.get("/cluster/resources")
    by_type = {
        kind: [row for row in rows if row["type"] == kind]
        for kind in ("qemu", "node", "storage", "sdn")
    }
    assert [len(found) for found in by_type.values()] == [11, 2, 4, 2]
    debian = next(row for row in by_type["qemu"] if row["vmid"] == 108)
    assert (debian["name"], debian["node"], debian["maxcpu"], debian["maxmem"]) == (
        "Debian-Server",
        "clovis",
        2,
        2048 * 1024**2,
    )
    assert debian["maxdisk"] > 0


def test_a_lab_without_real_guests_says_so_in_its_version(client: Client) -> None:
    assert client.get("/version") == {
        "version": "9.2.11",
        "release": "9.2",
        "repoid": "14a22df3",
        "simulated": 1,
    }


def test_the_isolated_bridge_has_no_port_and_no_address(client: Client) -> None:
    bridges = {row["iface"]: row for row in client.get("/nodes/clovis/network")}
    assert bridges["vmbr0"]["bridge_ports"] == "eno1"
    assert bridges["vmbr9"]["bridge_ports"] == ""
    assert "address" not in bridges["vmbr9"]


def test_ha_rules_need_their_parts_and_managed_guests(client: Client) -> None:
    rule = {"rule": "r1", "type": "node-affinity", "resources": "vm:108"}
    assert (
        client.ask("POST", "/cluster/ha/rules", rule).reason
        == "missing value for required option 'nodes'"
    )
    client.data("POST", "/cluster/ha/rules", {**rule, "nodes": "clovis:2"})
    (found,) = client.get("/cluster/ha/rules?resource=vm:108")
    assert (found["rule"], found["nodes"], found["order"]) == ("r1", "clovis:2", 1)
    unmanaged = client.ask(
        "POST", "/cluster/ha/rules", {**rule, "nodes": "clovis", "resources": "vm:101"}
    )
    assert unmanaged.reason == "create ha rule failed: cannot use unmanaged resource(s) vm:101."


def test_storages_are_listed_to_those_who_may_use_them(
    lab: Lab, client: Client, service: Client
) -> None:
    assert {row["storage"]: row["type"] for row in service.get("/storage")} == {
        "local": "dir",
        "local-lvm": "lvmthin",
    }
    assert client.get("/storage/local")["prune-backups"] == "keep-all=1"
    assert (
        service.ask("GET", "/storage/local").reason
        == "Permission check failed (/storage/local, Datastore.Allocate)"
    )
    assert (
        json.loads(client.ask("GET", "/storage/nosuch").body)["message"]
        == "storage 'nosuch' does not exist\n"
    )
