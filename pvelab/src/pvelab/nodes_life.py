"""Death and return of a node: what goes with it, what the others see, what starts when it is back
(pve-facts 1.6, 9.5).
"""

from __future__ import annotations

import time
from functools import partial

from pvelab import seed
from pvelab.containers import power as containers
from pvelab.guests import power
from pvelab.guests.state import save
from pvelab.kernel import Lab, LabError, TaskLog, VmConfig

BOOTED = "status change startup => wait_for_quorum"  # what a node's HA manager begins with
_POLL = 0.2
_MAX_START = 120.0


def kill_node(lab: Lab, name: str) -> None:
    """Cut a node's power: its guests, tasks and SSH endpoint end at once, and its vote is gone.

    Calls that it would answer are 595 from now on. Raise LabError 500 for a node that does not
    exist or is dead already.
    """
    node = lab.node(name)
    if not node.online:
        raise LabError(500, f"node '{name}' is offline already")
    guests = lab.guests.all(name, None)
    node.last_running = {vm.vmid for vm in guests if lab.machine_status(vm.vmid) != "stopped"}
    node.online, node.died, node.last_seen = False, lab.clock.seconds(), lab.now(name)
    lab.tasks.kill(name)
    for vm in guests:
        power.switch_off(lab, vm.vmid)
    _tell(lab, name, alive=False)


def revive_node(lab: Lab, name: str) -> str:
    """Switch a dead node on again and return its ``startall`` task, which starts the guests that
    are still its own.

    Raise LabError 500 for a node that does not exist or runs.
    """
    node = lab.node(name)
    if node.online:
        raise LabError(500, f"node '{name}' is online already")
    node.online, node.died, node.last_seen, node.last_running = True, None, None, set()
    lab.ha_says(name, BOOTED)
    _tell(lab, name, alive=True)
    return lab.tasks.spawn(
        name, "startall", "", "root@pam", lambda log: _start_guests(lab, name, log)
    )


def set_drift(lab: Lab, name: str, seconds: int) -> None:
    """Set how many seconds a node's clock is ahead (negative: behind), now and when the lab is
    started again.

    Raise LabError 500 for a node that does not exist.
    """
    lab.node(name).drift = seconds
    _keep(lab)


def drop_lock(lab: Lab, vm: VmConfig) -> None:
    """Take a guest's lock away."""
    save(lab, vm, {key: value for key, value in vm.config.items() if key != "lock"})


def _tell(lab: Lab, name: str, *, alive: bool) -> None:
    _keep(lab)
    for listener in lab.node_listeners:
        listener(name, alive)


def _keep(lab: Lab) -> None:
    """Note in the lab's definition, where there is one, what a restart has to know of the nodes."""
    definition = seed.read_definition(lab.dir)
    if definition:
        for entry in definition["nodes"]:
            node = lab.nodes[entry["name"]]
            entry |= {"drift": node.drift, "online": node.online}
        seed.write_definition(lab.dir, definition)


def _start_guests(lab: Lab, name: str, log: TaskLog) -> None:
    """What a booting node does: wait for quorum, drop the locks of cut dumps, start what starts
    with it (PVE/API2/Nodes.pm).
    """
    if not lab.quorate():
        log.line("waiting for quorum ...")
        while not lab.quorate():
            log.check_cancelled()
            time.sleep(_POLL)
        log.line("got quorum")
    for vm in lab.guests.all(name, None):
        # a dump that was cut off leaves its lock (pve-facts 3.4)
        if vm.config.get("lock") == "backup":
            drop_lock(lab, vm)
        # the HA manager starts its own
        if (
            vm.config.get("onboot") == "1"
            and not lab.ha.manages(vm.vmid)
            and not power.machine_of(lab, vm.vmid)
        ):
            log.check_cancelled()
            log.line(f"Starting {vm.word} {vm.vmid}")
            kind, begin = "qmstart", power.start
            if vm.type == "lxc":
                kind, begin = "vzstart", containers.start
            upid = lab.tasks.spawn(
                vm.node, kind, str(vm.vmid), "root@pam", partial(begin, lab, vm.node, vm.vmid)
            )
            status = lab.tasks.wait(upid, _MAX_START)
            if status != "OK":
                log.line(f"Starting {vm.word} {vm.vmid} failed: {status}")
