"""Containers in listings, their state and their configuration."""

from __future__ import annotations

from pvelab import seed
from pvelab.containers import power
from pvelab.kernel import Lab
from pvelab.seed import open_lab
from tests.unit.pvelab.containers.conftest import CT
from tests.unit.pvelab.guests.conftest import Api


def test_a_container_is_a_guest_of_the_cluster_and_no_vm(api: Api) -> None:
    (row,) = api("GET", "/cluster/resources", type="vm")
    assert {
        key: row[key] for key in ("id", "type", "vmid", "name", "status", "maxmem", "maxdisk")
    } == {
        "id": "lxc/200",
        "type": "lxc",
        "vmid": 200,
        "name": "web-ct",
        "status": "stopped",
        "maxmem": 256 * 1024**2,
        "maxdisk": 1024**3,
    }
    assert api("GET", "/nodes/clovis/qemu") == []
    assert [row["vmid"] for row in api("GET", "/nodes/clovis/lxc")] == [200]
    assert api("GET", "/nodes/lge-pve02/lxc") == []
    assert api.refused("GET", "/cluster/nextid", vmid=200)[0] == 400
    missing = (500, "Configuration file 'nodes/clovis/qemu-server/200.conf' does not exist")
    assert api.refused("GET", "/nodes/clovis/qemu/200/config") == missing


def test_starting_and_stopping_change_the_state_alone_and_the_log_says_so(api: Api) -> None:
    assert api("GET", f"{CT}/status/current")["status"] == "stopped"
    upid = api("POST", f"{CT}/status/start")
    assert ":vzstart:200:" in upid
    assert api.ended(upid) == ("OK", [power.MODELLED, "TASK OK"])
    current = api("GET", f"{CT}/status/current")
    assert (current["status"], current["type"], current["disk"] > 400_000) == (
        "running",
        "lxc",
        True,
    )
    assert api.refused("POST", f"{CT}/status/start") == (500, "CT 200 already running")
    assert ":vzshutdown:200:" in (upid := api("POST", f"{CT}/status/shutdown"))
    assert api.ended(upid)[0] == "OK"
    assert api.refused("POST", f"{CT}/status/stop") == (500, "CT 200 not running")


def test_a_lab_that_is_opened_again_knows_its_containers_and_starts_those_of_its_nodes(
    lab: Lab,
) -> None:
    again = open_lab(lab.dir, lab.hypervisor, lab.run_dir, seed.cluster())
    assert (
        again.guests.need("clovis", 200, "lxc").text()
        == lab.guests.need("clovis", 200, "lxc").text()
    )
    told: list[str] = []
    power.start_all(again, told.append)
    assert told == [f"200 web-ct is on: {power.MODELLED}"]
    assert again.machine_status(200) == "running"


def test_the_configuration_says_that_it_is_modelled_and_takes_changes(api: Api) -> None:
    config = api("GET", f"{CT}/config")
    assert config["description"].startswith("modelled")
    assert api("PUT", f"{CT}/config", memory=512, digest=config["digest"]) is None
    assert api("GET", f"{CT}/config")["memory"] == 512
    stale = api.refused("PUT", f"{CT}/config", memory=1024, digest=config["digest"])
    assert stale == (
        500,
        "detected modified configuration - file changed by other user? Try again.",
    )
    assert api.refused("PUT", f"{CT}/config") == (500, "no options specified")
    assert api.refused("PUT", f"{CT}/config", delete="rootfs")[0] == 400


def test_a_deleted_mount_point_leaves_an_unused_volume(api: Api) -> None:
    api("PUT", f"{CT}/config", mp0="local-lvm:1,mp=/data")
    api("PUT", f"{CT}/config", delete="mp0")
    config = api("GET", f"{CT}/config")
    assert config["unused0"] == "local-lvm:vm-200-disk-1" and "mp0" not in config
    rows = api("GET", "/nodes/clovis/storage/local-lvm/content", vmid=200)
    assert [(row["content"], row["size"]) for row in rows] == [
        ("rootdir", 1024**3),
        ("rootdir", 1024**3),
    ]


def test_a_token_may_not_mount_what_belongs_to_the_host(api: Api) -> None:
    service = api.with_token(seed.SERVICE_TOKEN)
    assert service.refused("PUT", f"{CT}/config", mp0="/srv,mp=/data")[0] == 403
    assert service.refused("PUT", f"{CT}/config", features="keyctl=1")[0] == 403
    assert service("PUT", f"{CT}/config", onboot=0) is None


def test_a_locked_container_is_not_started(api: Api, lab: Lab) -> None:
    lab.guests.need("clovis", 200, "lxc").config["lock"] = "backup"
    assert api.task("POST", f"{CT}/status/start")[0] == "CT is locked (backup)"


def test_a_jobs_included_volumes_are_the_containers_mount_points(api: Api, lab: Lab) -> None:
    lab.guests.need("clovis", 200, "lxc").config.update(
        mp0="/srv/pool,mp=/data", mp1="local-lvm:vm-200-disk-1,mp=/x,backup=1"
    )
    lab.jobs.entries["backup-langeo"]["vmid"] = "200"
    (found,) = api("GET", "/cluster/backup/backup-langeo/included_volumes")["children"]
    assert (found["id"], found["name"], found["type"]) == (200, "web-ct", "lxc")
    assert [(row["id"], row["included"], row["reason"]) for row in found["children"]] == [
        ("200:rootfs", 1, "rootfs"),
        ("200:mp0", 0, "not a volume"),
        ("200:mp1", 1, "enabled"),
    ]
