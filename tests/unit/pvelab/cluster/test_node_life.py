"""A node dies and comes back: what the API says meanwhile, what is lost, what starts again, what
needs quorum.
"""

from __future__ import annotations

import json
import time

import pytest

from pvelab import seed
from pvelab.errors import LabError
from pvelab.kernel import Lab, TaskLog, Upid
from pvelab.nodes_life import kill_node, revive_node, set_drift
from tests.waiting import HANGS

from .conftest import Client, Hand

NO_QUORUM = "cluster not ready - no quorum?"


def test_a_dead_nodes_calls_are_a_595_without_a_body_and_the_others_go_on(
    running: Lab, client: Client
) -> None:
    kill_node(running, "clovis")
    reply = client.ask("GET", "/nodes/clovis/qemu/108/status/current")
    assert (reply.status, reply.reason, reply.body) == (595, "No route to host", b"")
    assert {row["node"]: row["status"] for row in client.get("/nodes")} == {
        "clovis": "offline",
        "lge-pve02": "online",
    }
    rows = {row["name"]: (row["online"], row["local"]) for row in client.get("/cluster/status")[1:]}
    assert rows == {"clovis": (0, 0), "lge-pve02": (1, 1)}


def test_guests_of_a_dead_node_look_alive_for_five_minutes_and_are_unknown_then(
    running: Lab, client: Client, hand: Hand
) -> None:
    kill_node(running, "clovis")

    def status() -> dict[int, str]:
        return {row["vmid"]: row["status"] for row in client.get("/cluster/resources?type=vm")}

    assert running.machines == {}
    assert (status()[100], status()[101]) == ("running", "stopped")
    hand.at = 301
    assert set(status().values()) == {"unknown"}


def test_tasks_of_a_dead_node_end_without_a_last_line(running: Lab) -> None:
    def work(log: TaskLog) -> None:
        log.line("working")
        log.cancelled.wait(HANGS)
        log.line("never written")

    upid = running.tasks.spawn("clovis", "vzdump", "108", "root@pam", work)
    time.sleep(0.05)
    kill_node(running, "clovis")
    assert running.tasks.wait(upid) == "unexpected status"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/nodes/clovis/qemu/108/config", {"description": "x"}),
        ("POST", "/nodes/clovis/qemu", {"vmid": "900"}),
        ("DELETE", "/nodes/clovis/qemu/101", None),
        ("PUT", "/cluster/backup/backup-langeo", {"enabled": "0"}),
        ("POST", "/cluster/ha/resources", {"sid": "vm:100"}),
        ("PUT", "/access/acl", {"path": "/", "roles": "Administrator", "users": "backupsvc@pve"}),
    ],
)
def test_one_of_two_votes_is_no_quorum_and_nothing_is_written(
    running: Lab, client: Client, method: str, path: str, body: dict[str, str] | None
) -> None:
    kill_node(running, "lge-pve02")
    reply = client.ask(method, path, body)
    assert (reply.status, reply.reason) == (500, NO_QUORUM)
    assert client.get("/nodes/clovis/qemu/108/config")["name"] == "Debian-Server"


def test_without_quorum_no_guest_starts_and_a_dump_cannot_lock_its_guest(
    running: Lab, client: Client
) -> None:
    kill_node(running, "lge-pve02")
    upid = client.data("POST", "/nodes/clovis/qemu/101/status/start")
    assert running.tasks.wait(upid) == NO_QUORUM
    dump = client.data(
        "POST", "/nodes/clovis/vzdump", {"vmid": "100", "storage": "local", "mode": "snapshot"}
    )
    assert running.tasks.wait(dump) == "job errors"
    log = running.tasks.log(Upid.parse(dump)) or []
    assert any("100.conf.tmp." in line and line.endswith("Permission denied") for line in log)
    assert running.machine_status(100) == "running"


def test_a_qdevice_is_the_third_vote(running: Lab, client: Client) -> None:
    running.settings["qdevice"] = True
    kill_node(running, "lge-pve02")
    assert client.get("/cluster/status")[0]["quorate"] == 1
    client.data("PUT", "/nodes/clovis/qemu/108/config", {"description": "x"})


def test_when_the_last_node_is_dead_nothing_answers(running: Lab, client: Client) -> None:
    running.settings["qdevice"] = True
    kill_node(running, "lge-pve02")
    kill_node(running, "clovis")
    assert client.ask("GET", "/version").status == 595
    assert not running.quorate()


def test_a_node_that_returns_starts_its_own_guests_but_not_those_of_ha(
    running: Lab, client: Client
) -> None:
    running.settings["qdevice"] = True
    kill_node(running, "clovis")
    upid = revive_node(running, "clovis")
    assert running.tasks.wait(upid) == "OK"
    assert running.machine_status(100) == "running"
    assert running.machine_status(108) == "stopped"
    assert client.get("/nodes/clovis/status")["kversion"]


def test_a_returning_node_waits_for_quorum_and_drops_the_lock_of_a_cut_dump(running: Lab) -> None:
    running.guests.need("clovis", 100).config["lock"] = "backup"
    kill_node(running, "lge-pve02")
    kill_node(running, "clovis")
    upid = revive_node(running, "clovis")
    time.sleep(0.3)
    assert running.machine_status(100) == "stopped"
    assert running.guests.need("clovis", 100).config["lock"] == "backup"
    revive_node(running, "lge-pve02")
    assert running.tasks.wait(upid) == "OK"
    assert "lock" not in running.guests.need("clovis", 100).config
    assert running.machine_status(100) == "running"


def test_death_and_drift_outlive_a_restart_of_the_lab(running: Lab) -> None:
    seed.write_definition(running.dir, seed.cluster())
    set_drift(running, "clovis", -7)
    kill_node(running, "lge-pve02")
    definition = seed.read_definition(running.dir)
    assert definition
    again = seed.open_lab(running.dir, running.hypervisor, running.run_dir, definition)
    assert (again.nodes["clovis"].drift, again.nodes["lge-pve02"].online) == (-7, False)
    assert json.loads((running.dir / "lab.json").read_text())["nodes"][0]["name"] == "clovis"


def test_drift_shows_in_every_stamp_of_its_node(running: Lab, client: Client) -> None:
    set_drift(running, "clovis", 86_400)
    now = time.time()
    assert client.get("/nodes/clovis/time")["time"] - now == pytest.approx(86_400, abs=3)
    dump = client.data(
        "POST", "/nodes/clovis/vzdump", {"vmid": "100", "storage": "local", "mode": "snapshot"}
    )
    assert running.tasks.wait(dump) == "OK"
    task = client.get(f"/nodes/clovis/tasks/{dump}/status")
    assert task["starttime"] - now == pytest.approx(86_400, abs=5)
    (archive,) = client.get("/nodes/clovis/storage/local/content?content=backup")
    assert archive["ctime"] - now == pytest.approx(86_400, abs=5)


def test_a_node_dies_and_returns_once(running: Lab) -> None:
    with pytest.raises(LabError, match="online already"):
        revive_node(running, "clovis")
    kill_node(running, "clovis")
    with pytest.raises(LabError, match="offline already"):
        kill_node(running, "clovis")
