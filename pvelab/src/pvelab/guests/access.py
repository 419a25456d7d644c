"""Who may use which volume, bridge and option, in PVE's words (pve-facts 7.3, 11.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pvelab.guests import volumes
from pvelab.guests.devices import net
from pvelab.guests.names import split_volid
from pvelab.guests.volumes import Volume
from pvelab.kernel import Call, LabError, parameter_error

_BY_PRIVILEGE = {
    "VM.Config.CPU": "cores cpu cpulimit cpuunits numa sockets vcpus affinity",
    "VM.Config.Memory": "memory balloon shares allow-ksm",
    "VM.Config.HWType": "acpi hotplug kvm machine scsihw smbios1 tablet vga watchdog audio0 rng0 "
    "vmgenid",
    "VM.Config.Options": "agent autostart bios description keyboard localtime migrate_downtime "
    "migrate_speed name onboot ostype"
    " protection reboot startdate startup tdf template tags",
    "VM.PowerMgmt": "freeze",
    "VM.Config.Disk": "boot bootdisk vmstatestorage",
    "cloud": "cicustom cipassword citype ciuser ciupgrade nameserver searchdomain sshkeys",
}
_GROUPS = {
    option: privilege for privilege, options in _BY_PRIVILEGE.items() for option in options.split()
}
_NUMBERED = (
    (re.compile(r"net\d+"), "VM.Config.Network"),
    (re.compile(r"ipconfig\d+"), "cloud"),
    (re.compile(r"(?:ide|sata|scsi|virtio|unused)\d+|efidisk0|tpmstate0"), "VM.Config.Disk"),
    (re.compile(r"(?:serial|usb|parallel|hostpci|numa)\d+"), "VM.Config.HWType"),
)
# what PVE's API knows besides the options of a configuration
REQUEST_ONLY = frozenset(
    {
        "node",
        "vmid",
        "archive",
        "storage",
        "force",
        "unique",
        "pool",
        "bwlimit",
        "start",
        "live-restore",
        "ha-managed",
    }
    | {"delete", "revert", "digest", "skiplock", "background_delay", "import-working-storage"}
)


def check_volume(call: Call, volume: Volume) -> None:
    """Raise LabError unless the caller may use a volume (PVE/Storage.pm, check_volume_access).

    A backup needs space on its storage and VM.Backup on its owner, a disk Datastore.Audit and
    VM.Config.Disk on its owner.
    """
    path = f"/storage/{volume.storage}"
    if call.allowed(path, "Datastore.Allocate"):
        return
    if volume.content == "backup" and volume.owner is not None:
        call.check(path, "Datastore.AllocateSpace")
        call.check(f"/vms/{volume.owner}", "VM.Backup")
    elif volume.content in ("iso", "vztmpl", "snippets"):
        call.check(path, "Datastore.Audit", "Datastore.AllocateSpace", any=True)
    elif volume.owner is not None:
        call.check(path, "Datastore.Audit")
        call.check(f"/vms/{volume.owner}", "VM.Config.Disk")
    else:
        raise LabError(500, f"missing privileges to access {volume.volid}")


def sees_volume(call: Call, volume: Volume) -> bool:
    """Say whether a listing shows a volume to the caller: what may not be used is left out in
    silence.
    """
    try:
        check_volume(call, volume)
    except LabError:
        return False
    return True


def check_options(
    call: Call,
    vmid: int,
    keys: Iterable[str],
    pool: str | None = None,
    values: Mapping[str, str] | None = None,
) -> None:
    """Raise LabError unless the caller may set (or delete) these options of a guest; some only
    root@pam with a ticket may.

    ``values``: what they are or become, for a CD-ROM drive asks for another privilege than a disk.
    """
    # a token of root@pam is held to the options that are root's alone (pve-facts 1.9)
    if call.is_root_ticket:
        return
    for key in sorted(keys):
        numbered = (privilege for pattern, privilege in _NUMBERED if pattern.fullmatch(key))
        privilege = (
            "VM.Config.CDROM"
            if "media=cdrom" in (values or {}).get(key, "")
            else _GROUPS.get(key) or next(numbered, None)
        )
        if privilege is None:
            # such as args and hookscript, which reach the node itself (pve-facts 1.9)
            raise LabError(500, f"only root can set '{key}' config")
        wanted = (
            ("VM.Config.Cloudinit", "VM.Config.Network") if privilege == "cloud" else (privilege,)
        )
        # on a guest that is still to be made one may have rights by its pool alone
        if pool is None or not call.allowed(f"/pool/{pool}", *wanted, any=True):
            call.check(f"/vms/{vmid}", *wanted, any=True)
        if key == "startup":
            # the order of starts concerns the node's other guests
            call.check("/", "Sys.Modify")


def check_bridges(call: Call, config: Mapping[str, str]) -> None:
    """Raise LabError unless the caller may use the bridge of every NIC in a configuration."""
    for key in sorted(key for key in config if re.fullmatch(r"net\d+", key)):
        properties = net(config[key])
        bridge = properties.get("bridge")
        if not bridge:
            raise LabError(500, "no sdn vnet ID specified")
        # rights on the bridge propagate to its VLANs; one may be given a VLAN alone
        tag = properties.get("tag")
        call.check(f"/sdn/zones/localnetwork/{bridge}" + (f"/{tag}" if tag else ""), "SDN.Use")


def check_may_make(call: Call, *, restored: bool) -> None:
    """Raise LabError 403 unless the caller may make the call's guest, in its pool or by its VMID.

    To write over one with an archive and ``force``, VM.Backup on it is enough.
    """
    params, vmid, pool = call.params, call.vmid, call.params.get("pool")
    if pool and pool not in call.lab.access.pools:
        raise LabError(403, f"Permission check failed (pool '{pool}' does not exist)")
    # who may read a guest out of archives may put it back
    over = restored and params.get("force") and call.lab.guests.get(vmid)
    if (
        not (over and call.allowed(f"/vms/{vmid}", "VM.Backup"))
        and not (pool and call.allowed(f"/pool/{pool}", "VM.Allocate"))
        and not call.allowed(f"/vms/{vmid}", "VM.Allocate")
    ):
        raise LabError(403, "Permission check failed")


def check_root_parameter(
    call: Call, *names: str, text: str = "Only root may use this option."
) -> None:
    """Raise LabError 400 if a parameter is given that only root@pam with a ticket may use."""
    for name in names:
        if call.params.get(name) and not call.is_root_ticket:
            raise parameter_error(**{name.replace("-", "_"): text})


def backup_volume(call: Call, volid: str) -> Volume:
    """Given what a caller names as an archive, return it. Raise LabError if it is none or may not
    be used by this caller.
    """
    if split_volid(volid) is None:
        raise LabError(
            500,
            "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm "
            "line 651.",
        )
    volume = volumes.find(call.lab, call.node, volid)
    if volume.content != "backup":
        raise LabError(500, f"unable to use volume {volid} - content type needs to be 'backup'")
    check_volume(call, volume)
    return volume
