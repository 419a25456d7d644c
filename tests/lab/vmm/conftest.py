"""Real machines for the lab's own tests: images from the shared cache, a switch, a place for
sockets.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pvelab.images.build import Images, build_guest_disks, ensure_images
from pvelab.images.site import guest
from pvelab.vmm import accel
from pvelab.vmm.agent import AgentSilent
from pvelab.vmm.machine import Machine
from pvelab.vmm.network import Networks
from pvelab.vmm.spec import Disk, MachineSpec, Nic
from tests.waiting import HANGS

BOOT = HANGS


class Bench:
    """Makes machines of the reference site and stops all of them at the end."""

    def __init__(self, images: Images) -> None:
        self.images, self.accelerator = images, accel.choose(images)
        self.networks = Networks()
        # Short, for unix sockets: pytest's own folders can be too long.
        self.folder = Path(tempfile.mkdtemp(prefix="lab-"))
        self._machines: list[Machine] = []

    def machine(
        self,
        vmid: int,
        *,
        copy: int | None = None,
        bridge: str = "vmbr0",
        agent: bool | None = None,
    ) -> Machine:
        """Given a guest of the site, make it, or with ``copy`` a copy of it under that VMID,
        untagged on ``bridge``.
        """
        seed = guest(vmid)
        folder = self.folder / str(copy or vmid)
        disks = build_guest_disks(self.images, seed, folder / "disks")
        nics = tuple(
            Nic(n, nic.mac, bridge, None if copy else nic.tag) for n, nic in enumerate(seed.nics)
        )
        spec = MachineSpec(
            copy or vmid,
            seed.name,
            seed.memory,
            seed.cores,
            seed.uuid,
            nics,
            tuple(Disk(key, path, seed.disks[key]) for key, path in disks.items()),
            seed.agent if agent is None else agent,
        )
        machine = Machine(spec, folder / "run", self.networks, self.accelerator)
        self._machines.append(machine)
        return machine

    def close(self) -> None:
        for machine in self._machines:
            machine.stop()
        self.networks.close()
        shutil.rmtree(self.folder)


def up(machine: Machine, timeout: float = BOOT) -> float:
    """Wait for the agent's first answer, or without one for the guest's word on its serial port;
    return the seconds it took.
    """
    start = time.monotonic()
    while (passed := time.monotonic() - start) < timeout:
        if not machine.spec.agent and accel.READY in machine.console():
            return passed
        try:
            machine.agent("guest-ping", timeout=0.5)
        except AgentSilent:
            time.sleep(0.1)
        else:
            return passed
    raise AssertionError(
        f"{machine.spec.name} is not up after {timeout} s: {machine.console()[-500:]}"
    )


def run(machine: Machine, command: str, timeout: float = HANGS) -> tuple[int, str]:
    """Run a shell command in the guest through its agent; return exit code and output."""
    path: dict[str, object] = {
        "path": "/bin/sh",
        "arg": ["-c", f"exec 2>&1; {command}"],
        "capture-output": True,
    }
    started: Any = machine.agent("guest-exec", path, timeout=HANGS)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        status: Any = machine.agent("guest-exec-status", {"pid": started["pid"]}, timeout=HANGS)
        if status["exited"]:
            # As a shell does it: 128 and the signal's number for a command that a signal ended.
            code = status["exitcode"] if "exitcode" in status else 128 + status["signal"]
            return code, base64.b64decode(status.get("out-data", "")).decode(errors="replace")
        time.sleep(0.1)
    raise AssertionError(f"{command!r} did not end within {timeout} s")


@pytest.fixture(scope="session")
def images() -> Images:
    return ensure_images()


@pytest.fixture(scope="module")
def bench(images: Images) -> Iterator[Bench]:
    stage = Bench(images)
    yield stage
    stage.close()
