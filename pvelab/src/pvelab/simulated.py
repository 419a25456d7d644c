"""Guests that are only modelled: for machines without QEMU, and for tests of the API. They never
prove anything.

``/version`` says ``simulated`` and so does every screen. A modelled guest has the same methods as a
real machine; its disks are real (sparse) files, so that archives of it are real archives, but
nothing boots from them. What its agent tells of programs and files comes from ``simulated_system``.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pvelab.simulated_system import SimulatedSystem
from pvelab.vmm.accel import READY
from pvelab.vmm.agent import refused
from pvelab.vmm.machine import AgentFailure, AgentSilent, Snapshot
from pvelab.vmm.snapshot import EventHook, thaw
from pvelab.vmm.snapshot import freeze as freeze_through
from pvelab.vmm.spec import MachineSpec, with_disk_size

_COPY_PIECE = 1024 * 1024
_MEMORY_BLOCK = 128  # MiB
# seconds after power-on; firmware comes first (05_restore_ok: nothing at 1 s, all at 3 s)
_READS_AFTER = 2.0
# what a frozen guest's agent still does (QEMU qga/main.c)
_WHILE_FROZEN = frozenset(
    {"guest-ping", "guest-info", "guest-fsfreeze-status", "guest-fsfreeze-thaw"}
)
_pids = itertools.count(900_000)


class SimulatedMachine:
    """One modelled guest. ``clock`` counts the seconds that its programs take and that it is up."""

    def __init__(self, spec: MachineSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec, self._clock = spec, clock
        self._started: float | None = None
        self._pid: int | None = None
        self._links = {nic.index: nic.link_up for nic in spec.nics}
        self._system = self._boot()
        self._frozen = self._paused = False

    @property
    def pid(self) -> int | None:
        """A number that no process has, None when the guest is off."""
        return self._pid

    def start(self) -> None:
        """Switch on; the modelled guest is up at once."""
        self._started, self._pid = self._clock(), next(_pids)
        self._system, self._paused, self._frozen = self._boot(), False, False

    def _boot(self) -> SimulatedSystem:
        return SimulatedSystem(self.spec.name, self._clock, self.uptime, self.stop)

    def stop(self) -> None:
        """Switch off."""
        self._started = self._pid = None

    def suspend(self) -> None:
        """Stand still: the processors do, and so does the agent."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False

    def resize_disk(self, key: str, size: int) -> None:
        """Make a disk larger."""
        os.truncate(next(disk.path for disk in self.spec.disks if disk.key == key), size)
        self.spec = with_disk_size(self.spec, key, size)

    def powerdown(self) -> None:
        """Press the power button: the modelled guest obeys at once."""
        self.stop()

    def reset(self) -> None:
        """Press the reset button."""
        # a fresh boot id and no files: what is in memory does not outlive a reset
        self._started, self._system, self._frozen = self._clock(), self._boot(), False

    def status(self) -> str:
        """Return ``running``, ``paused`` or ``stopped``."""
        if self._started is None:
            return "stopped"
        return "paused" if self._paused else "running"

    def run_state(self) -> str:
        """Return the same: a modelled guest knows no other state."""
        return self.status()

    def block_stats(self) -> dict[str, dict[str, Any]]:
        """Return what a guest that is up has read (02_inventory 22): its boot disk, a bit of the
        others; nothing at first.
        """
        if self.uptime() < _READS_AFTER:
            return {}
        read = {
            disk.key: (272, min(disk.size, 16463872)) if n == 0 else (1, 4096)
            for n, disk in enumerate(self.spec.disks)
        }
        idle = int(self.uptime() * 1e9)
        return {
            key: {"rd_operations": n, "rd_bytes": size, "idle_time_ns": idle}
            for key, (n, size) in read.items()
        }

    def uptime(self) -> float:
        """Return seconds since it was switched on."""
        return 0 if self._started is None else self._clock() - self._started

    def console(self) -> str:
        """Say what a real guest's console says when it is up, or when its kernel panics."""
        if self.spec.panics:
            return "Kernel panic - not syncing: modelled\n"
        return READY if self.status() == "running" else ""

    def set_link(self, index: int, up: bool) -> None:
        """Plug or pull a cable."""
        self._links[index] = up

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Answer what needs no machine behind it: how it is, in the monitor's two forms."""
        if command == "query-status":
            return {"status": self.status(), "running": self.status() == "running"}
        if command == "human-monitor-command":
            known = arguments["command_line"] == "info status"
            return (
                f"VM status: {self.status()}\r\n"
                if known
                else "simulated: nothing is known of that\r\n"
            )
        return {}

    def agent(
        self, command: str, arguments: dict[str, Any] | None = None, timeout: float = 3.0
    ) -> Any:
        """Answer as a guest agent does. Raise AgentSilent when there is none, AgentFailure for what
        the model does not know.
        """
        if not self.spec.agent or self.status() == "stopped":
            raise AgentSilent(f"no agent in guest {self.spec.vmid}")
        if self._silent():
            # a silent agent costs its caller the whole time (pve-facts 8.5)
            time.sleep(timeout)
            raise AgentSilent(f"the agent of guest {self.spec.vmid} does not answer")
        if (answer := refused(self.spec, command)) is not None:
            return answer
        # as a real agent, which would hang on the frozen file systems
        if self._frozen and command not in _WHILE_FROZEN:
            raise AgentFailure(f"Command {command} has been disabled: the command is not allowed")
        known = self._commands()
        if command not in known:
            raise AgentFailure(f"The command {command} has not been found")
        return known[command](arguments or {})

    def snapshot(
        self,
        targets: Mapping[str, Path],
        *,
        freeze: bool,
        on_event: EventHook | None = None,
        speed: int = 0,
    ) -> Snapshot:
        """Copy the disks to the targets. Nothing writes to them, so that every copy is a point in
        time.
        """
        began, tell = time.monotonic(), on_event or (lambda event, done, total: None)
        frozen = (
            freeze_through(self.agent, tell)
            # who does not answer is not waited for: freezing is given up, as with a real one
            if freeze and self.spec.agent and not self._silent()
            else None
        )
        if frozen is not None:
            thaw(self.agent, tell)
        tell("started", 0, 0)
        disks = {disk.key: disk for disk in self.spec.disks}
        done, total = 0, sum(disks[key].size for key in targets)
        for key, target in targets.items():
            copy_sparse(disks[key].path, target)
            done += disks[key].size
            tell("progress", done, total)
        return Snapshot(frozen=bool(frozen), seconds=time.monotonic() - began)

    def _commands(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """What the agent can do: what answers each command, given its arguments."""
        return {
            "guest-ping": lambda _: {},
            "guest-info": lambda _: {
                "version": "7.2.0",
                "supported_commands": [
                    {"name": "guest-ping", "enabled": True, "success-response": True}
                ],
            },
            "guest-get-osinfo": lambda _: {
                "id": "simulated",
                "name": "Simulated",
                "pretty-name": "Simulated guest",
                "machine": "x86_64",
                "version-id": "1",
                "kernel-release": "0-simulated",
                "kernel-version": "#0 none runs",
            },
            "guest-get-host-name": lambda _: {"host-name": self.spec.name},
            "guest-get-time": lambda _: time.time_ns(),
            "guest-get-users": lambda _: [],
            "guest-get-fsinfo": lambda _: [],
            "guest-network-get-interfaces": lambda _: self._interfaces(),
            "guest-fsfreeze-status": lambda _: "frozen" if self._frozen else "thawed",
            "guest-fsfreeze-freeze": lambda _: self._freeze(True),
            "guest-fsfreeze-thaw": lambda _: self._freeze(False),
            "guest-shutdown": lambda _: self.stop(),
            "guest-get-timezone": lambda _: {"zone": "UTC", "offset": 0},
            "guest-get-vcpus": lambda _: [
                {"logical-id": n, "online": True, "can-offline": n > 0}
                for n in range(self.spec.cores)
            ],
            "guest-get-memory-blocks": lambda _: [
                {"phys-index": n, "online": True, "can-offline": True}
                for n in range(-(-self.spec.memory // _MEMORY_BLOCK))
            ],
            "guest-fstrim": lambda _: {"paths": []},
            "guest-exec": self._system.execute,
            "guest-exec-status": self._system.status,
            "guest-file-open": self._system.open,
            "guest-file-read": self._system.read,
            "guest-file-write": self._system.write,
            "guest-file-close": self._system.close,
        }

    def _silent(self) -> bool:
        return (
            self._paused or self.spec.panics or (self.spec.muted is not None and self.spec.muted())
        )

    def _freeze(self, frozen: bool) -> int:
        self._frozen = frozen
        return 1

    def _interfaces(self) -> list[dict[str, Any]]:
        """The loopback device, and cards that nobody gave an address."""
        kinds = ("bytes", "packets", "errs", "dropped")
        none = {f"{way}-{kind}": 0 for way in ("rx", "tx") for kind in kinds}
        own = [{"ip-address": "127.0.0.1", "prefix": 8, "ip-address-type": "ipv4"}]
        loopback = {
            "name": "lo",
            "hardware-address": "00:00:00:00:00:00",
            "ip-addresses": own,
            "statistics": none,
        }
        return [
            loopback,
            *(
                {"name": f"eth{n.index}", "hardware-address": n.mac.lower(), "statistics": none}
                for n in self.spec.nics
            ),
        ]


class SimulatedHypervisor:
    """Makes modelled guests."""

    name = "simulated"

    def __init__(self) -> None:
        self.networks = SimpleNamespace(capture=lambda bridge: [])
        self._machines: list[SimulatedMachine] = []

    def create(self, spec: MachineSpec) -> SimulatedMachine:
        """Given a spec, return its modelled guest, switched off."""
        machine = SimulatedMachine(spec)
        self._machines.append(machine)
        return machine

    def close(self) -> None:
        """Switch everything off."""
        for machine in self._machines:
            machine.stop()


def make_disk(path: Path, size: int, name: str) -> None:
    """Make a modelled guest's disk: ``size`` bytes, sparse, with some content of its own at the
    start.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(f"simulated disk of {name}\n".encode() * 4096)
        file.truncate(size)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file and keep its holes."""
    with source.open("rb") as reader, target.open("wb") as writer:
        size, offset = os.fstat(reader.fileno()).st_size, 0
        while offset < size:
            try:
                start = os.lseek(reader.fileno(), offset, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                break
            end = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            reader.seek(start)
            writer.seek(start)
            left = end - start
            while left > 0 and (chunk := reader.read(min(left, _COPY_PIECE))):
                writer.write(chunk)
                left -= len(chunk)
            offset = end
        # a hole at the end was never written
        writer.truncate(size)
