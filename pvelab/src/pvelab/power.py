"""Power-on of a whole lab: every guest with ``onboot`` is started as PVE's own start-up does, and
waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from pvelab.errors import StartFailed
from pvelab.guests.power import start
from pvelab.kernel import Lab, VmConfig
from pvelab.vmm.accel import READY
from pvelab.vmm.machine import AgentFailure, AgentSilent

# a boot under TCG keeps one core busy for about three seconds, and a third guest fills the gaps
# while two wait for their disks
_AT_ONCE = 3
_MAX_BOOT = 120.0


def start_all(lab: Lab, progress: Callable[[str], None]) -> None:
    """Start all guests that start with their node and return when each answers. Raise StartFailed
    if one does not.
    """
    wanted = [
        vm
        for vm in lab.guests.all()
        if vm.config.get("onboot") == "1" and lab.nodes[vm.node].online
    ]
    for vm in [vm for vm in wanted if "lock" in vm.config]:
        # a dump or restore that was cut short leaves its lock, and PVE does not start such a guest
        # either
        progress(
            f"{vm.vmid} {vm.config.get('name', '')} stays off: VM is locked ({vm.config['lock']})"
        )
        wanted.remove(vm)
    # what takes longest comes first, so that no core waits for it at the end
    wanted.sort(key=lambda vm: ("scsi1" not in vm.config, vm.vmid))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="power-on") as pool:
        pending = {pool.submit(_power_on, lab, vm): vm for vm in wanted}
        for count, done in enumerate(as_completed(pending), 1):
            vm = pending[done]
            progress(
                f"{vm.vmid} {vm.config.get('name', '')} answers after {done.result():.1f} s "
                f"({count}/{len(wanted)})"
            )


def _power_on(lab: Lab, vm: VmConfig) -> float:
    """Start one guest and return how many seconds passed until it answered."""
    began = time.monotonic()
    upid = lab.tasks.spawn(
        vm.node, "qmstart", str(vm.vmid), "root@pam", lambda log: start(lab, vm.node, vm.vmid, log)
    )
    status = lab.tasks.wait(upid, _MAX_BOOT)
    if status != "OK":
        raise StartFailed(
            f"guest {vm.vmid} did not start: {status}", "see its task's log in the lab's directory"
        )
    while not answers(lab, vm):
        if time.monotonic() - began > _MAX_BOOT:
            raise StartFailed(
                f"guest {vm.vmid} was started and does not answer", "see the lab's log"
            )
        time.sleep(0.1)
    return time.monotonic() - began


def answers(lab: Lab, vm: VmConfig) -> bool:
    """Say whether a guest is up: its agent answers or, where it has none, its console says so."""
    machine = lab.machines.get(vm.vmid)
    if machine is None or machine.status() != "running":
        return False
    if not machine.spec.agent:
        return READY in machine.console()
    try:
        machine.agent("guest-ping", timeout=1.0)
    except (AgentSilent, AgentFailure):
        return False
    return True
