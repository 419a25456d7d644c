"""The whole lab with real guests: eleven machines up, API, probe, nodes' SSH, and nothing left
after it.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
import requests

from pvelab import control
from pvelab.control import LabAccess
from tests.waiting import HANGS

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("real-lab") / "lab"
    yield path
    control.down(path)


@pytest.fixture(scope="module")
def access(home: Path) -> LabAccess:
    return control.up(home, hypervisor="qemu", progress=print)


def _get(access: LabAccess, path: str) -> Any:
    pve = access.settings["pve"]
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"PVEAPIToken={pve['token']}"}
        answer = session.get(
            f"https://{pve['host']}/api2/json{path}",
            headers=headers,
            verify=pve["ca_file"],
            timeout=HANGS,
        )
        answer.raise_for_status()
        return answer.json()["data"]


def _kill(home: Path, run_dir: str) -> None:
    """Kill the lab's server and wait until its guests are gone too."""
    pid = control.running(home)
    assert pid is not None
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + HANGS
    while _processes(f"{run_dir}/") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _processes(f"{run_dir}/") == []


def _addresses(settings: dict[str, Any]) -> list[str]:
    return [
        *settings["api"].values(),
        *settings["ssh"]["nodes"].values(),
        *(probe["host"] for probe in settings["probes"].values()),
    ]


def _listens(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
    except ConnectionRefusedError:
        return False
    return True


def _processes(run_dir: str) -> list[str]:
    listed = subprocess.run(
        ["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in listed if run_dir in line]


def test_eleven_real_guests_run_and_the_version_does_not_call_them_simulated(
    access: LabAccess,
) -> None:
    rows = _get(access, "/cluster/resources?type=vm")
    assert [row["vmid"] for row in rows] == list(range(100, 111))
    assert {row["status"] for row in rows} == {"running"}
    assert "simulated" not in _get(access, "/version")


def test_an_agent_names_its_own_guest(access: LabAccess) -> None:
    assert (
        _get(access, "/nodes/clovis/qemu/104/agent/get-host-name")["result"]["host-name"]
        == "GLPI-Server"
    )


def test_the_probe_takes_the_key_and_is_not_on_the_production_network(access: LabAccess) -> None:
    probe = access.settings["probes"]["clovis"]
    host, _, port = probe["host"].partition(":")
    with paramiko.SSHClient() as ssh:
        kind, key = probe["host_key"].split()[:2]
        ssh.get_host_keys().add(
            f"[{host}]:{port}", kind, paramiko.PKey.from_type_string(kind, base64.b64decode(key))
        )
        ssh.connect(
            host,
            int(port),
            probe["user"],
            key_filename=probe["key_file"],
            timeout=HANGS,
            allow_agent=False,
            look_for_keys=False,
        )
        transport = ssh.get_transport()
        assert transport is not None
        with pytest.raises((paramiko.ChannelException, paramiko.SSHException)):
            # 108 runs on the production bridge: from the isolated one its address does not exist
            transport.open_channel(
                "direct-tcpip", ("192.168.10.8", 22), ("127.0.0.1", 0), timeout=8
            )


def test_one_key_opens_every_nodes_files(access: LabAccess, home: Path) -> None:
    ssh = access.settings["ssh"]
    for node, address in ssh["nodes"].items():
        marker = home / "nodes" / node / "var" / "lib" / "vz" / "dump" / "marker"
        marker.write_text(node)
        host, _, port = address.partition(":")
        with paramiko.SSHClient() as client:
            client.load_host_keys(ssh["known_hosts"])
            client.connect(
                host,
                int(port),
                ssh["user"],
                key_filename=ssh["key_file"],
                timeout=HANGS,
                allow_agent=False,
                look_for_keys=False,
            )
            with client.open_sftp() as files, files.open(str(marker)) as file:
                assert file.read().decode() == node
        marker.unlink()


def test_every_guest_with_an_agent_answers_once_the_lab_is_up(
    access: LabAccess, home: Path, record_property: Callable[[str, object], None]
) -> None:
    asked = [
        vmid
        for vmid in range(100, 111)
        if _get(access, f"/nodes/clovis/qemu/{vmid}/config").get("agent", "0")[0] == "1"
    ]
    assert len(asked) > 5
    for vmid in asked:
        told = _get(access, f"/nodes/clovis/qemu/{vmid}/agent/get-host-name")
        assert told["result"]["host-name"], vmid
    # counted by the server itself: the first start on a machine builds the guests' parts before
    # that
    seconds = json.loads((home / control.READY_FILE).read_text())["seconds"]
    record_property("counted", f"lab: its eleven guests answered after {seconds} s")


def test_a_killed_lab_takes_its_guests_along_and_starts_again_from_its_state_and_down_leaves_nothing(
    access: LabAccess, home: Path
) -> None:
    run_dir = json.loads((home / control.RUNTIME_FILE).read_text())["run_dir"]
    assert sum("qemu-system" in line for line in _processes(run_dir)) == 13
    _kill(home, run_dir)
    again = control.up(home, hypervisor="qemu")
    assert (again.settings["pve"], again.settings["api"]) == (
        access.settings["pve"],
        access.settings["api"],
    )
    assert (
        _get(again, "/nodes/clovis/qemu/104/agent/get-host-name")["result"]["host-name"]
        == "GLPI-Server"
    )
    assert all(map(_listens, _addresses(again.settings)))
    run_dir = json.loads((home / control.RUNTIME_FILE).read_text())["run_dir"]
    _kill(home, run_dir)
    assert control.down(home)
    assert not any(map(_listens, _addresses(again.settings)))
    assert not home.exists()
    assert not Path(run_dir).exists()
