"""A port a node: its own certificate, its own view, gone while the node is dead; and the service
that goes on elsewhere.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backupsvc.clock import SystemClock
from backupsvc.errors import PveUnreachable
from backupsvc.pve import connect
from backupsvc.pve.client import Client
from backupsvc.settings import load_settings
from pvelab import certificates, control, seed
from pvelab.faults.client import FaultClient
from pvelab.kernel import ROUTES, Call, Lab
from pvelab.nodes_life import kill_node, revive_node
from pvelab.serving import Front
from tests.commands import Shell
from tests.waiting import HANGS

HOME, OTHER = "clovis", "lge-pve02"


@pytest.fixture
def front(lab: Lab) -> Iterator[Front]:
    opened = Front(lab)
    opened.start()
    yield opened
    opened.stop()


def open_connection(front: Front, port: int) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(
        "127.0.0.1", port, context=ssl.create_default_context(cafile=front.ca_file), timeout=HANGS
    )


def ask(lab: Lab, connection: http.client.HTTPSConnection, path: str) -> tuple[int, str, Any]:
    connection.request(
        "GET",
        f"/api2/json{path}",
        headers={"Authorization": f"PVEAPIToken={seed.token(lab, seed.ROOT_TOKEN)}"},
    )
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, answer.reason, json.loads(body)["data"] if body else None


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except ConnectionRefusedError:
        return True
    return False


def test_each_node_answers_at_its_own_port_as_itself(lab: Lab, front: Front) -> None:
    assert set(front.ports) == {HOME, OTHER}
    assert len({front.own.port, *front.ports.values()}) == 3
    for name, port in front.ports.items():
        status, _, rows = ask(lab, open_connection(front, port), "/cluster/status")
        assert status == 200
        assert [row["name"] for row in rows if row.get("local")] == [name]


def test_a_node_is_asked_about_another_one_and_forwards_the_call(lab: Lab, front: Front) -> None:
    status, _, found = ask(
        lab, open_connection(front, front.ports[OTHER]), f"/nodes/{HOME}/qemu/108/config"
    )
    assert (status, found["name"]) == (200, "Debian-Server")


def test_each_node_sees_the_drift_of_the_others_from_its_own_clock(lab: Lab, front: Front) -> None:
    lab.nodes[HOME].drift, lab.nodes[OTHER].drift = 0, 3600
    seen = {}
    for name, port in front.ports.items():
        _, _, rows = ask(lab, open_connection(front, port), "/cluster/ha/status/current")
        seen[name] = [
            row["node"] for row in rows if row["type"] == "lrm" and "time drift" in row["status"]
        ]
    assert seen == {HOME: [OTHER], OTHER: []}  # a clock that is behind is not seen (pve-facts 9.2)


def test_each_node_has_a_certificate_of_its_own_from_one_authority(lab: Lab, front: Front) -> None:
    _, _, rows = ask(lab, open_connection(front, front.own.port), "/nodes")
    told = {row["node"]: row["ssl_fingerprint"] for row in rows}
    shown = {}
    for name, port in front.ports.items():
        mine = certificates.ensure(lab.etc, [], name)
        shown[name] = mine.fingerprint
        assert ssl.PEM_cert_to_DER_cert(mine.certificate.read_text()) == ssl.PEM_cert_to_DER_cert(
            ssl.get_server_certificate(("127.0.0.1", port))
        )
        assert mine.key.stat().st_mode & 0o077 == 0
    assert shown == told
    assert len(set(shown.values())) == 2
    assert (lab.etc / "priv" / "pve-root-ca.key").stat().st_mode & 0o077 == 0


def test_a_dead_nodes_port_refuses_connections_and_comes_back_with_the_node(
    lab: Lab, front: Front
) -> None:
    port, open_before = front.ports[HOME], open_connection(front, front.ports[HOME])
    ask(lab, open_before, "/version")
    kill_node(lab, HOME)
    assert refuses(port)
    assert not refuses(front.ports[OTHER])
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        open_before.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        if not open_before.sock.recv(1):
            raise ConnectionResetError
    revive_node(lab, HOME)
    assert ask(lab, open_connection(front, port), "/version")[0] == 200


def test_a_living_node_answers_595_for_a_dead_one(lab: Lab, front: Front) -> None:
    lab.settings["auth_delay"] = 0
    kill_node(lab, HOME)
    found = ask(
        lab, open_connection(front, front.ports[OTHER]), f"/nodes/{HOME}/qemu/108/status/current"
    )
    assert found == (595, "No route to host", None)


def test_a_call_that_a_node_is_carrying_out_is_never_answered_when_it_dies(
    lab: Lab, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deadly(call: Call) -> object:
        kill_node(call.lab, call.local)
        return {}

    monkeypatch.setitem(ROUTES, ("GET", "/cluster/options"), deadly)
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected, ssl.SSLError)):
        ask(lab, open_connection(front, front.ports[HOME]), "/cluster/options")
    assert refuses(front.ports[HOME])


def test_the_labs_own_port_answers_when_every_node_is_dead(lab: Lab, front: Front) -> None:
    lab.settings["auth_delay"] = 0
    for name in (HOME, OTHER):
        kill_node(lab, name)
    assert [refuses(port) for port in front.ports.values()] == [True, True]
    assert ask(lab, open_connection(front, front.own.port), "/version")[:2] == (
        595,
        "No route to host",
    )


def test_a_lab_that_is_opened_with_a_dead_node_holds_that_nodes_port_closed(lab: Lab) -> None:
    lab.nodes[OTHER].online = False
    front = Front(lab)
    front.start()
    assert (refuses(front.ports[OTHER]), refuses(front.ports[HOME])) == (True, False)
    revive_node(lab, OTHER)
    assert not refuses(front.ports[OTHER])
    front.stop()
    assert all(refuses(port) for port in (front.own.port, *front.ports.values()))


def test_a_lab_of_a_time_with_one_port_gives_it_to_its_first_node(lab: Lab) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        lab.settings["port"] = free.getsockname()[1]
    front = Front(lab)
    assert (front.ports[HOME], front.port) == (lab.settings["port"], lab.settings["port"])
    front.stop()


def test_a_scaled_lab_has_one_port_for_all_its_nodes(lab: Lab) -> None:
    lab.settings["scale"] = {}
    front = Front(lab)
    assert (front.ports, front.port) == ({}, front.own.port)
    assert len(set(lab.settings["fingerprints"].values())) == 1
    front.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in [name for name in os.environ if name.startswith("BACKUPSVC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(tmp_path))
    yield tmp_path / "lab"
    control.down(tmp_path / "lab")


@pytest.mark.slow
def test_the_service_goes_on_through_each_nodes_death_and_status_tells_the_ports(
    home: Path,
) -> None:
    access = control.up(home, hypervisor="simulated")
    faults, shell = FaultClient(home), Shell(home.parent)
    settings = load_settings()
    assert settings.pve.host == ",".join(access.settings["api"].values())
    assert access.settings["pve"]["host"] == access.settings["api"][HOME]
    assert access.environment()["BACKUPSVC_PVE__HOST"] == settings.pve.host
    pve = connect(settings.pve, SystemClock())
    for dead, alive in ((HOME, OTHER), (OTHER, HOME)):
        set_ = faults.add("node-death", {"node": dead})
        assert {node.name: node.online for node in pve.cluster.nodes()} == {
            dead: False,
            alive: True,
        }
        assert pve.host == access.settings["api"][alive]
        # a changing call is not lost either: nothing was sent to the node that refuses
        anew = Client(settings.pve, settings.pve.token, SystemClock())
        said = anew.post(f"nodes/{alive}/vzdump", {"vmid": 108, "storage": "local"}).string()
        # the guest lives on clovis
        assert said.startswith("UPID:clovis:" if alive == HOME else "OK")
        assert [error.message.split()[0] for error in pve.silent()] == [
            access.settings["api"][dead]
        ]
        assert control.status(home)["api"] == {
            dead: f"{access.settings['api'][dead]} (dead)",
            alive: access.settings["api"][alive],
        }
        told = [
            line["detail"]
            for line in shell("doctor", "--json").json["lines"]
            if line["status"] == "warning"
        ]
        assert any(f"{access.settings['api'][dead]} refuses connections" in text for text in told)
        faults.clear(set_.id)
        assert pve.silent() == []
    assert f"{OTHER} {access.settings['api'][OTHER]}" in shell("lab", "status").out


@pytest.mark.slow
def test_the_lab_is_mended_when_both_of_its_nodes_are_dead(home: Path) -> None:
    access = control.up(home, hypervisor="simulated")
    faults = FaultClient(home)
    dead = [faults.add("node-death", {"node": name}) for name in (HOME, OTHER)]
    pve = connect(load_settings().pve, SystemClock())
    with pytest.raises(PveUnreachable) as caught:
        pve.cluster.version()
    assert all(
        f"{host} refuses connections" in caught.value.message
        for host in access.settings["api"].values()
    )
    for fault in dead:
        faults.clear(fault.id)
    assert pve.cluster.version().simulated
