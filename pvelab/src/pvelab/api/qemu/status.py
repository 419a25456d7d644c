"""/nodes/{node}/qemu: listing guests, their state, switching them on and off (qemu-server
PVE/API2/Qemu.pm; pve-facts 8.2).
"""

from __future__ import annotations

from typing import Any

from pvelab import figures
from pvelab.guests import ha_requests, live_figures, power
from pvelab.guests.access import check_root_parameter
from pvelab.guests.devices import agent_enabled
from pvelab.kernel import Call, Lab, LabError, TaskLog, VmConfig, route

_INDEX = (
    "config pending unlink vncproxy termproxy migrate resize move rrd rrddata monitor agent "
    "snapshot spiceproxy sendkey firewall mtunnel remote_migrate status"
)
_STATUS_INDEX = "current start stop reset shutdown suspend reboot"
_SERIAL_PORTS = 4


@route("GET", "/nodes/{node}/qemu")
def guests(call: Call) -> Any:
    """List a node's guests that the caller may see."""
    # what may not be seen is left out in silence (pve-facts 11.2)
    return [
        _status(call.lab, vm)
        for vm in call.lab.guests.all(call.node)
        if call.allowed(f"/vms/{vm.vmid}", "VM.Audit")
    ]


@route("GET", "/nodes/{node}/qemu/{vmid}")
def index(call: Call) -> Any:
    """Return the directory of a guest's calls."""
    return [{"subdir": name} for name in _INDEX.split()]


@route("GET", "/nodes/{node}/qemu/{vmid}/status")
def status_index(call: Call) -> Any:
    """Return the directory of a guest's states."""
    return [{"subdir": name} for name in _STATUS_INDEX.split()]


@route("GET", "/nodes/{node}/qemu/{vmid}/status/current")
def current(call: Call) -> Any:
    """Return a guest's state."""
    vm = call.lab.guests.need(call.node, call.vmid)
    managed = call.lab.ha.manages(vm.vmid)
    ha: dict[str, Any] = {"managed": int(managed)}
    if managed:
        ha |= {"state": figures.ha_state(call.lab, vm)}
    row = _status(call.lab, vm) | {"ha": ha}
    machine = power.machine_of(call.lab, vm.vmid)
    row["qmpstatus"] = machine.run_state() if machine else "stopped"
    if machine:
        release = call.lab.release
        row |= live_figures.current(vm, machine) | {
            "running-qemu": release.qemu,
            "running-machine": release.machine,
        }
        row |= {"diskread": 0, "diskwrite": 0}
    if agent_enabled(vm.config):
        row["agent"] = 1
    return row


@route("POST", "/nodes/{node}/qemu/{vmid}/status/start")
def start(call: Call) -> Any:
    """Start a guest in a task; one that HA manages is only asked for."""
    check_root_parameter(call, "skiplock", "stateuri", "migratedfrom")
    lab, node, vmid = call.lab, call.node, call.vmid
    # such a task ends once the wish is noted; the guest follows in the HA manager's next round
    # (pve-facts 8.2)
    if lab.ha.manages(vmid):
        return call.spawn(
            "hastart", vmid, lambda log: ha_requests.request(lab, node, vmid, "started", log)
        )
    return call.spawn("qmstart", vmid, lambda log: power.start(lab, node, vmid, log))


@route("POST", "/nodes/{node}/qemu/{vmid}/status/stop")
def stop(call: Call) -> Any:
    """Switch a guest off in a task; one that HA manages is only asked for."""
    check_root_parameter(call, "skiplock", "migratedfrom")
    lab, node, vmid = call.lab, call.node, call.vmid
    if lab.ha.manages(vmid):
        return call.spawn(
            "hastop", vmid, lambda log: ha_requests.request(lab, node, vmid, "stopped", log)
        )
    return call.spawn("qmstop", vmid, lambda log: power.stop(lab, node, vmid, log))


@route("POST", "/nodes/{node}/qemu/{vmid}/status/shutdown")
def shutdown(call: Call) -> Any:
    """Ask a guest to shut down, in a task. Raise LabError 500 for a paused one."""
    check_root_parameter(call, "skiplock")
    lab, node, vmid, params = call.lab, call.node, call.vmid, call.params
    if lab.machine_status(vmid) == "paused":
        raise LabError(500, "VM is paused - cannot shutdown")
    if lab.ha.manages(vmid):
        return call.spawn(
            "hastop", vmid, lambda log: ha_requests.request(lab, node, vmid, "stopped", log)
        )
    force = bool(params.get("forceStop"))
    return call.spawn(
        "qmshutdown",
        vmid,
        lambda log: power.shutdown(
            lab, node, vmid, log, timeout=params.get("timeout"), force=force
        ),
    )


@route("POST", "/nodes/{node}/qemu/{vmid}/status/reset")
def reset(call: Call) -> Any:
    """Press a guest's reset button."""
    vm = call.lab.guests.need(call.node, call.vmid)
    machine = power.machine_of(call.lab, vm.vmid)
    if machine is None:
        raise LabError(500, f"VM {vm.vmid} not running")
    return call.spawn("qmreset", vm.vmid, lambda log: machine.reset())


@route("POST", "/nodes/{node}/qemu/{vmid}/status/reboot")
def reboot(call: Call) -> Any:
    """Shut a guest down and start it again, in a task."""
    lab, node, vmid, timeout = call.lab, call.node, call.vmid, call.params.get("timeout")
    vm = lab.guests.need(node, vmid)
    if power.machine_of(lab, vmid) is None:
        raise LabError(500, f"VM {vmid} not running")

    def work(log: TaskLog) -> None:
        power.shutdown(lab, node, vmid, log, timeout=timeout)
        power.start_machine(lab, vm)

    return call.spawn("qmreboot", vmid, work)


def _status(lab: Lab, vm: VmConfig) -> dict[str, Any]:
    machine, config = power.machine_of(lab, vm.vmid), vm.config
    row: dict[str, Any] = {
        "vmid": vm.vmid,
        "name": config.get("name", f"VM {vm.vmid}"),
        "status": "running" if machine else "stopped",
        "cpu": figures.cpu(machine),
        "cpus": figures.cpus(config),
        "mem": 0,
        "memhost": 0,
        "maxmem": figures.memory(config),
        "disk": 0,
        "maxdisk": figures.boot_disk_size(config),
        "uptime": 0,
        "netin": 0,
        "netout": 0,
        "diskread": None,
        "diskwrite": None,
    }
    row |= {key: config[key] for key in ("tags", "lock") if config.get(key)}
    if config.get("template") == "1":
        row["template"] = 1
    if any(f"serial{number}" in config for number in range(_SERIAL_PORTS)):
        row["serial"] = 1
    if machine is None:
        return row
    return row | {
        "uptime": max(1, int(machine.uptime())),
        "pid": machine.pid,
        "mem": figures.memory(config) // 2,
        **live_figures.listed(),
    }
