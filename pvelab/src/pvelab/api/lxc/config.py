"""/nodes/{node}/lxc/{vmid}/config: reading and changing a container's configuration (pve-container
PVE/API2/LXC/Config.pm).

Changes take effect at once: nothing runs that would have to be told.
"""

from __future__ import annotations

from typing import Any

from pvelab.containers import power
from pvelab.containers.access import REQUEST_ONLY, check_options
from pvelab.containers.mounts import MOUNT, NET, Mount, mount, with_hwaddr
from pvelab.containers.trees import make_tree
from pvelab.guests.access import check_bridges
from pvelab.guests.devices import format_size
from pvelab.guests.state import check_unlocked, save, typed
from pvelab.guests.vzdump_options import split_list
from pvelab.kernel import Call, LabError, VmConfig, parameter_error, route
from pvelab.schema.endpoints import api
from pvelab.schema.validate import property_schema

_GIB = 1024**3


@route("GET", "/nodes/{node}/lxc/{vmid}/config")
def read(call: Call) -> Any:
    """Return a container's configuration with the digest of its file."""
    vm = call.lab.guests.need(call.node, call.vmid, "lxc")
    return {**typed(vm.config, "lxc"), "digest": vm.digest}


@route("PUT", "/nodes/{node}/lxc/{vmid}/config")
def update(call: Call) -> Any:
    """Change the configuration."""
    given = {key: str(value) for key, value in call.params.items() if key not in REQUEST_ONLY}
    deleted = split_list(str(call.params.get("delete", "")))
    with call.lab.guests.lock(call.vmid):
        vm = call.lab.guests.need(call.node, call.vmid, "lxc")
        _check(call, vm, given, deleted)
        config = dict(vm.config)
        for key in deleted:
            old = config.pop(key, None)
            # a volume is not lost but becomes an unused one
            if old and MOUNT.fullmatch(key) and mount(key, old).kind == "volume":
                number = next(n for n in range(len(config) + 1) if f"unused{n}" not in config)
                config[f"unused{number}"] = mount(key, old).volume
        for key, value in given.items():
            config[key] = with_hwaddr(value) if NET.fullmatch(key) else value
            if MOUNT.fullmatch(key):
                wanted = mount(key, value)
                storage, _, size = wanted.volume.partition(":")
                # ``storage:4`` asks for a new volume of 4 GiB
                if wanted.kind == "volume" and size.replace(".", "", 1).isdigit():
                    tree = make_tree(call.lab, vm.node, storage, vm.vmid, int(float(size) * _GIB))
                    properties = {**wanted.properties, "size": format_size(tree.size)}
                    config[key] = Mount(key, tree.volume.volid, properties).text()
        save(call.lab, vm, config)


def _check(call: Call, vm: VmConfig, given: dict[str, str], deleted: list[str]) -> None:
    """Raise LabError in PVE's words unless the caller may make this change to this container as it
    is now.
    """
    if not given and not deleted and not call.params.get("revert"):
        raise LabError(500, "no options specified")
    found = api().find("POST", "/nodes/x/lxc")
    for key in deleted:
        if key in given:
            raise parameter_error(
                delete=f"you can't use '-{key}' and -delete {key}' at the same time"
            )
        if (
            found is None
            or key in REQUEST_ONLY
            or property_schema(found[0].parameters, key) is None
        ):
            raise parameter_error(delete=f"unknown option '{key}'")
        if key == "rootfs":
            raise parameter_error(delete="unable to delete required option 'rootfs'")
    check_options(call, vm.vmid, {**given, **dict.fromkeys(deleted, "")})
    check_bridges(call, given)
    if "unprivileged" in given and given["unprivileged"] != vm.config.get("unprivileged", "0"):
        raise LabError(500, "unable to modify read-only option: 'unprivileged'")
    # a change that was made on an older reading is refused (pve-facts 8.1)
    if call.params.get("digest") not in (None, vm.digest):
        raise LabError(
            500, "detected modified configuration - file changed by other user? Try again."
        )
    check_unlocked(vm)
    if power.running(call.lab, vm.vmid) and "template" in given:
        raise LabError(500, "you can't convert a CT to template if the CT is running")
