"""Switching modelled containers on and off: only their state changes, and the task's log says so
(PVE/API2/LXC/Status.pm).
"""

from __future__ import annotations

from collections.abc import Callable

from pvelab import figures
from pvelab.guests.power import machine_of
from pvelab.guests.state import check_unlocked, need, task_lock
from pvelab.kernel import Lab, TaskDied, TaskLog, VmConfig
from pvelab.simulated import SimulatedMachine
from pvelab.vmm.spec import MachineSpec

MODELLED = "modelled container: only its state changes, nothing runs in it"
_MIB = 1024 * 1024


def running(lab: Lab, vmid: int) -> bool:
    """Say whether a container is on."""
    return machine_of(lab, vmid) is not None


def start(lab: Lab, node: str, vmid: int, log: TaskLog) -> None:
    """Switch a container on. Raise TaskDied with PVE's text if that is not possible."""
    with task_lock(lab, vmid, log):
        vm = need(lab, node, vmid, "lxc")
        check_unlocked(vm)
        if vm.config.get("template") == "1":
            raise TaskDied("you can't start a CT if it's a template")
        if running(lab, vmid):
            raise TaskDied(f"CT {vmid} already running")
        log.line(MODELLED)
        switch_on(lab, vm)


def switch_on(lab: Lab, vm: VmConfig) -> None:
    """Note that a container runs."""
    config = vm.config
    # no disk and no NIC: nothing runs in it, and its files are in trees
    spec = MachineSpec(
        vm.vmid,
        figures.name(vm),
        figures.memory(config) // _MIB,
        figures.cpus(config),
        "",
        (),
        (),
        agent=False,
    )
    machine = SimulatedMachine(spec)
    machine.start()
    lab.machines[vm.vmid] = machine


def stop(lab: Lab, node: str, vmid: int, log: TaskLog) -> None:
    """Switch a container off; asked to shut down, it obeys at once."""
    with task_lock(lab, vmid, log):
        # a dump or a restore that runs needs it as it is
        check_unlocked(need(lab, node, vmid, "lxc"))
        log.line(MODELLED)
        switch_off(lab, vmid)


def switch_off(lab: Lab, vmid: int) -> None:
    """Note that a container is off."""
    machine = lab.machines.pop(vmid, None)
    if machine is not None:
        machine.stop()


def start_all(lab: Lab, progress: Callable[[str], None]) -> None:
    """Start the containers that start with their node, unless a lock of a work that was cut short
    keeps them off.
    """
    for vm in lab.guests.all(type="lxc"):
        # PVE does not start a locked one either
        if vm.config.get("onboot") == "1" and "lock" not in vm.config and lab.nodes[vm.node].online:
            switch_on(lab, vm)
            progress(f"{vm.vmid} {figures.name(vm)} is on: {MODELLED}")


def request_ha(lab: Lab, vmid: int, state: str, log: TaskLog) -> None:
    """Ask HA for a state: the task ends at once, and the HA manager's next round does it (pve-facts
    8.2).
    """
    log.line(f"Requesting HA {'start' if state == 'started' else 'stop'} for CT {vmid}")
    lab.ha.resources[f"ct:{vmid}"]["state"] = state
    lab.ha.save()
