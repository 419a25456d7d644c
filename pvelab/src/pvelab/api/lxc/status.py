"""/nodes/{node}/lxc: listing containers, their state, switching them on and off (pve-container
PVE/API2/LXC{,/Status}.pm).
"""

from __future__ import annotations

from typing import Any

from pvelab import figures
from pvelab.containers import power
from pvelab.containers.mounts import mount, net
from pvelab.containers.trees import open_tree
from pvelab.guests.access import check_root_parameter
from pvelab.guests.power import machine_of
from pvelab.kernel import Call, Lab, LabError, VmConfig, route

_MIB = 1024 * 1024


@route("GET", "/nodes/{node}/lxc")
def containers(call: Call) -> Any:
    """List a node's containers that the caller may see."""
    # what may not be seen is left out in silence (pve-facts 11.2)
    seen = (
        vm
        for vm in call.lab.guests.all(call.node, "lxc")
        if call.allowed(f"/vms/{vm.vmid}", "VM.Audit")
    )
    return [_status(call.lab, vm) for vm in seen]


@route("GET", "/nodes/{node}/lxc/{vmid}/status/current")
def current(call: Call) -> Any:
    """Return a container's state."""
    vm = call.lab.guests.need(call.node, call.vmid, "lxc")
    managed = call.lab.ha.manages(vm.vmid)
    state = {"state": figures.ha_state(call.lab, vm)} if managed else {}
    return _status(call.lab, vm) | {"ha": {"managed": int(managed), **state}}


@route("GET", "/nodes/{node}/lxc/{vmid}/interfaces")
def interfaces(call: Call) -> Any:
    """Return the NICs that a running container would have; nothing runs, so none has an address."""
    vm = call.lab.guests.need(call.node, call.vmid, "lxc")
    if not power.running(call.lab, vm.vmid):
        return []
    nics = [net(value) for key, value in sorted(vm.config.items()) if key.startswith("net")]
    return [{"name": nic.get("name", ""), "hwaddr": nic.get("hwaddr", "").lower()} for nic in nics]


@route("POST", "/nodes/{node}/lxc/{vmid}/status/start")
def start(call: Call) -> Any:
    """Start a container in a task."""
    check_root_parameter(call, "skiplock")
    lab, node, vmid = call.lab, call.node, call.vmid
    lab.guests.need(node, vmid, "lxc")
    if power.running(lab, vmid):
        raise LabError(500, f"CT {vmid} already running")
    # such a task ends once the wish is noted; the guest follows in the HA manager's next round
    # (pve-facts 8.2)
    if lab.ha.manages(vmid):
        return call.spawn("hastart", vmid, lambda log: power.request_ha(lab, vmid, "started", log))
    return call.spawn("vzstart", vmid, lambda log: power.start(lab, node, vmid, log))


@route("POST", "/nodes/{node}/lxc/{vmid}/status/stop")
def stop(call: Call) -> Any:
    """Switch a container off in a task."""
    check_root_parameter(call, "skiplock")
    return _off(call, "vzstop")


@route("POST", "/nodes/{node}/lxc/{vmid}/status/shutdown")
def shutdown(call: Call) -> Any:
    """Ask a container to shut down, in a task."""
    return _off(call, "vzshutdown")


def _off(call: Call, task: str) -> str:
    lab, node, vmid = call.lab, call.node, call.vmid
    lab.guests.need(node, vmid, "lxc")
    if not power.running(lab, vmid):
        raise LabError(500, f"CT {vmid} not running")
    if lab.ha.manages(vmid):
        return call.spawn("hastop", vmid, lambda log: power.request_ha(lab, vmid, "stopped", log))
    return call.spawn(task, vmid, lambda log: power.stop(lab, node, vmid, log))


def _status(lab: Lab, vm: VmConfig) -> dict[str, Any]:
    machine, config = machine_of(lab, vm.vmid), vm.config
    row: dict[str, Any] = {
        "vmid": vm.vmid,
        "name": figures.name(vm),
        "type": "lxc",
        "status": "running" if machine else "stopped",
        "cpus": figures.cpus(config),
        "maxmem": figures.memory(config),
        "maxswap": int(config.get("swap", "512")) * _MIB,
        "maxdisk": figures.disk_size(config.get("rootfs", "")),
        "uptime": 0,
    }
    row |= dict.fromkeys(
        ("cpu", "mem", "swap", "disk", "netin", "netout", "diskread", "diskwrite"), 0
    )
    row |= {key: config[key] for key in ("tags", "lock") if config.get(key)}
    if config.get("template") == "1":
        row["template"] = 1
    if machine is None:
        return row
    root = open_tree(lab, vm.node, mount("rootfs", config["rootfs"]).volume)
    return row | {"uptime": max(1, int(machine.uptime())), "pid": machine.pid, "disk": root.used()}
