"""Switching guests on and off: from a configuration to a machine (qemu-server PVE/QemuServer.pm
vm_start, vm_stop).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from pvelab import figures
from pvelab.faults.dying import haunt
from pvelab.faults.sickness import afflicted
from pvelab.guests import volumes
from pvelab.guests.devices import NET, agent_enabled, disks, net, uuid_of
from pvelab.guests.state import check_unlocked, need, task_lock
from pvelab.kernel import Lab, LabError, Machine, TaskDied, TaskLog, VmConfig
from pvelab.vmm.command import VNC
from pvelab.vmm.machine import AgentFailure, AgentSilent, QemuError
from pvelab.vmm.spec import Disk, MachineSpec, Nic

MIB = 1024 * 1024
_SHUTDOWN_WAIT = 60
_POLL = 0.2
_PING_TIMEOUT = 3.0


def machine_of(lab: Lab, vmid: int) -> Machine | None:
    """Return the machine of a guest that runs, None for one that is off."""
    machine = lab.machines.get(vmid)
    return machine if machine is not None and machine.status() != "stopped" else None


def start(lab: Lab, node: str, vmid: int, log: TaskLog) -> None:
    """Start a guest, as qmstart does. Raise TaskDied with PVE's text if it cannot be started."""
    if not lab.quorate():
        raise TaskDied("cluster not ready - no quorum?")
    with task_lock(lab, vmid, log):
        vm = need(lab, node, vmid)
        check_unlocked(vm)
        if machine_of(lab, vmid):
            raise TaskDied(f"VM {vmid} already running")
        if vm.config.get("template") == "1":
            raise TaskDied("you can't start a vm if it's a template")
        warn_iothread(vm, log)
        if (
            lab.release.newer
            and "efidisk0" in vm.config
            and "ms-cert=2023k" not in vm.config["efidisk0"].split(",")
        ):
            # at every start: an EFI disk of before the new certificates (qemu-server 9.1.10)
            missing = (
                "suggesting that not all UEFI 2023 certificates from Microsoft are enrolled yet."
            )
            log.warn(f"EFI disk without 'ms-cert=2023k' option, {missing}")
        start_machine(lab, vm)


def warn_iothread(vm: VmConfig, log: TaskLog) -> None:
    """Warn of every disk that asks for a thread of its own behind a controller that has none
    (07_tasks 108).
    """
    for disk in disks(vm.config):
        lacking = disk.key.startswith("scsi") and vm.config.get("scsihw") != "virtio-scsi-single"
        if lacking and disk.properties.get("iothread") == "1":
            log.warn(
                "iothread is only valid with virtio disk or virtio-scsi-single controller, ignoring"
            )


def agent_is_frozen(machine: Machine) -> bool:
    """Say whether a machine's agent says that its file systems are frozen."""
    try:
        return bool(machine.agent("guest-fsfreeze-status", timeout=_PING_TIMEOUT) == "frozen")
    except (AgentSilent, AgentFailure):
        return False


def start_machine(lab: Lab, vm: VmConfig) -> None:
    """Build a guest's machine from its configuration and switch it on. Raise TaskDied with PVE's
    text if it cannot run.
    """
    machine = lab.hypervisor.create(afflicted(lab, machine_spec(lab, vm)))
    try:
        machine.start()
    except QemuError as error:
        raise TaskDied(f"start failed: {error}") from error
    lab.machines[vm.vmid] = machine
    # its guests were switched off at its death, when this one was not among them yet
    if not lab.nodes[vm.node].online:  # it died meanwhile
        switch_off(lab, vm.vmid)
        raise TaskDied(f"node '{vm.node}' is offline")
    haunt(lab, machine)


def machine_spec(lab: Lab, vm: VmConfig) -> MachineSpec:
    """Given a guest, return what its machine is made of. Raise TaskDied for a bridge or a disk that
    does not exist.
    """
    config = vm.config
    return MachineSpec(
        vmid=vm.vmid,
        name=config.get("name", f"VM {vm.vmid}"),
        memory=figures.memory(config) // MIB,
        cores=int(config.get("cores", 1)),
        uuid=uuid_of(config),
        nics=_nics(lab, vm.node, config),
        disks=_disks(lab, vm.node, config),
        agent=agent_enabled(config),
        vnc=lab.machine_dir(vm.vmid) / VNC,
    )


def stop(lab: Lab, node: str, vmid: int, log: TaskLog) -> None:
    """Switch a guest off, as qmstop does; one that is off already is fine."""
    with task_lock(lab, vmid, log):
        vm = need(lab, node, vmid)
        check_unlocked(vm)
        switch_off(lab, vmid)


def switch_off(lab: Lab, vmid: int) -> None:
    """Cut a guest's power."""
    machine = lab.machines.pop(vmid, None)
    if machine is not None:
        machine.stop()


def shutdown(
    lab: Lab, node: str, vmid: int, log: TaskLog, *, timeout: int | None = None, force: bool = False
) -> None:
    """Ask a guest to shut itself down, by its agent when that answers, else by ACPI, and wait.

    With ``force`` it is switched off when ``timeout`` seconds are up. Raise TaskDied if it does not
    go.
    """
    with task_lock(lab, vmid, log):
        vm = need(lab, node, vmid)
        check_unlocked(vm)
        machine = machine_of(lab, vmid)
        if machine is None:
            return
        ask_to_shut_down(lab, vm, machine, log)
        if wait_until_off(lab, vmid, machine, _SHUTDOWN_WAIT if timeout is None else timeout, log):
            return
        if not force:
            raise TaskDied("VM quit/powerdown failed - got timeout")
        log.line("VM still running - terminating now with SIGTERM")
        switch_off(lab, vmid)


def agent_answers(machine: Machine) -> bool:
    """Say whether a machine's guest agent answers a ping within three seconds."""
    try:
        machine.agent("guest-ping", timeout=_PING_TIMEOUT)
    except (AgentSilent, AgentFailure):
        return False
    return True


def ask_to_shut_down(lab: Lab, vm: VmConfig, machine: Machine, log: TaskLog) -> None:
    """Ask a guest to go down: by its agent when that answers, else by the power button."""
    if agent_enabled(vm.config):
        if agent_answers(machine):
            try:
                machine.agent("guest-shutdown")
            except (AgentSilent, AgentFailure):
                # a guest that goes down at once does not answer any more
                return
            return
        log.line(
            "QEMU Guest Agent is not running - "
            f"{lab.release.agent_failed(vm.vmid, 'guest-ping', 'got timeout')}"
        )
    machine.powerdown()


def wait_until_off(lab: Lab, vmid: int, machine: Machine, seconds: float, log: TaskLog) -> bool:
    """Wait up to ``seconds`` for a guest to be off; return whether it is. Raise TaskDied when the
    task is told to stop.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and machine.status() != "stopped":
        log.check_cancelled()
        time.sleep(_POLL)
    if machine.status() != "stopped":
        return False
    lab.machines.pop(vmid, None)
    # the process is gone; what it leaves behind (sockets, switch ports) goes with it
    machine.stop()
    return True


def _nics(lab: Lab, node: str, config: Mapping[str, str]) -> tuple[Nic, ...]:
    known = {bridge.name: bridge for bridge in lab.bridges}
    found = []
    for key in sorted((key for key in config if NET.fullmatch(key)), key=lambda key: int(key[3:])):
        properties = net(config[key])
        bridge = properties.get("bridge")
        # without a bridge PVE gives a NAT of its own; the lab gives nothing at all
        if bridge is None:
            continue
        if bridge not in known:
            raise TaskDied(f"bridge '{bridge}' does not exist")
        tag, vlans = properties.get("tag"), None
        if trunks := properties.get("trunks"):
            if not re.fullmatch(r"\d+(-\d+)?(;\d+(-\d+)?)*", trunks):
                raise TaskDied(f"invalid trunks '{trunks}'")
            ranges = [part.partition("-")[::2] for part in trunks.split(";")]
            vlans = frozenset(
                vlan for first, last in ranges for vlan in range(int(first), int(last or first) + 1)
            )
        up = properties.get("link_down", "0") != "1"
        mac, ends = properties.get("macaddr", ""), "" if known[bridge].ports else node
        found.append(Nic(int(key[3:]), mac, bridge, int(tag) if tag else None, up, vlans, ends))
    return tuple(found)


def _disks(lab: Lab, node: str, config: Mapping[str, str]) -> tuple[Disk, ...]:
    """The guest's disks, those of the boot order first."""
    order = re.search(r"order=([\w;]+)", config.get("boot", ""))
    first = order[1].split(";") if order else []
    found = []
    for drive in sorted(
        disks(config), key=lambda d: (first.index(d.key) if d.key in first else len(first), d.key)
    ):
        if drive.key in ("efidisk0", "tpmstate0"):
            continue
        try:
            volume = volumes.find(lab, node, drive.volume)
        except LabError as error:
            raise TaskDied(error.reason) from error
        if not volume.path.is_file():
            raise TaskDied(volumes.missing(lab, volume))
        found.append(Disk(drive.key, volume.path, volume.path.stat().st_size))
    return tuple(found)
