"""One machine of the lab: a QEMU process, its monitor, its agent and its cables."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pvelab.vmm import processes
from pvelab.vmm.agent import AgentChannel, AgentFailure, AgentSilent, refused
from pvelab.vmm.command import AGENT, MEMORY, MONITOR, SERIAL, VNC, qemu_command
from pvelab.vmm.network import Networks, Port
from pvelab.vmm.qmp import QemuError, Qmp
from pvelab.vmm.snapshot import EventHook, Snapshot, backup_disks
from pvelab.vmm.spec import MachineSpec, with_disk_size

__all__ = ["AgentFailure", "AgentSilent", "Machine", "QemuError", "Snapshot"]

PID, LOG = "qemu.pid", "qemu.log"


class Machine:
    """A machine that can be started and stopped any number of times. Its methods may be called from
    any thread.
    """

    def __init__(
        self,
        spec: MachineSpec,
        run_dir: Path,
        networks: Networks,
        accelerator: str = "tcg",
        extra: Sequence[str] = (),
    ) -> None:
        """``run_dir`` is the machine's own folder, on a short path: unix sockets live in it.
        ``extra``: more QEMU arguments.

        A process that an earlier lab left behind in this folder is killed.
        """
        # a socket's path has 108 bytes at most, its end included (unix(7))
        if len(str(run_dir / MONITOR)) > 100:
            raise QemuError(
                f"{run_dir} is too long a path for unix sockets", "choose a shorter state directory"
            )
        self.spec, self.run_dir, self.memory_given = spec, run_dir, min(MEMORY, spec.memory)
        self._networks, self._accelerator, self._extra = networks, accelerator, tuple(extra)
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Qmp | None = None
        self._agent = AgentChannel(run_dir / AGENT)
        self._ports: list[Port] = []
        self._since = 0.0
        run_dir.mkdir(parents=True, exist_ok=True)
        processes.kill_left_over(run_dir / PID, str(run_dir))

    @property
    def pid(self) -> int | None:
        """The QEMU process, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self, *, paused: bool = False) -> None:
        """Power on; returns when QEMU runs. Raise QemuError when it runs already or does not
        start.
        """
        with self._lock:
            if self.pid is not None:
                raise QemuError(f"machine {self.spec.vmid} runs already")
            self._clear()
            (self.run_dir / LOG).unlink(missing_ok=True)
            self._ports = ports = [
                self._networks.port(str(self.spec.vmid), nic) for nic in self.spec.nics
            ]
            command = qemu_command(self.spec, self.run_dir, ports, self._accelerator, self._extra)
            try:
                self._process = processes.spawn(
                    command, self.run_dir / LOG, descriptors=[port.descriptor for port in ports]
                )
                (self.run_dir / PID).write_text(str(self._process.pid))
                self._qmp = Qmp(self.run_dir / MONITOR, lambda: self.pid is not None)
                # QEMU has its own end by now; while ours is open the switch would not see that it
                # is gone
                for port in ports:
                    port.machine_end.close()
                # before it runs: a guest must not see a carrier for even a moment
                for nic in self.spec.nics:
                    if not nic.link_up:
                        self.set_link(nic.index, False)
                if not paused:
                    self._qmp.execute("cont")
            except (QemuError, OSError) as error:
                self.stop()
                # the last line that QEMU itself wrote says more than a socket that is not there
                log = self.run_dir / LOG
                lines = log.read_text(errors="replace").split("\n") if log.exists() else []
                last = next((line for line in reversed(lines) if line.strip()), "")
                raise QemuError(
                    f"machine {self.spec.vmid} did not start: {last or error}"
                ) from error
            self._since = time.monotonic()

    def stop(self) -> None:
        """Pull the plug: when this returns, the process, its sockets and its cables are gone."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._clear()

    def powerdown(self) -> None:
        """Press the power button (ACPI); the guest may obey or not."""
        self.qmp("system_powerdown")

    def reset(self) -> None:
        """Press the reset button."""
        self.qmp("system_reset")
        # what was asked before a reset is never answered
        self._agent.close()

    def suspend(self) -> None:
        """Halt the processors: nothing in the guest goes on, its agent neither."""
        self.qmp("stop")

    def resume(self) -> None:
        """Let a machine that was halted, or started paused, run."""
        self.qmp("cont")

    def resize_disk(self, key: str, size: int) -> None:
        """Make a disk larger while the machine runs; the guest sees its new size at once."""
        self.qmp("block_resize", node_name=key, size=size)
        self.spec = with_disk_size(self.spec, key, size)

    def status(self) -> str:
        """Return ``running``, ``stopped`` or ``paused``."""
        if self.pid is None:
            return "stopped"
        try:
            answer = self.qmp("query-status")
        except QemuError:
            return "stopped"
        return "running" if isinstance(answer, dict) and answer["running"] else "paused"

    def run_state(self) -> str:
        """Return QEMU's own word for how it stands (``running``, ``paused``, ``io-error``, ...),
        ``stopped`` when it is off.
        """
        try:
            answer = self.qmp("query-status")
        except QemuError:
            return "stopped"
        return str(answer["status"]) if isinstance(answer, dict) else "unknown"

    def block_stats(self) -> dict[str, dict[str, object]]:
        """Return what QEMU counted of each disk since power-on (its ``block-stats``), by the disk's
        key; {} when it is off.
        """
        try:
            rows = self.qmp("query-blockstats")
        except QemuError:
            return {}
        return (
            {row["node-name"]: dict(row["stats"]) for row in rows if "node-name" in row}
            if isinstance(rows, list)
            else {}
        )

    def uptime(self) -> float:
        """Seconds since power-on; 0 when off."""
        return time.monotonic() - self._since if self.pid is not None else 0.0

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for the machine to go off by itself; return whether it is
        off.
        """
        if self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                return False
        with self._lock:
            if self.pid is None:
                self._clear()
        return True

    def agent(
        self, command: str, arguments: dict[str, object] | None = None, timeout: float = 3.0
    ) -> object:
        """Given a guest agent command, return its answer.

        Raise AgentSilent when there is none within ``timeout`` seconds (or no agent at all),
        AgentFailure when it refuses.
        """
        if self.pid is None or not self.spec.agent:
            raise AgentSilent(f"machine {self.spec.vmid} has no running guest agent")
        if self.spec.muted and self.spec.muted():
            time.sleep(timeout)
            raise AgentSilent(f"machine {self.spec.vmid}: its agent is made to be silent")
        if (answer := refused(self.spec, command)) is not None:
            return answer
        return self._agent.call(command, arguments, timeout)

    def qmp(self, command: str, **arguments: object) -> object:
        """Given a monitor command, return its answer (``_`` in argument names stand for ``-``).
        Raise QemuError.
        """
        if (monitor := self._qmp) is None or self.pid is None:
            raise QemuError(f"machine {self.spec.vmid} is off")
        return monitor.execute(
            command, {name.replace("_", "-"): value for name, value in arguments.items()}
        )

    def set_link(self, index: int, up: bool) -> None:
        """Plug the cable of NIC ``index`` in or out: the guest sees its carrier go, and no frame
        passes.
        """
        for port in self._ports:
            if port.nic == index:
                self._networks.set_link(port, up)
        self.qmp("set_link", name=f"nic{index}", up=up)

    def console(self) -> str:
        """What the machine wrote to its serial port since power-on."""
        log = self.run_dir / SERIAL
        return log.read_text(errors="replace") if log.exists() else ""

    def snapshot(
        self,
        targets: Mapping[str, Path],
        *,
        freeze: bool,
        on_event: EventHook | None = None,
        speed: int = 0,
    ) -> Snapshot:
        """Given disk keys and files, copy these disks as they are at one moment, the same for all,
        into sparse raw files.

        ``freeze`` has the agent quiesce the guest's file systems for that moment, if it answers;
        ``speed`` in bytes a second, 0 is no limit. ``on_event(event, done, total)`` hears
        ``freeze``, ``freeze-skipped``, ``freeze-late`` (no answer), ``freeze-failed: why``,
        ``thaw``, ``thaw-failed: why``, ``thaw-late``, ``started`` and ``progress`` (bytes); what it
        raises cancels the copy. Raise QemuError when a disk or a target fails.
        """
        sizes = {disk.key: disk.size for disk in self.spec.disks}
        agent: Callable[..., object] | None = self.agent if freeze and self.spec.agent else None
        return backup_disks(
            self.qmp,
            agent,
            {key: (path, sizes[key]) for key, path in targets.items()},
            on_event,
            speed,
        )

    def _clear(self) -> None:
        """Forget a process that is gone."""
        self._agent.close()
        if self._qmp is not None:
            self._qmp.close()
        self._qmp = self._process = None
        for port in self._ports:
            self._networks.unplug(port)
        self._ports = []
        for name in (MONITOR, AGENT, SERIAL, PID, VNC):
            with suppress(FileNotFoundError):
                (self.run_dir / name).unlink()
