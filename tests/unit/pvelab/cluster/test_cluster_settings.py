"""The settings of a running cluster: put into force, refused, kept, and stated on the lab's
screens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from typer.testing import CliRunner

from pvelab import cluster_settings, control, seed
from pvelab.app import dispatch
from pvelab.clock import ClusterClock
from pvelab.commands import app
from pvelab.errors import UsageError
from pvelab.kernel import Lab
from pvelab.wire import Reply, Request

from .conftest import Hand


def ask(lab: Lab, method: str, body: Any = None, token: str = seed.ROOT_TOKEN) -> Reply:
    headers = {"authorization": f"PVEAPIToken={seed.token(lab, token)}"}
    return dispatch(
        lab,
        Request(
            method, cluster_settings.PATH, "", headers, json.dumps(body).encode() if body else b""
        ),
    )


def test_a_clock_that_is_set_faster_goes_on_from_where_it_was() -> None:
    at = [0.0]
    clock = ClusterClock(source=lambda: at[0])
    at[0] = 10
    clock.factor = 20
    at[0] = 11
    assert (clock.seconds(), clock.real(60)) == (30, 3)


def test_settings_are_in_force_at_once_and_kept(lab: Lab) -> None:
    seed.write_definition(lab.dir, seed.cluster())
    job = {"108": {"target": "lge-pve02", "interval": 60}}
    reply = ask(
        lab,
        "PUT",
        {
            "time_factor": 20,
            "qdevice": True,
            "zfs": ["local-lvm"],
            "replication": job,
            "drift": {"clovis": -5},
        },
    )
    shown = json.loads(reply.body)["data"]
    assert (
        shown["time_factor"],
        shown["qdevice"],
        shown["replication"],
        shown["drift"]["clovis"],
    ) == (20, True, job, -5)
    again = seed.open_lab(lab.dir, lab.hypervisor, lab.run_dir, seed.read_definition(lab.dir) or {})
    assert (again.clock.factor, again.settings["qdevice"], again.nodes["clovis"].drift) == (
        20,
        True,
        -5,
    )
    assert (shown["zfs"], again.storages["local-lvm"].type) == (["local-lvm"], "zfspool")
    assert control.time_factor(lab.dir) == 20


@pytest.mark.parametrize(
    "chosen",
    [
        {"time_factor": 0},
        {"time_factor": "fast"},
        {"drift": {"nosuch": 1}},
        {"replication": {"108": {"target": "nosuch"}}},
        {"replication": {"108": {}}},
        {"speed": 1},
        {"zfs": ["local"]},
        {"zfs": ["nosuch"]},
        {"replication": {"108": {"target": "lge-pve02"}}},
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(lab: Lab, chosen: dict[str, Any]) -> None:
    before = cluster_settings.shown(lab)
    with pytest.raises(UsageError):
        cluster_settings.change(lab, {"qdevice": True, **chosen})
    assert cluster_settings.shown(lab) == before


def test_only_root_may_change_the_cluster(lab: Lab) -> None:
    assert ask(lab, "PUT", {"qdevice": True}, seed.SERVICE_TOKEN).status == 403
    assert not lab.settings.get("qdevice")


def test_the_settings_answer_when_every_node_is_dead(lab: Lab, hand: Hand) -> None:
    for node in lab.nodes.values():
        node.online = False
    assert json.loads(ask(lab, "GET").body)["data"]["dead"] == ["clovis", "lge-pve02"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "state"
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(place))
    from backupsvc.settings import lab_settings_file

    yield lab_settings_file().parent
    control.down(lab_settings_file().parent)


@pytest.mark.slow
def test_the_command_changes_a_running_lab_and_every_screen_states_the_time_factor(
    home: Path,
) -> None:
    access = control.up(home, hypervisor="simulated")
    run = CliRunner()
    chosen = [
        "cluster",
        "--time-factor",
        "50",
        "--qdevice",
        "--zfs",
        "local-lvm",
        "--replicate",
        "108:lge-pve02:10",
        "--drift",
        "clovis:-5",
        "--json",
    ]
    found = json.loads(run.invoke(app, chosen).stdout)
    assert (found["time_factor"], found["qdevice"], found["drift"]["clovis"]) == (50, True, -5)
    status = run.invoke(app, ["status"])
    assert "time factor  50" in status.stdout
    assert "TIME FACTOR 50" in status.stderr
    nodes = access.settings["ssh"]["nodes"]
    host, _, port = nodes["clovis"].partition(":")
    with paramiko.SSHClient() as client:
        client.load_host_keys(access.settings["ssh"]["known_hosts"])
        client.connect(
            host,
            int(port),
            access.settings["ssh"]["user"],
            key_filename=access.settings["ssh"]["key_file"],
        )
        _, out, _ = client.exec_command("ls /var/lib/vz/dump")
        assert out.channel.recv_exit_status() == 0
