"""/nodes/{node}/qemu/{vmid}/resize: making a disk larger (qemu-server PVE/API2/Qemu.pm resize_vm; 05_restore_ok 63)."""

from __future__ import annotations

import os
from typing import Any

from pvelab.guests import power, volumes
from pvelab.guests.access import check_root_parameter
from pvelab.guests.devices import Drive, drive, format_size, parse_size
from pvelab.guests.state import check_unlocked, need, save, task_lock
from pvelab.kernel import Call, Lab, LabError, TaskDied, TaskLog, VmConfig, route


@route("PUT", "/nodes/{node}/qemu/{vmid}/resize")
def resize(call: Call) -> Any:
    """Make a disk of a guest larger, in a task."""
    check_root_parameter(call, "skiplock")
    lab, node, vmid, params = call.lab, call.node, call.vmid, call.params
    lab.guests.need(node, vmid)

    def work(log: TaskLog) -> None:
        with task_lock(lab, vmid, log):
            vm = need(lab, node, vmid)
            if params.get("digest") not in (None, vm.digest):
                raise TaskDied("checksum mismatch (file change by other user?)")
            if not params.get("skiplock"):
                check_unlocked(vm)
            _resize(call, vm, _disk_of(vm, params["disk"]), params["size"], log)

    return call.spawn("resize", vmid, work)


def _disk_of(vm: VmConfig, key: str) -> Drive:
    if key not in vm.config:
        raise LabError(500, f"disk '{key}' does not exist")
    found = drive(key, vm.config[key])
    if found.cdrom:
        raise LabError(500, "you can't resize a cdrom")
    return found


def _resize(call: Call, vm: VmConfig, disk: Drive, wanted: str, log: TaskLog) -> None:
    lab, volume = call.lab, volumes.find(call.lab, vm.node, disk.volume)
    call.check(f"/storage/{volume.storage}", "Datastore.AllocateSpace")
    if not volume.path.is_file():
        raise LabError(500, volumes.missing(lab, volume))
    old = volume.path.stat().st_size
    new = parse_size(wanted.removeprefix("+")) + (old if wanted.startswith("+") else 0)
    if new < old:
        raise LabError(500, "shrinking disks is not supported")
    if new == old:
        return
    _grow(lab, vm, disk, volume, new, log)
    larger = Drive(disk.key, disk.volume, {**disk.properties, "size": format_size(new)})
    save(lab, vm, {**vm.config, disk.key: larger.text()})


def _grow(lab: Lab, vm: VmConfig, disk: Drive, volume: volumes.Volume, size: int, log: TaskLog) -> None:
    """Let QEMU do it while the guest runs; the disks of one that is off are grown as the storage does it."""
    machine = power.machine_of(lab, vm.vmid)
    if machine is not None and disk.key in {known.key for known in machine.spec.disks}:
        machine.resize_disk(disk.key, size)
        return
    os.truncate(volume.path, size)
    if lab.storage(volume.storage).type == "lvmthin":
        log.line(f"  Logical volume pve/{volume.path.name} successfully resized.")
    else:
        log.line("Image resized.")
