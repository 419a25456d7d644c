"""Where guests, disks and appliances come from: real QEMU machines, or the model.

A platform is a hypervisor (see ``kernel.Hypervisor``) with what a whole lab needs around it.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from pvelab.errors import UsageError
from pvelab.images.build import build_guest_disks, ensure_images
from pvelab.images.site import GuestSeed
from pvelab.kernel import Lab, Machine
from pvelab.links import LinkServer
from pvelab.past import PastServer
from pvelab.seed import ISOLATED_BRIDGE
from pvelab.simulated import SimulatedHypervisor, make_disk
from pvelab.vmm import accel
from pvelab.vmm import machine as vmm
from pvelab.vmm.network import Networks
from pvelab.vmm.nodes import SSHD, NodeSsh
from pvelab.vmm.probe import Probe
from pvelab.vmm.qmp import QemuError
from pvelab.vmm.spec import MachineSpec

Disks = Mapping[GuestSeed, Mapping[str, Path]]


class Platform(Protocol):
    """A hypervisor with disks, probe and the nodes' SSH endpoints."""

    name: str

    def create(self, spec: Any) -> Machine: ...
    def make_disks(self, wanted: Disks) -> None: ...
    def start_appliances(self, lab: Lab) -> dict[str, Any]:
        """Start the nodes' SSH endpoints and the probe; return the settings that lead to them
        (``ssh``, ``probes``).
        """
        ...

    def close(self) -> None: ...


def choose(wanted: str, run_dir: Path, progress: Callable[[str], None]) -> Platform:
    """Given ``qemu``, ``simulated`` or ``auto`` (QEMU when it is installed), return the
    platform.
    """
    found = shutil.which("qemu-system-x86_64")
    if wanted == "qemu" and not found:
        raise UsageError(
            "qemu-system-x86_64 is not installed",
            "apt-get install qemu-system-x86 qemu-utils, or `make setup`",
        )
    if wanted == "simulated" or not found:
        progress("SIMULATED: the guests are only modelled, nothing that is tested here is proven")
        return SimulatedPlatform(run_dir)
    return QemuPlatform(run_dir, progress)


class SimulatedPlatform(SimulatedHypervisor):
    """The model, with real SSH endpoints for the nodes where sshd is installed. It has no probe:
    there is nothing to reach.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self._nodes = _Nodes(run_dir)

    def make_disks(self, wanted: Disks) -> None:
        """Make the guests' modelled disks."""
        for guest, disks in wanted.items():
            for key, path in disks.items():
                make_disk(path, guest.disks[key], guest.name)

    def start_appliances(self, lab: Lab) -> dict[str, Any]:
        """Start the nodes' SSH endpoints."""
        return self._nodes.start(lab)

    def close(self) -> None:
        """End everything."""
        super().close()
        self._nodes.stop()


class QemuPlatform:
    """Real guests: one QEMU process each, on the lab's own switch, with the accelerator that really
    boots a guest here.
    """

    name = "qemu"

    def __init__(self, run_dir: Path, progress: Callable[[str], None]) -> None:
        self._run_dir = run_dir
        self._images = ensure_images(progress=progress)
        self._accelerator = accel.choose(self._images)
        progress(f"QEMU with {self._accelerator}")
        self.networks = Networks()
        self._machines: dict[int, vmm.Machine] = {}
        self._nodes = _Nodes(run_dir)
        self._probes = _Probes()

    def create(self, spec: MachineSpec) -> vmm.Machine:
        """Given a spec, return its machine, not started. An older machine of that VMID is ended
        first.
        """
        # two processes would write to the same disks
        if older := self._machines.get(spec.vmid):
            older.stop()
        machine = vmm.Machine(
            spec, self._run_dir / f"vm{spec.vmid}", self.networks, self._accelerator
        )
        self._machines[spec.vmid] = machine
        return machine

    def make_disks(self, wanted: Disks) -> None:
        """Build the guests' disks, two at a time."""
        with ThreadPoolExecutor(2) as pool:
            # to read the results is what raises the errors of the threads
            for _ in pool.map(self._make_disks, wanted, wanted.values()):
                pass

    def _make_disks(self, guest: GuestSeed, targets: Mapping[str, Path]) -> None:
        # built beside their places, so that a build that is cut short leaves no half disk there
        for key, made in build_guest_disks(
            self._images, guest, next(iter(targets.values())).parent / f"new-{guest.vmid}"
        ).items():
            made.replace(targets[key])
        (targets["scsi0"].parent / f"new-{guest.vmid}").rmdir()

    def start_appliances(self, lab: Lab) -> dict[str, Any]:
        """Start the nodes' SSH endpoints and the probes, one a node."""
        ssh = self._nodes.start(lab)
        probes = {
            node: Probe(
                self._images,
                self._run_dir / f"probe{number}",
                self.networks,
                self._accelerator,
                bridge=ISOLATED_BRIDGE,
                node=node,
                number=number,
            )
            for number, node in enumerate(lab.nodes)
        }
        return {**ssh, "probes": self._probes.start(lab, probes)}

    def close(self) -> None:
        """End everything."""
        self._nodes.stop()
        self._probes.stop()
        # the switch goes last: until then machines hold its ports
        for machine in self._machines.values():
            machine.stop()
        self.networks.close()


class _Probes:
    """The probes, one a node, because the isolated bridge ends at its node. Each dies and returns
    with its node.
    """

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}

    def start(self, lab: Lab, probes: dict[str, Probe]) -> dict[str, Any]:
        """Start each node's probe, side by side, and return their settings by node."""
        self._probes = probes
        with ThreadPoolExecutor(2) as pool:
            found = dict(
                zip(self._probes, pool.map(Probe.start, self._probes.values()), strict=True)
            )
        for name in (node.name for node in lab.nodes.values() if not node.online):
            self._probes[name].stop()
        lab.node_listeners.append(self._switch)
        return {
            name: {
                "host": f"{access.host}:{access.port}",
                "user": access.user,
                "key_file": str(access.key_file),
                "host_key": access.host_key.strip(),
            }
            for name, access in found.items()
        }

    def stop(self) -> None:
        """Stop them all."""
        for probe in self._probes.values():
            probe.stop()

    def _switch(self, name: str, alive: bool) -> None:
        if not alive:
            self._probes[name].stop()
        else:  # its node is up before its guests are
            threading.Thread(
                target=self._again, args=(self._probes[name],), name=f"probe of {name}", daemon=True
            ).start()

    @staticmethod
    def _again(probe: Probe) -> None:
        with contextlib.suppress(QemuError):  # the lab is being stopped
            probe.start()


class _Nodes:
    """The nodes' SSH endpoints; one key logs in to all of them."""

    def __init__(self, run_dir: Path) -> None:
        self._folder, self._endpoints = run_dir / "ssh", dict[str, NodeSsh]()
        self._past: PastServer | None = None
        self._links: LinkServer | None = None

    def start(self, lab: Lab) -> dict[str, Any]:
        """Start one endpoint a node and return the settings, empty where OpenSSH's server is not
        installed.
        """
        if not Path(SSHD).is_file():
            return {}
        found, past = {}, self._folder.with_name("past")
        if lab.history:
            self._past = PastServer(lab, lab.history, past)
        links = self._folder.with_name("links")
        self._links = LinkServer(lab, links)
        for name in lab.nodes:
            endpoint = NodeSsh(
                name, self._folder / name, lab.nodes[name].dir, past if lab.history else None, links
            )
            self._endpoints[name] = endpoint
            found[name] = endpoint.start()
        # one key for all: the settings name one
        first, *others = [self._folder / name for name in lab.nodes]
        for folder in others:
            (folder / "authorized_keys").write_text((first / "authorized_keys").read_text())
        for name in (node.name for node in lab.nodes.values() if not node.online):
            self._endpoints[name].stop()
        lab.node_listeners.append(self._switch)
        known_hosts = self._folder / "known_hosts"
        known_hosts.write_text(
            "".join(f"{access.known_hosts_line.strip()}\n" for access in found.values())
        )
        login = next(iter(found.values()))
        hosts = {name: f"{access.host}:{access.port}" for name, access in found.items()}
        return {
            "ssh": {
                "nodes": hosts,
                "user": login.user,
                "key_file": str(login.key_file),
                "known_hosts": str(known_hosts),
            }
        }

    def stop(self) -> None:
        """Stop them all."""
        if self._past:
            self._past.close()
        if self._links:
            self._links.close()
        for endpoint in self._endpoints.values():
            endpoint.stop()

    def _switch(self, name: str, alive: bool) -> None:
        """A node's endpoint dies and returns with it, on the same port and with the same host
        key.
        """
        if alive:
            self._endpoints[name].start()
        else:
            self._endpoints[name].stop()
