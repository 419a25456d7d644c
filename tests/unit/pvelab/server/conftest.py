"""A lab with modelled guests, asked in process or over TLS."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from pvelab import certificates, seed
from pvelab.app import dispatch
from pvelab.certificates import Certificates
from pvelab.images.site import GUESTS
from pvelab.kernel import Lab
from pvelab.serving import ApiServer
from pvelab.simulated import SimulatedHypervisor
from pvelab.wire import Reply, Request


@dataclass
class Client:
    """Asks the lab in process, with a token."""

    lab: Lab
    token: str = seed.ROOT_TOKEN

    def ask(
        self,
        method: str,
        path: str,
        body: str | dict[str, Any] | None = None,
        *,
        json_body: Any = None,
        **headers: str,
    ) -> Reply:
        """Send a request; ``path`` may hold a query. Return the raw reply."""
        path, _, query = path.partition("?")
        sent = urlencode(body, doseq=True) if isinstance(body, dict) else body or ""
        kind = "application/x-www-form-urlencoded"
        if json_body is not None:
            sent, kind = json.dumps(json_body), "application/json"
        fields = (
            {"authorization": f"PVEAPIToken={seed.token(self.lab, self.token)}"}
            if self.token
            else {}
        )
        fields |= {"content-length": str(len(sent)), "content-type": kind} if sent else {}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        return dispatch(
            self.lab, Request(method, f"/api2/json{path}", query, fields, sent.encode())
        )

    def get(self, path: str) -> Any:
        """Return the data of a GET that must succeed."""
        return self.data("GET", path)

    def data(self, method: str, path: str, body: str | dict[str, Any] | None = None) -> Any:
        """Return the data of a request that must succeed."""
        reply = self.ask(method, path, body)
        assert (reply.status, reply.reason) == (200, "OK"), reply
        return json.loads(reply.body)["data"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    definition = seed.cluster() | {"auth_delay": 0.0}
    run_dir = seed.new_run_dir()
    opened = seed.open_lab(tmp_path / "lab", SimulatedHypervisor(), run_dir, definition)
    seed.seed_cluster(opened)
    seed.write_root(opened)
    for guest in GUESTS:
        seed.seed_guest(opened, guest, guest.disks)
    yield opened
    opened.hypervisor.close()
    shutil.rmtree(run_dir)


@pytest.fixture
def client(lab: Lab) -> Client:
    return Client(lab)


@pytest.fixture
def service(lab: Lab) -> Client:
    return Client(lab, seed.SERVICE_TOKEN)


@pytest.fixture
def nobody(lab: Lab) -> Client:
    return Client(lab, "")


@pytest.fixture
def served(lab: Lab) -> Iterator[tuple[ApiServer, Certificates]]:
    certs = certificates.ensure(lab.etc, ["127.0.0.1", "localhost"])
    server = ApiServer(lab, certs)
    server.start()
    yield server, certs
    server.stop()
