"""Making a guest's disk larger."""

from __future__ import annotations

import os

from pvelab.guests import power, volumes
from pvelab.guests.devices import Drive, drive, format_size, parse_size
from pvelab.guests.state import save
from pvelab.kernel import Call, LabError, TaskLog, VmConfig


def disk_of(vm: VmConfig, key: str) -> Drive:
    """Return a guest's disk by its key. Raise LabError in PVE's words for what is none."""
    if key not in vm.config:
        raise LabError(500, f"disk '{key}' does not exist")
    found = drive(key, vm.config[key])
    if found.cdrom:
        raise LabError(500, "you can't resize a cdrom")
    return found


def resize(call: Call, vm: VmConfig, disk: Drive, wanted: str, log: TaskLog) -> None:
    """Make a disk as large as ``wanted`` (``64G``), or by so much larger (``+4G``). Raise LabError
    if it cannot be.
    """
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
    machine = power.machine_of(lab, vm.vmid)
    if machine is not None and disk.key in {known.key for known in machine.spec.disks}:
        # QEMU itself does it while the guest runs
        machine.resize_disk(disk.key, new)
    else:
        os.truncate(volume.path, new)
        if lab.storage(volume.storage).type == "lvmthin":
            log.line(f"  Logical volume pve/{volume.path.name} successfully resized.")
        else:
            log.line("Image resized.")
    larger = Drive(disk.key, disk.volume, {**disk.properties, "size": format_size(new)})
    save(lab, vm, {**vm.config, disk.key: larger.text()})
