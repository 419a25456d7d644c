"""The way to a guest's screen: tickets, the proxy's task, the websocket. What QEMU shows:
tests/lab/console.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus

from pvelab import seed
from pvelab.api import console
from pvelab.certificates import Certificates
from pvelab.errors import LabError
from pvelab.kernel import Lab
from pvelab.serving import ApiServer
from pvelab.vmm.spec import MachineSpec
from tests import websocket
from tests.unit.pvelab.console.conftest import Screen
from tests.unit.pvelab.server.conftest import Client

Served = tuple[ApiServer, Certificates]
PROXY = "/nodes/clovis/qemu/108/vncproxy"
ROOT = seed.ROOT_TOKEN


def open_console(
    lab: Lab, served: Served, port: int, ticket: str, path: str = "vncwebsocket", token: str = ROOT
) -> AbstractContextManager[websocket.Websocket]:
    server, certificates = served
    query = urlencode({"port": port, "vncticket": ticket})
    address = f"wss://127.0.0.1:{server.port}/api2/json/nodes/clovis/qemu/108/{path}?{query}"
    context = ssl.create_default_context(cafile=certificates.ca_file)
    return websocket.opened(address, context, seed.token(lab, token))


def refused(lab: Lab, served: Served, *given: Any, **named: Any) -> tuple[int, str]:
    """Status and reason phrase of a handshake that must not succeed."""
    with pytest.raises(InvalidStatus) as caught, open_console(lab, served, *given, **named):
        pass
    return caught.value.response.status_code, caught.value.response.reason_phrase


def test_a_proxy_says_what_pve_says_and_its_task_ends_well_with_its_client(
    lab: Lab, client: Client, served: Served, screen: Screen
) -> None:
    proxy = client.data("POST", PROXY, {"websocket": 1})
    assert set(proxy) == {"user", "ticket", "cert", "port", "upid"}
    assert proxy["user"] == ROOT
    assert int(proxy["port"]) in console.PORTS
    assert proxy["cert"].startswith("-----BEGIN CERTIFICATE-----")
    assert proxy["upid"].split(":")[5:7] == ["vncproxy", "108"]
    with open_console(lab, served, proxy["port"], proxy["ticket"]) as screen_socket:
        assert screen_socket.subprotocol == "binary"
        for text in (b"RFB 003.008\n", bytes(200_000)):
            screen_socket.send(text)
            got = b""
            while len(got) < len(text):
                got += screen_socket.receive()
            assert got == text
    assert lab.tasks.wait(proxy["upid"], 10) == "OK"


def test_the_ticket_is_the_password_for_thirty_seconds_and_a_generated_one_takes_its_place(
    lab: Lab, client: Client, served: Served, screen: Screen
) -> None:
    for options, key in (({}, "ticket"), ({"generate-password": 1}, "password")):
        proxy = client.data("POST", PROXY, {"websocket": 1, **options})
        socket.create_connection(("127.0.0.1", int(proxy["port"]))).close()
        assert lab.tasks.wait(proxy["upid"], 10) == "OK"
        assert screen.told[-2:] == [
            ("set_password", {"protocol": "vnc", "password": proxy[key]}),
            ("expire_password", {"protocol": "vnc", "time": "+30"}),
        ]
    assert len(proxy["password"]) == 8


def test_without_websocket_there_is_no_password_and_so_no_screen(
    lab: Lab, client: Client, served: Served, screen: Screen
) -> None:
    proxy = client.data("POST", PROXY)
    socket.create_connection(("127.0.0.1", int(proxy["port"]))).close()
    assert lab.tasks.wait(proxy["upid"], 10) == "Failed to run vncproxy."
    assert screen.told == []


def test_the_screen_of_a_guest_that_is_off_or_only_modelled_is_not_to_be_had(
    lab: Lab, client: Client, served: Served
) -> None:
    words = []
    for starts in (False, True):
        if starts:
            lab.machines[108] = lab.hypervisor.create(MachineSpec(108, "108", 64, 1, "", (), ()))
            lab.machines[108].start()
        proxy = client.data("POST", PROXY, {"websocket": 1})
        with open_console(lab, served, proxy["port"], proxy["ticket"]) as screen_socket:
            assert screen_socket.receive() == b""
        assert lab.tasks.wait(proxy["upid"], 10) == "Failed to run vncproxy."
        words.append(client.get(f"/nodes/clovis/tasks/{proxy['upid']}/log")[0]["t"])
    assert words == [
        "VM 108 not running",
        "simulated: guest 108 is only modelled and has no screen",
    ]


def test_a_proxy_to_which_nobody_comes_gives_its_port_back(
    lab: Lab, client: Client, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_CONNECT_WITHIN", 0.1)
    proxy = client.data("POST", PROXY, {"websocket": 1})
    assert lab.tasks.wait(proxy["upid"], 10) == "connection timed out"
    assert refused(lab, served, proxy["port"], proxy["ticket"]) == (
        500,
        f"connect to 'localhost:{proxy['port']}' failed",
    )


def test_the_websocket_wants_the_ticket_of_this_caller_for_this_guest_and_a_port_of_the_range(
    lab: Lab, served: Served
) -> None:
    mine = console.make_vnc_ticket(lab.access, ROOT, "/vms/108")
    invalid = (401, "permission denied - invalid PVEVNC ticket")
    assert refused(lab, served, 5999, "PVEVNC:6923ABCD::none") == invalid
    assert (
        refused(lab, served, 5999, console.make_vnc_ticket(lab.access, ROOT, "/vms/104")) == invalid
    )
    assert (
        refused(lab, served, 5999, console.make_vnc_ticket(lab.access, "other@pve", "/vms/108"))
        == invalid
    )
    assert refused(lab, served, 22, mine) == (400, "Parameter verification failed.")
    assert refused(lab, served, 5999, mine, token=seed.SERVICE_TOKEN) == (
        403,
        "Permission check failed (/vms/108, VM.Console)",
    )


@pytest.mark.parametrize("age", [41, -21])
def test_a_ticket_is_good_for_forty_seconds(lab: Lab, age: int) -> None:
    now = time.time()
    console.check_vnc_ticket(
        lab.access,
        console.make_vnc_ticket(lab.access, "a@pve", "/vms/1", now - 38),
        "a@pve",
        "/vms/1",
    )
    with pytest.raises(LabError, match="invalid PVEVNC ticket"):
        console.check_vnc_ticket(
            lab.access,
            console.make_vnc_ticket(lab.access, "a@pve", "/vms/1", now - age),
            "a@pve",
            "/vms/1",
        )


def test_a_token_without_the_right_to_the_console_gets_none(service: Client) -> None:
    reply = service.ask("POST", PROXY, {"websocket": 1})
    assert (reply.status, reply.reason) == (403, "Permission check failed (/vms/108, VM.Console)")


def test_no_other_path_becomes_a_websocket(lab: Lab, served: Served) -> None:
    assert refused(lab, served, 5999, "x", path="status/current")[0] in (200, 400)


def test_two_proxies_have_two_ports(client: Client, served: Served, lab: Lab) -> None:
    one, two = (client.data("POST", PROXY, {"websocket": 1}) for _ in range(2))
    assert one["port"] != two["port"]
    for proxy in (one, two):
        lab.tasks.stop(proxy["upid"])
        assert lab.tasks.wait(proxy["upid"], 5) == "interrupted by signal"
