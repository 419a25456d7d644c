"""A lab in this process, so that its switch can be watched: 108 and one neighbour of its VLAN, real
guests, the whole API.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from pvelab import seed
from pvelab.kernel import Lab
from pvelab.server import LabServer
from pvelab.vmm.network import Port
from tests.commands import Shell, settle_briefly

SITE = Path(__file__).parents[3] / "policies" / "sites" / "langeo.yaml"


@dataclass
class Stage:
    """The running lab, a user of the service, and every port that was ever plugged into the
    switch.
    """

    lab: Lab
    shell: Shell
    plugged: list[Port] = field(default_factory=list)

    def root(self, method: str, path: str, **values: Any) -> str:
        """Have root make a call that starts a task, wait for its end and return its exit status."""
        address = f"https://127.0.0.1:{self.lab.settings['port']}/api2/json{path}"
        headers = {"Authorization": f"PVEAPIToken={seed.token(self.lab, seed.ROOT_TOKEN)}"}
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                method,
                address,
                data=values,
                headers=headers,
                verify=str(self.lab.etc / "pve-root-ca.pem"),
                timeout=30,
            )
        answer.raise_for_status()
        return self.lab.tasks.wait(answer.json()["data"], 120)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """108 and 103, which both live in VLAN 10 of the production bridge, with one archive of 108."""
    state = tmp_path_factory.mktemp("leak")
    (state / "lab").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        running = LabServer(
            state / "lab", "qemu", lambda text: None, policy=str(SITE), guests="103,108"
        )
        try:
            plugged = _watch(running, patch)
            running.start()
            shell = Shell(state)
            settle_briefly(state)
            made = shell("backup", "run", "--vmid", 108, "--json")
            assert made.code == 0, made.out + made.err
            yield Stage(running.lab, shell, plugged)
        finally:
            running.stop()
            shutil.rmtree(running.run_dir, ignore_errors=True)


def _watch(running: LabServer, patch: pytest.MonkeyPatch) -> list[Port]:
    """Return the list of all ports that are plugged in from now on; a port keeps its counters when
    its machine is gone.
    """
    networks = running.platform.networks  # type: ignore[attr-defined]
    plug, plugged = networks.port, list[Port]()

    def port(*given: Any) -> Port:
        plugged.append(plug(*given))
        return plugged[-1]

    patch.setattr(networks, "port", port)
    return plugged
