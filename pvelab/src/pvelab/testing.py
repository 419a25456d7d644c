"""A lab for the tests of others, by pytest.

``pytest_plugins = ["pvelab.testing"]`` in the topmost conftest.py gives tests the fixture
``pvelab``: a Cluster that is up for the whole session. What it is made of is what the fixture
``pvelab_options`` returns, which a conftest.py may define anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pvelab import control
from pvelab.faults.client import FaultClient
from pvelab.seed import read_definition


@dataclass(frozen=True)
class Cluster:
    """A lab that runs.

    ``url`` is its API at the first node, ``urls`` that of every node; ``ca_file`` holds the
    authority of their certificates. ``token`` is root's, as ``user@realm!name=secret``; with
    ``service_token`` guests are backed up, and restored onto the isolated bridge alone.
    ``directory`` holds the cluster's files, each node's disks and archives below ``nodes``.
    """

    url: str
    urls: Mapping[str, str]
    token: str
    service_token: str
    ca_file: Path
    directory: Path
    simulated: bool

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes' names."""
        return tuple(self.urls)

    @property
    def headers(self) -> dict[str, str]:
        """What makes a request root's."""
        return {"Authorization": f"PVEAPIToken={self.token}"}

    @contextmanager
    def fault(self, kind: str, **options: Any) -> Iterator[None]:
        """Let the cluster be broken within: ``fault("node-death", node="clovis")``, as the command
        ``pvelab fault`` does.

        Raise UsageError, in the lab's words, for a fault that cannot be.
        """
        client = FaultClient(self.directory)
        made = client.add(kind, options)
        try:
            yield
        finally:
            client.clear(made.id)


@contextmanager
def running_lab(directory: Path, **options: Any) -> Iterator[Cluster]:
    """Bring a lab up in a new directory, and take it down with all that is in it at the end.

    ``options`` are those of ``pvelab.control.up``; guests are modelled unless they say otherwise.
    Raise StartFailed if it does not come up.
    """
    try:
        access = control.up(directory, **{"hypervisor": "simulated", **options})
        settings = access.settings
        pve, definition = settings["pve"], read_definition(directory)
        # a scaled lab has one port for all its nodes
        hosts = {
            node["name"]: settings["api"].get(node["name"], pve["host"])
            for node in (definition or {})["nodes"]
        }
        yield Cluster(
            url=_url(pve["host"]),
            urls={node: _url(host) for node, host in hosts.items()},
            token=json.loads((directory / "root.json").read_text(encoding="utf-8"))["token"],
            service_token=pve["token"],
            ca_file=Path(pve["ca_file"]),
            directory=directory,
            simulated=settings["simulated"],
        )
    finally:
        control.down(directory)


@pytest.fixture(scope="session")
def pvelab_options() -> dict[str, Any]:
    """What the session's lab is made of: arguments of ``pvelab.control.up``, such as
    ``hypervisor``, ``release`` or ``scale``.
    """
    return {}


@pytest.fixture(scope="session")
def pvelab(
    tmp_path_factory: pytest.TempPathFactory, pvelab_options: dict[str, Any]
) -> Iterator[Cluster]:
    """The session's lab. With xdist each worker has one."""
    with running_lab(tmp_path_factory.mktemp("pvelab") / "lab", **pvelab_options) as cluster:
        yield cluster


def _url(host: str) -> str:
    return f"https://{host}/api2/json"
