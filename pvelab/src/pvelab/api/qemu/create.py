"""POST and DELETE of guests: restoring from an archive, creating empty ones, destroying
(qemu-server PVE/API2/Qemu.pm).
"""

from __future__ import annotations

from typing import Any

from pvelab.guests import creating, destroying
from pvelab.guests.access import (
    REQUEST_ONLY,
    backup_volume,
    check_bridges,
    check_may_make,
    check_options,
    check_root_parameter,
)
from pvelab.guests.devices import DRIVE, NET, with_mac
from pvelab.guests.restore import Request, Restore
from pvelab.guests.state import check_unlocked, lock_timeout_s, save
from pvelab.kernel import Call, LabError, parameter_error, route

_FLOCK_TIMEOUT = 5.0


@route("POST", "/nodes/{node}/qemu")
def create(call: Call) -> Any:
    """Restore a guest from an archive, or create an empty one; the configuration is reserved before
    the task starts.
    """
    params = call.params
    for key in params:
        # its drives come from the archive alone (pve-facts 7.1)
        if params.get("archive") and DRIVE.fullmatch(key):
            raise parameter_error(**{key: "option conflicts with option 'archive'"})
    check_may_make(call, restored=bool(params.get("archive")))
    if params.get("storage"):  # there or not: who has no right learns nothing (10_permissions 260)
        call.check(f"/storage/{params['storage']}", "Datastore.AllocateSpace")
    # the start is a task of its own: who lacks this would learn it nowhere (pve-facts 7.7)
    if params.get("start"):
        call.check(f"/vms/{call.vmid}", "VM.PowerMgmt")
    if not call.lab.quorate():
        raise LabError(500, "cluster not ready - no quorum?")
    overrides = {
        key: with_mac(str(value)) if NET.fullmatch(key) else str(value)
        for key, value in params.items()
        if key not in REQUEST_ONLY
    }
    archive = backup_volume(call, params["archive"]) if params.get("archive") else None
    if archive and not archive.path.is_file():
        raise LabError(500, f"volume '{archive.volid}' does not exist")
    check_options(call, call.vmid, overrides, params.get("pool"))
    check_bridges(call, overrides)
    if archive is None:
        # an empty guest overwrites nothing, whatever `force` says
        _reserve(call, "create", existing=False)
        return call.spawn("qmcreate", call.vmid, lambda log: creating.create(call, overrides, log))
    _reserve(call, "restore", existing=bool(params.get("force")))
    request = Request(
        vmid=call.vmid,
        archive=archive,
        storage=params.get("storage"),
        overrides=overrides,
        unique=bool(params.get("unique")),
        force=bool(params.get("force")),
        bwlimit=params.get("bwlimit", 0),
        start=bool(params.get("start")),
        live=bool(params.get("live-restore")),
        pool=params.get("pool"),
    )
    return call.spawn("qmrestore", call.vmid, lambda log: Restore(call, request, log).run())


@route("DELETE", "/nodes/{node}/qemu/{vmid}")
def destroy(call: Call) -> Any:
    """Destroy a guest with its disks, in a task."""
    check_root_parameter(call, "skiplock")
    lab, node, vmid, params = call.lab, call.node, call.vmid, call.params
    vm = lab.guests.need(node, vmid)
    destroying.check_removable(lab, vm, purge=bool(params.get("purge")))
    work = destroying.Destruction(
        lab, node, vmid, bool(params.get("purge")), bool(params.get("destroy-unreferenced-disks"))
    )
    return call.spawn(
        "qmdestroy", vmid, lambda log: work.run(log, skiplock=bool(params.get("skiplock")))
    )


def _reserve(call: Call, verb: str, *, existing: bool) -> None:
    """Take the VMID: an empty configuration with ``lock: create``. Raise LabError 500 in PVE's
    words if that is not possible.
    """
    lab, node, vmid = call.lab, call.node, call.vmid
    try:
        # nextid reserves nothing: two callers may want one VMID (pve-facts 8.3)
        with lab.guests.lock(vmid, lock_timeout_s(lab, _FLOCK_TIMEOUT)):
            vm = lab.guests.get(vmid)
            if vm is None:
                lab.guests.create(node, vmid, {"lock": "create"})
                return
            if not existing or vm.node != node or vm.type != "qemu":
                raise LabError(500, f"{vm.word} {vmid} already exists on node '{vm.node}'")
            check_unlocked(vm)
            save(lab, vm, {**vm.config, "lock": "create"})
    except LabError as error:
        raise LabError(
            500,
            f"unable to {verb} VM {vmid} - "
            f"{error.reason.removeprefix(f'unable to create VM {vmid} - ')}",
        ) from error
