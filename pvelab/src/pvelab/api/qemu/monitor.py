"""/nodes/{node}/qemu/{vmid}/monitor: what QEMU's human monitor tells (qemu-server PVE/API2/Qemu.pm;
05_restore_ok 151-157).

Only ``info`` is served. The others act on the host that QEMU runs on, which is no node here; they
are refused in PVE's words, or as missing to root@pam with a ticket, to whom alone PVE would give
them.
"""

from __future__ import annotations

from typing import Any

from pvelab.guests import power
from pvelab.kernel import Call, LabError, route
from pvelab.vmm.machine import QemuError

# seen to be reserved; of other commands PVE says that they may not exist
_ROOT_ONLY = ("screendump",)


@route("POST", "/nodes/{node}/qemu/{vmid}/monitor")
def monitor(call: Call) -> Any:
    """Return what the monitor answers to a command. Raise LabError 500 for one that the caller may
    not use.
    """
    command = str(call.params["command"]).strip()
    name = command.split(" ")[0]
    machine: Any = power.machine_of(call.lab, call.lab.guests.need(call.node, call.vmid).vmid)
    if name != "info" and not call.is_root_ticket:
        if name in _ROOT_ONLY:
            raise LabError(500, f"root-only command '{name}'")
        unknown = "non-existent or not assigned a required permission yet, limiting to root user"
        raise LabError(500, f"command '{name}' {unknown}")
    if name != "info":
        raise LabError(501, "of QEMU's monitor the lab serves `info` only")
    if machine is None:
        raise LabError(500, f"VM {call.vmid} not running")
    try:
        return machine.qmp("human-monitor-command", command_line=command)
    except QemuError as error:
        raise LabError(500, str(error)) from error
