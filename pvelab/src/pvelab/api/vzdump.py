"""/nodes/{node}/vzdump: backup jobs, their defaults, and the configuration inside an archive
(pve-manager PVE/API2/VZDump.pm).
"""

from __future__ import annotations

from typing import Any

from pvelab.guests import volumes
from pvelab.guests.access import backup_volume
from pvelab.guests.archive_config import extract_config
from pvelab.guests.vzdump_job import VzdumpJob
from pvelab.guests.vzdump_options import DEFAULT_STORAGE, check, defaults, options, split_list
from pvelab.kernel import Call, LabError, route


@route("POST", "/nodes/{node}/vzdump")
def vzdump(call: Call) -> Any:
    """Start a job and return its task; ``OK`` when no guest of it lives on this node (pve-facts
    3.1).
    """
    check(call)
    params, guests = call.params, call.lab.guests
    # this node takes care of its own guests, and of those that exist nowhere, so that they fail
    # visibly
    if params.get("vmid"):
        asked = {int(vmid) for vmid in split_list(params["vmid"]) if vmid}
        vmids = tuple(
            sorted(v for v in asked if (vm := guests.get(v)) is None or vm.node == call.node)
        )
    else:
        left_out = {int(vmid) for vmid in split_list(params.get("exclude", "")) if vmid}
        own = [vm.vmid for vm in guests.all(call.node, None) if vm.vmid not in left_out]
        # with all=1, guests that one may not back up are skipped in silence
        vmids = tuple(vmid for vmid in own if call.allowed(f"/vms/{vmid}", "VM.Backup"))
    if not vmids and not (params.get("all") or params.get("exclude")):
        return "OK"
    chosen = options(call, vmids)
    return call.spawn(
        "vzdump",
        vmids[0] if len(vmids) == 1 else "",
        lambda log: VzdumpJob(call, chosen, log).run(),
    )


@route("GET", "/nodes/{node}/vzdump/defaults")
def vzdump_defaults(call: Call) -> Any:
    """Return the options that hold when a call does not give them."""
    storage = call.params.get("storage", DEFAULT_STORAGE)
    call.check(f"/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace", any=True)
    volumes.usable(call.lab, call.node, storage)
    return defaults(call, storage)


@route("GET", "/nodes/{node}/vzdump/extractconfig")
def extractconfig(call: Call) -> Any:
    """Return the raw configuration inside an archive."""
    volume = backup_volume(call, call.params["volume"])
    if not volume.path.is_file():
        raise LabError(500, f"volume '{volume.volid}' does not exist")
    return extract_config(volume.path)
