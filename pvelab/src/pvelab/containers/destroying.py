"""What vzdestroy does: volumes first, then what refers to the container, then the container."""

from __future__ import annotations

from pvelab.containers import power, trees
from pvelab.containers.mounts import mounts
from pvelab.guests import volumes
from pvelab.guests.state import check_unlocked, need, task_lock
from pvelab.kernel import Lab, TaskLog


def destroy(lab: Lab, node: str, vmid: int, purge: bool, unreferenced: bool, log: TaskLog) -> None:
    """Destroy a container. ``purge``: jobs and HA forget it; ``unreferenced``: also volumes that no
    configuration names go.

    Raise LabError if it is locked.
    """
    with task_lock(lab, vmid, log):
        vm = need(lab, node, vmid, "lxc")
        check_unlocked(vm)
        if power.running(lab, vmid):
            log.line("forced to stop CT before destroying!")
            power.switch_off(lab, vmid)
        named = [item.volume for item in mounts(vm.config) if item.kind == "volume"]
        named += [
            value.split(",")[0] for key, value in vm.config.items() if key.startswith("unused")
        ]
        found = {volid: trees.open_tree(lab, node, volid) for volid in named}
        # what no configuration names stays unless asked for (pve-facts 8.4)
        for name, storage in lab.storages.items() if unreferenced else ():
            if "rootdir" in storage.content and volumes.is_available(lab, node, name):
                own = (tree for tree in trees.trees(lab, node, name) if tree.volume.owner == vmid)
                found.update({tree.volume.volid: tree for tree in own})
        for tree in found.values():
            log.line(trees.free(lab, tree))
        if purge:
            log.line(f"purging CT {vmid} from related configurations..")
            lab.jobs.forget_guest(vmid)
            lab.ha.forget(f"ct:{vmid}")
        lab.access.forget_guest(vmid)
        lab.guests.remove(vmid)
