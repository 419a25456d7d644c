"""What qmdestroy does: disks, related configurations, then the guest itself."""

from __future__ import annotations

from pvelab.guests import power, volumes
from pvelab.guests.devices import disks
from pvelab.guests.state import check_unlocked, need, task_lock
from pvelab.kernel import Lab, LabError, TaskLog, VmConfig


def check_removable(lab: Lab, vm: VmConfig, *, purge: bool) -> None:
    """Raise LabError in PVE's words if a guest cannot be destroyed as it is now."""
    if power.machine_of(lab, vm.vmid):
        raise LabError(500, f"VM {vm.vmid} is running - destroy failed")
    if vm.config.get("protection") == "1":
        raise LabError(500, f"can't remove VM {vm.vmid} - protection mode enabled")
    if lab.ha.knows(vm.vmid) and not purge:
        raise LabError(
            500,
            f"unable to remove VM {vm.vmid} - used in HA resources and purge parameter not set.",
        )


class Destruction:
    """The end of one guest. ``purge``: jobs and HA forget it; ``unreferenced``: also disks that no
    configuration names go.
    """

    def __init__(self, lab: Lab, node: str, vmid: int, purge: bool, unreferenced: bool) -> None:
        self.lab, self.node, self.vmid, self.purge, self.unreferenced = (
            lab,
            node,
            vmid,
            purge,
            unreferenced,
        )

    def run(self, log: TaskLog, *, skiplock: bool) -> None:
        """Destroy it. Raise LabError in PVE's words if it cannot be."""
        with task_lock(self.lab, self.vmid, log):
            vm = need(self.lab, self.node, self.vmid)
            if not skiplock:
                check_unlocked(vm)
            check_removable(self.lab, vm, purge=True)
            named = [drive.volume for drive in disks(vm.config)]
            named += [v.split(",")[0] for k, v in vm.config.items() if k.startswith("unused")]
            found = {volid: volumes.find(self.lab, self.node, volid) for volid in named}
            # what no configuration names stays unless asked for (pve-facts 8.4)
            for name, storage in self.lab.storages.items() if self.unreferenced else ():
                if "images" in storage.content and volumes.is_available(self.lab, self.node, name):
                    for volume in volumes.images(self.lab, self.node, name):
                        if volume.owner == self.vmid:
                            found[volume.volid] = volume
            for volume in found.values():
                if not volume.path.exists():
                    log.line(f"disk image '{volume.path}' does not exist")
                volumes.free(volume)
                if self.lab.storage(volume.storage).type == "lvmthin":
                    log.line(f'  Logical volume "{volume.path.name}" successfully removed.')
            if self.purge:
                log.line(f"purging VM {self.vmid} from related configurations..")
                self.lab.jobs.forget_guest(self.vmid)
                self.lab.ha.forget(f"vm:{self.vmid}")
            self.lab.access.forget_guest(self.vmid)
            power.switch_off(self.lab, self.vmid)
            self.lab.guests.remove(self.vmid)
