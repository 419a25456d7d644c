"""Who may set which option of a container (pve-container PVE/LXC.pm check_ct_modify_config_perm;
pve-facts 7.9).
"""

from __future__ import annotations

from collections.abc import Mapping

from pvelab.containers.mounts import MOUNT, NET, mount
from pvelab.kernel import Call, LabError

# what PVE's API knows besides the options of a configuration
REQUEST_ONLY = frozenset(
    {
        "node",
        "vmid",
        "ostemplate",
        "restore",
        "storage",
        "force",
        "unique",
        "pool",
        "bwlimit",
        "start",
        "ha-managed",
    }
    | {"ignore-unpack-errors", "password", "ssh-public-keys", "delete", "revert", "digest"}
)
_BY_PRIVILEGE = {
    "VM.Config.CPU": "cores cpulimit cpuunits",
    "VM.Config.Memory": "memory swap",
    "VM.Config.Network": "hostname nameserver searchdomain",
}
_GROUPS = {
    option: privilege for privilege, options in _BY_PRIVILEGE.items() for option in options.split()
}


def check_options(
    call: Call, vmid: int, options: Mapping[str, str], pool: str | None = None
) -> None:
    """Raise LabError unless the caller may set (or, with an empty text, delete) these options of a
    container.
    """
    if call.is_root_ticket:
        return
    for key in sorted(options):
        value = options[key]
        if key in ("hookscript", "lock", "env", "entrypoint") or key.startswith(("dev", "lxc")):
            raise LabError(
                403, f"Permission check failed (changing {key} is only allowed for root@pam)"
            )
        if key == "features" and value.replace("nesting=1", "").replace("nesting=0", ""):
            raise LabError(
                403,
                "Permission check failed (changing feature flags (except nesting) is only allowed "
                "for root@pam)",
            )
        if MOUNT.fullmatch(key) and value and mount(key, value).kind != "volume":
            raise LabError(
                403,
                f"Permission check failed (mount point type {mount(key, value).kind} is only "
                "allowed for root@pam)",
            )
        if pool is None or not call.allowed(f"/pool/{pool}", _privilege(key)):
            call.check(f"/vms/{vmid}", _privilege(key))
        if key == "startup":
            call.check("/", "Sys.Modify")


def _privilege(key: str) -> str:
    if MOUNT.fullmatch(key) or key.startswith("unused"):
        return "VM.Config.Disk"
    if NET.fullmatch(key):
        return "VM.Config.Network"
    return _GROUPS.get(key, "VM.Config.Options")
