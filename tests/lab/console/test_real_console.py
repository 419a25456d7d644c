"""The screen of a real guest, over the API's own port: its ticket opens it, another does not, and
there is something on it.
"""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from backupsvc.clock import SystemClock, polls
from pvelab import seed
from pvelab.kernel import Lab
from pvelab.server import LabServer
from tests import websocket
from tests.lab.console import rfb
from tests.waiting import HANGS

pytestmark = pytest.mark.lab

GUEST = 106


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with one real guest."""
    running = LabServer(
        tmp_path_factory.mktemp("console"), "qemu", lambda text: None, guests=str(GUEST)
    )
    try:
        running.start()
        yield running.lab
    finally:
        running.stop()
        shutil.rmtree(running.run_dir, ignore_errors=True)


def proxy(lab: Lab, **options: Any) -> Any:
    """Ask for a proxy as root."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"https://127.0.0.1:{lab.settings['port']}/api2/json/nodes/clovis/qemu/{GUEST}/vncproxy",
            data={"websocket": 1, **options},
            headers={"Authorization": f"PVEAPIToken={seed.token(lab, seed.ROOT_TOKEN)}"},
            verify=str(lab.etc / "pve-root-ca.pem"),
            timeout=HANGS,
        )
    answer.raise_for_status()
    return answer.json()["data"]


@contextmanager
def screen(lab: Lab, found: Any) -> Iterator[rfb.Client]:
    """Open a proxy's websocket."""
    query = urlencode({"port": found["port"], "vncticket": found["ticket"]})
    address = f"wss://127.0.0.1:{lab.settings['port']}/api2/json/nodes/clovis/qemu/{GUEST}/vncwebsocket?{query}"
    context = ssl.create_default_context(cafile=lab.etc / "pve-root-ca.pem")
    with websocket.opened(address, context, seed.token(lab, seed.ROOT_TOKEN)) as opened:
        yield rfb.Client(opened.send, opened.receive)


@pytest.mark.parametrize("options", [{}, {"generate-password": 1}])
def test_a_real_screen_comes_over_the_websocket_and_is_not_black(
    lab: Lab, options: dict[str, int]
) -> None:
    found = proxy(lab, **options)
    with screen(lab, found) as client:
        picture = client.picture(found.get("password", found["ticket"]))
    assert "106" in picture.name
    assert (picture.width, picture.height) == _size_that_qemu_says(lab)
    assert len(picture.colours()) > 1
    assert lab.tasks.wait(found["upid"], HANGS) == "OK"


def _size_that_qemu_says(lab: Lab) -> tuple[int, int]:
    """Have QEMU write its screen to a file (PPM: ``P6 <width> <height> ...``)."""
    target: Path = lab.run_dir / "screen.ppm"
    machine: Any = lab.machines[GUEST]
    machine.qmp("screendump", filename=str(target))
    for _ in polls(SystemClock(), 10, first=0.05):
        words = target.read_bytes()[:40].split() if target.is_file() else []
        if len(words) > 3:
            return int(words[1]), int(words[2])
    raise AssertionError("QEMU wrote no picture")


def test_another_password_than_the_proxys_opens_nothing(lab: Lab) -> None:
    found = proxy(lab, **{"generate-password": 1})
    with screen(lab, found) as client, pytest.raises(rfb.Refused):
        client.picture(found["ticket"])


def test_nobody_gets_in_past_the_proxy_before_a_password_is_set(lab: Lab) -> None:
    machine: Any = lab.machines[GUEST]
    machine.stop()
    machine.start()
    with socket.socket(socket.AF_UNIX) as direct:
        direct.settimeout(HANGS)
        direct.connect(str(machine.spec.vnc))
        with pytest.raises((rfb.Refused, EOFError)):
            rfb.Client(direct.sendall, lambda: direct.recv(65536)).picture("")
    machine.stop()
    assert not machine.spec.vnc.exists()
