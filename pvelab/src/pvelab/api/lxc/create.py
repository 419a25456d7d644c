"""POST and DELETE of containers: restoring from an archive, destroying (pve-container
PVE/API2/LXC.pm; pve-facts 7.9).
"""

from __future__ import annotations

import re
from typing import Any

from pvelab.containers import destroying, power
from pvelab.containers.access import REQUEST_ONLY, check_options
from pvelab.containers.mounts import MOUNT, NET, mount, with_hwaddr
from pvelab.containers.restore import Request, Restore
from pvelab.guests import volumes
from pvelab.guests.access import backup_volume, check_bridges, check_may_make
from pvelab.guests.state import check_unlocked, save
from pvelab.kernel import Call, LabError, parameter_error, route

_FLOCK_TIMEOUT = 5.0
_NUMBER = re.compile(r"\d+(\.\d+)?")


@route("POST", "/nodes/{node}/lxc")
def create(call: Call) -> Any:
    """Restore a container from an archive. The lab has no templates to create others from."""
    params, vmid = call.params, call.vmid
    check_may_make(call, restored=bool(params.get("restore")))
    # root in a privileged container is root of the node (pve-facts 7.9)
    if params.get("unprivileged") == 0:
        call.check("/", "Sys.Modify")
    options, given = _split(params)
    check_options(call, vmid, {**options, **given}, params.get("pool"))
    check_bridges(call, options)
    if not params.get("restore"):
        raise LabError(500, f"volume '{params['ostemplate']}' does not exist")
    archive = backup_volume(call, params["ostemplate"])
    if not archive.path.is_file():
        raise LabError(500, f"volume '{archive.volid}' does not exist")
    made = [mount(key, value) for key, value in given.items()]
    storages = {item.volume.partition(":")[0] for item in made if item.kind == "volume"}
    for storage in storages if given else {params.get("storage", "local")}:
        if "rootdir" not in volumes.usable(call.lab, call.node, storage).content:
            raise parameter_error(
                storage=f"storage '{storage}' does not support container directories"
            )
        call.check(f"/storage/{storage}", "Datastore.AllocateSpace")
    if not call.lab.quorate():
        raise LabError(500, "cluster not ready - no quorum?")
    # last, so that no refusal before it leaves a guest behind
    _reserve(call)
    request = Request(
        vmid=vmid,
        archive=archive,
        storage=params.get("storage", "local"),
        options=options,
        given=given,
        unique=bool(params.get("unique")),
        bwlimit=params.get("bwlimit", 0),
        start=bool(params.get("start")),
        ignore_errors=bool(params.get("ignore-unpack-errors")),
    )
    return call.spawn("vzrestore", vmid, lambda log: Restore(call, request, log).run())


@route("DELETE", "/nodes/{node}/lxc/{vmid}")
def destroy(call: Call) -> Any:
    """Destroy a container with its volumes, in a task."""
    vm, params = call.lab.guests.need(call.node, call.vmid, "lxc"), call.params
    if vm.config.get("protection") == "1":
        raise LabError(500, f"can't remove CT {vm.vmid} - protection mode enabled")
    if power.running(call.lab, vm.vmid) and not params.get("force"):
        raise LabError(500, f"unable to destroy CT {vm.vmid} - container is running")
    # HA would look for a guest that is gone (pve-facts 8.7)
    if call.lab.ha.knows(vm.vmid) and not params.get("purge"):
        raise LabError(
            500,
            f"unable to remove CT {vm.vmid} - used in HA resources and purge parameter not set.",
        )
    purge, unreferenced = bool(params.get("purge")), bool(params.get("destroy-unreferenced-disks"))
    return call.spawn(
        "vzdestroy",
        vm.vmid,
        lambda log: destroying.destroy(call.lab, call.node, vm.vmid, purge, unreferenced, log),
    )


def _split(params: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """A call's options and its mount points; a bare number is a volume of so many GiB on the call's
    storage.
    """
    chosen = {
        key: str(value)
        for key, value in params.items()
        if key not in REQUEST_ONLY and not key.startswith("unused")
    }
    options = {
        key: with_hwaddr(v) if NET.fullmatch(key) else v
        for key, v in chosen.items()
        if not MOUNT.fullmatch(key)
    }
    storage = params.get("storage", "local")
    given = {
        key: f"{storage}:{v}" if _NUMBER.fullmatch(v) else v
        for key, v in chosen.items()
        if MOUNT.fullmatch(key)
    }
    # mount points that are given replace all of the archive, its root too
    if given and "rootfs" not in given:
        raise LabError(500, "mount points configured, but 'rootfs' not set - aborting\n")
    return options, given


def _reserve(call: Call) -> None:
    """Take the VMID: an empty configuration with ``lock: create``. Raise LabError 500 in PVE's
    words if that is not possible.
    """
    lab, node, vmid = call.lab, call.node, call.vmid
    said = f"unable to restore CT {vmid} -"
    with lab.guests.lock(vmid, _FLOCK_TIMEOUT):
        vm = lab.guests.get(vmid)
        if vm is None:
            lab.guests.create(node, vmid, {"lock": "create"}, "lxc")
            return
        if not call.params.get("force") or vm.node != node or vm.type != "lxc":
            raise LabError(500, f"{said} {vm.word} {vmid} already exists on node '{vm.node}'")
        if vm.config.get("protection") == "1":
            raise LabError(500, f"{said} protection mode enabled")
        if power.running(lab, vmid):
            raise LabError(500, "can't overwrite running container")
        try:
            check_unlocked(vm)
        except LabError as error:
            raise LabError(500, f"{said} {error.reason}") from error
        # the old configuration stays until the archive was read
        save(lab, vm, {**vm.config, "lock": "create"})
