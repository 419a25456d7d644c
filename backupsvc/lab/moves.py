"""Guests' disks on their way to another node: migration, and replication ahead of a loss.

Both are models. A migration moves the disks and restarts the guest: its memory does not travel. A replication copies a guest's
disks to another node at intervals, between ZFS pools of the same name as in PVE; it copies them whole, where PVE sends snapshots.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from backupsvc.lab.guests import power, volumes
from backupsvc.lab.guests.devices import Drive, agent_enabled, disks
from backupsvc.lab.guests.state import check_unlocked, need, task_lock
from backupsvc.lab.kernel import Lab, LabError, TaskDied, TaskLog, VmConfig
from backupsvc.lab.simulated import copy_sparse
from backupsvc.lab.vmm.machine import QemuError

INTERVAL = 900.0  # PVE's default schedule is */15
_SHUTDOWN = 60.0


def move(lab: Lab, vmid: int, source: str, target: str, log: TaskLog) -> None:
    """Move a guest to another node and start it there if it ran. Raise TaskDied with PVE's text if that cannot be done."""
    began = time.monotonic()
    if target not in lab.nodes or not lab.nodes[target].online:
        raise TaskDied(f"target node '{target}' is not online")
    with task_lock(lab, vmid, log):
        vm = need(lab, source, vmid)
        check_unlocked(vm)
        log.line(f"starting migration of VM {vmid} to node '{target}' ({lab.nodes[target].ip})")
        paths = list(_paths(lab, vm, target, log))
        ran = _switched_off(lab, vm, log)
        for here, there in paths:
            there.parent.mkdir(parents=True, exist_ok=True)
            here.replace(there)
        lab.guests.move(vmid, target)
        if ran:
            power.start_machine(lab, vm)
    seconds = int(time.monotonic() - began)
    log.line(f"migration finished successfully (duration {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02})")


def _paths(lab: Lab, vm: VmConfig, target: str, log: TaskLog) -> Iterator[tuple[Path, Path]]:
    """Yield where each local disk lies and where it goes; a shared storage's stay."""
    for drive in disks(vm.config):
        try:
            here, there = volumes.find(lab, vm.node, drive.volume), volumes.find(lab, target, drive.volume)
        except LabError as error:
            raise TaskDied(error.reason) from error
        if here.path == there.path:
            continue
        if not here.path.is_file():
            raise TaskDied(f"no such volume '{drive.volume}'")
        log.line(f"found local disk '{drive.volume}' (attached)")
        yield here.path, there.path


def _switched_off(lab: Lab, vm: VmConfig, log: TaskLog) -> bool:
    """Bring a guest down for its move; return whether it ran."""
    machine = power.machine_of(lab, vm.vmid)
    if machine is None:
        return False
    log.line("lab: the guest is restarted on the target, live migration is not modelled")
    power.ask_to_shut_down(vm, machine, log)
    if not power.wait_until_off(lab, vm.vmid, machine, _SHUTDOWN, log):
        power.switch_off(lab, vm.vmid)
    return True


def replicated(lab: Lab, vm: VmConfig, pools: Collection[str] = ()) -> list[Drive]:
    """Return the disks of a guest that a replication copies: not the shared ones, nor those with ``replicate=0``.

    ``pools`` are storages that are about to become ZFS pools.
    Raise LabError 500 with PVE's text if one lies where that cannot be done (PVE::QemuConfig, get_replicatable_volumes).
    """
    found = []
    for drive in disks(vm.config):
        storage = lab.storage(drive.volume.partition(":")[0])
        if storage.shared or drive.properties.get("replicate", "1") in ("0", "no", "off", "false"):
            continue
        if not storage.replicates and storage.name not in pools:
            raise LabError(500, f"missing replicate feature on volume '{drive.volume}'")
        found.append(drive)
    return found


class Replication:
    """The guests that the setting ``replication`` names. Call ``round`` often.

    ``last`` is when each was copied, in cluster seconds.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab, self.last = lab, dict[int, float]()

    def round(self) -> None:
        """Copy what is due; a guest that is locked or whose nodes are not both alive waits for its next turn."""
        now, jobs = self.lab.clock.seconds(), self.lab.settings.get("replication", {})
        for vmid, job in ((int(key), job) for key, job in jobs.items()):
            last = self.last.get(vmid)
            vm = self.lab.guests.get(vmid)
            if vm and (last is None or now - last >= float(job.get("interval", INTERVAL))):
                with suppress(LabError, QemuError, OSError):  # a copy that is cut short leaves the older one in place
                    if self._copy(vm, str(job["target"])):
                        self.last[vmid] = now

    def _copy(self, vm: VmConfig, target: str) -> bool:
        """Copy a guest's disks as they are at one moment; return whether there was somewhere to copy them."""
        lab = self.lab
        if vm.node == target:  # it was taken over there: from now on the way is back
            target = next((name for name in lab.nodes if name != target), target)
        if not lab.nodes[vm.node].online or not lab.nodes[target].online or vm.node == target or "lock" in vm.config:
            return False
        with lab.guests.lock(vm.vmid, 0):
            fresh, machine = dict[str, tuple[Path, Path]](), power.machine_of(lab, vm.vmid)
            for drive in (drives := replicated(lab, vm)):
                path = volumes.find(lab, target, drive.volume).path
                path.parent.mkdir(parents=True, exist_ok=True)
                fresh[drive.key] = (path.with_name(f"replica-{path.name}"), path)
            if machine:
                machine.snapshot({key: new for key, (new, _) in fresh.items()}, freeze=agent_enabled(vm.config))
            else:
                for drive in drives:
                    copy_sparse(volumes.find(lab, vm.node, drive.volume).path, fresh[drive.key][0])
            if not lab.nodes[vm.node].online:  # it died over the copy
                return False
            for new, path in fresh.values():
                new.replace(path)
        return True
