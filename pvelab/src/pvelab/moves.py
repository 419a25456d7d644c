"""Guests' disks on their way to another node: migration, and replication ahead of a loss.

Both are models. A migration moves the disks and restarts the guest: its memory does not travel. A
replication copies a guest's disks to another node at intervals, between ZFS pools of the same name
as in PVE; it copies them whole, where PVE sends snapshots.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pvelab.containers import power as containers
from pvelab.containers.mounts import mounts
from pvelab.guests import power, volumes
from pvelab.guests.devices import agent_enabled, disks
from pvelab.guests.state import check_unlocked, need, task_lock
from pvelab.kernel import Lab, LabError, TaskDied, TaskLog, VmConfig
from pvelab.simulated import copy_sparse
from pvelab.vmm.machine import QemuError

INTERVAL = 900.0  # PVE's default schedule is */15
_SHUTDOWN = 60.0


def move(lab: Lab, vmid: int, source: str, target: str, log: TaskLog) -> None:
    """Move a guest to another node and start it there if it ran. Raise TaskDied with PVE's text if
    that cannot be done.
    """
    began = time.monotonic()
    if target not in lab.nodes or not lab.nodes[target].online:
        raise TaskDied(f"target node '{target}' is not online")
    with task_lock(lab, vmid, log):
        known = lab.guests.get(vmid)
        vm = need(lab, source, vmid, known.type if known else "qemu")
        check_unlocked(vm)
        log.line(
            f"starting migration of {vm.word} {vmid} to node '{target}' ({lab.nodes[target].ip})"
        )
        paths = list(_paths(lab, vm, target, log))
        machine = power.machine_of(lab, vmid)
        if machine and vm.type == "lxc":
            log.line(f"shutdown CT {vmid}")
            containers.switch_off(lab, vmid)
        elif machine:
            log.line("lab: the guest is restarted on the target, live migration is not modelled")
            power.ask_to_shut_down(lab, vm, machine, log)
            if not power.wait_until_off(lab, vmid, machine, _SHUTDOWN, log):
                power.switch_off(lab, vmid)
        for here, there in paths:
            there.parent.mkdir(parents=True, exist_ok=True)
            _put(here, there)
        lab.guests.move(vmid, target)
        if machine:
            (containers.switch_on if vm.type == "lxc" else power.start_machine)(lab, vm)
    seconds = int(time.monotonic() - began)
    log.line(
        "migration finished successfully (duration "
        f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02})"
    )


def _volumes(vm: VmConfig) -> list[tuple[str, Mapping[str, str]]]:
    """Return the volumes of a VM or a container, with the properties that stand beside each."""
    if vm.type == "lxc":
        return [
            (mount.volume, mount.properties)
            for mount in mounts(vm.config)
            if mount.kind == "volume"
        ]
    return [(drive.volume, drive.properties) for drive in disks(vm.config)]


def _paths(lab: Lab, vm: VmConfig, target: str, log: TaskLog) -> Iterator[tuple[Path, Path]]:
    """Yield where each local disk lies and where it goes; a shared storage's stay."""
    for volid, _ in _volumes(vm):
        try:
            here, there = volumes.find(lab, vm.node, volid), volumes.find(lab, target, volid)
        except LabError as error:
            raise TaskDied(error.reason) from error
        if here.path == there.path:
            continue
        if not here.path.exists():
            raise TaskDied(f"no such volume '{volid}'")
        lxc = vm.type == "lxc"
        log.line(
            f"found local volume '{volid}' (in current VM config)"
            if lxc
            else f"found local disk '{volid}' (attached)"
        )
        yield here.path, there.path


def replicated(lab: Lab, vm: VmConfig, pools: Collection[str] = ()) -> list[str]:
    """Return the volumes of a guest that a replication copies: not the shared ones, nor those with
    ``replicate=0``.

    ``pools`` are storages that are about to become ZFS pools. Raise LabError 500 with PVE's text if
    one lies where that cannot be done (PVE::QemuConfig, get_replicatable_volumes).
    """
    found = []
    for volid, properties in _volumes(vm):
        storage = lab.storage(volid.partition(":")[0])
        if storage.shared or properties.get("replicate", "1") in ("0", "no", "off", "false"):
            continue
        if not storage.replicates and storage.name not in pools:
            raise LabError(500, f"missing replicate feature on volume '{volid}'")
        found.append(volid)
    return found


def replica_target(lab: Lab, vm: VmConfig, job: Mapping[str, Any]) -> str:
    """Return where a guest's job copies it to: of one that was taken over there, the way is back
    from now on.
    """
    target = str(job["target"])
    return next((n for n in lab.nodes if n != target), target) if vm.node == target else target


class Replication:
    """The guests that the setting ``replication`` names. Call ``round`` often.

    ``last`` is when each was copied, in cluster seconds.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab, self.last = lab, dict[int, float]()

    def round(self) -> None:
        """Copy what is due; a guest that is locked or whose nodes are not both alive waits for its
        next turn.
        """
        now, jobs = self.lab.clock.seconds(), self.lab.settings.get("replication", {})
        for vmid, job in ((int(key), job) for key, job in jobs.items()):
            last = self.last.get(vmid)
            vm = self.lab.guests.get(vmid)
            if vm and (last is None or now - last >= float(job.get("interval", INTERVAL))):
                # a copy that is cut short leaves the older one in place
                with suppress(LabError, QemuError, OSError):
                    began = self.lab.now(vm.node)
                    if self._copy(vm, replica_target(self.lab, vm, job)):
                        self.last[vmid], self.lab.replicated[vmid] = now, began

    def _copy(self, vm: VmConfig, target: str) -> bool:
        """Copy a guest's disks as they are at one moment; return whether there was somewhere to
        copy them.
        """
        lab = self.lab
        if (
            not lab.nodes[vm.node].online
            or not lab.nodes[target].online
            or vm.node == target
            or "lock" in vm.config
        ):
            return False
        with lab.guests.lock(vm.vmid, 0):
            fresh, machine = dict[str, tuple[Path, Path]](), power.machine_of(lab, vm.vmid)
            for volid in replicated(lab, vm):
                path = volumes.find(lab, target, volid).path
                path.parent.mkdir(parents=True, exist_ok=True)
                # under another name until it is whole
                fresh[volid] = (path.with_name(f"replica-{path.name}"), path)
            if machine and vm.type == "qemu":
                keys = {
                    drive.key: fresh[drive.volume][0]
                    for drive in disks(vm.config)
                    if drive.volume in fresh
                }
                machine.snapshot(keys, freeze=agent_enabled(vm.config))
            else:
                for volid, (new, _) in fresh.items():
                    source = volumes.find(lab, vm.node, volid).path
                    # a disk is a file; a container's volume is a directory here
                    if source.is_dir():
                        shutil.rmtree(new, ignore_errors=True)
                        shutil.copytree(source, new, symlinks=True)
                    else:
                        copy_sparse(source, new)
            if not lab.nodes[vm.node].online:  # it died over the copy
                return False
            for new, path in fresh.values():
                _put(new, path)
        return True


def _put(volume: Path, place: Path) -> None:
    """Move a volume over an older one, such as a replica."""
    if place.is_dir():
        shutil.rmtree(place)
    volume.replace(place)
