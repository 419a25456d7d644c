"""What qmcreate does: a guest's disks, and a configuration of its own."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

from pvelab.guests import volumes
from pvelab.guests.devices import DRIVE, NET, Drive, disks, drive, format_size
from pvelab.guests.state import need, save, task_lock
from pvelab.kernel import Call, Lab, LabError, TaskLog, VmConfig

_NEW_DISK = re.compile(r"([^:]+):(\d+(?:\.\d+)?)")


def create(call: Call, given: Mapping[str, str], log: TaskLog) -> None:
    """Given the options of a call, make the disks and the configuration of the VMID that it has
    reserved.

    Raise LabError if a disk cannot be made; nothing is left then.
    """
    lab, node, vmid = call.lab, call.node, call.vmid
    with task_lock(lab, vmid, log):
        vm = need(lab, node, vmid)
        made: list[volumes.Volume] = []
        try:
            config = {key: new_disk(lab, vm, key, value, made, log) for key, value in given.items()}
        except LabError:
            for volume in made:
                volumes.free(volume)
            lab.guests.remove(vmid)
            raise
        bootable = [drive.key for drive in disks(config)][:1]
        bootable += sorted(key for key in config if NET.fullmatch(key))
        own = {
            # PVE writes a blank when there is nothing to boot from (01b_encoding 5)
            "boot": f"order={';'.join(bootable)}" if bootable else " ",
            "vmgenid": str(uuid.uuid4()),
            "smbios1": f"uuid={uuid.uuid4()}",
            "meta": f"creation-qemu=10.0.2,ctime={lab.now(node)}",
        }
        save(lab, vm, own | config)
        if call.params.get("pool"):
            lab.access.join_pool(call.params["pool"], vmid)


def new_disk(
    lab: Lab,
    vm: VmConfig,
    key: str,
    value: str,
    made: list[volumes.Volume],
    log: TaskLog | None = None,
) -> str:
    """Given an option, return what the configuration will say: ``storage:32`` makes a new disk of
    32 GiB, noted in ``made``.
    """
    if not DRIVE.fullmatch(key):
        return value
    wanted = drive(key, value)
    found = _NEW_DISK.fullmatch(wanted.volume)
    if found is None:
        return value
    size = int(float(found[2]) * 1024**3)
    volume = volumes.allocate(lab, vm.node, found[1], vm.vmid, size)
    made.append(volume)
    if log:
        if lab.storage(found[1]).type == "dir":
            log.line(f"Formatting '{volume.path}', fmt=raw size={size} preallocation=off")
        log.line(f"{key}: successfully created disk '{volume.volid},size={format_size(size)}'")
    return Drive(key, volume.volid, {**wanted.properties, "size": format_size(size)}).text()
