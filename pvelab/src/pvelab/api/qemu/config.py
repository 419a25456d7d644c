"""/nodes/{node}/qemu/{vmid}/config: reading and changing a guest's configuration (qemu-server,
API2/Qemu.pm; pve-facts 8.1).
"""

from __future__ import annotations

from typing import Any

from pvelab.guests import power
from pvelab.guests.config_change import Change
from pvelab.guests.state import typed
from pvelab.kernel import Call, LabError, TaskLog, route

_BASE = "/nodes/{node}/qemu/{vmid}"


@route("GET", _BASE + "/config")
def read(call: Call) -> Any:
    """Return a guest's configuration with the digest of its file."""
    vm = call.lab.guests.need(call.node, call.vmid)
    return {**typed(vm.config), "digest": vm.digest}


@route("GET", _BASE + "/pending")
def pending(call: Call) -> Any:
    """Return every option with its value; nothing is ever pending here."""
    vm = call.lab.guests.need(call.node, call.vmid)
    return [
        {"key": key, "value": value}
        for key, value in {**typed(vm.config), "digest": vm.digest}.items()
    ]


@route("GET", _BASE + "/snapshot")
def snapshots(call: Call) -> Any:
    """Return the guest's snapshots: the lab makes none, so only the present."""
    vm = call.lab.guests.need(call.node, call.vmid)
    running = int(power.machine_of(call.lab, vm.vmid) is not None)
    return [
        {"name": "current", "description": "You are here!", "digest": vm.digest, "running": running}
    ]


@route("PUT", _BASE + "/config")
def update(call: Call) -> Any:
    """Change the configuration at once."""
    Change(call).apply()


@route("POST", _BASE + "/config")
def update_in_task(call: Call) -> Any:
    """Change the configuration in a task; with ``background_delay`` wait for it."""
    change = Change(call)
    change.check(call.lab.guests.need(call.node, call.vmid))
    shown = " ".join(f"-{key} {value}" for key, value in change.given.items())

    def work(log: TaskLog) -> None:
        log.line(f"update VM {call.vmid}: {shown}")
        change.apply()

    upid = call.spawn("qmconfig", call.vmid, work)
    if not call.params.get("background_delay"):
        return upid
    result = call.lab.tasks.wait(upid, float(call.params["background_delay"]))
    if result != "OK":
        raise LabError(500, result)
    return None
