"""List the privileges, each on its path, that bringing a lost guest back asks of the token, from
the archive's own config.

PVE asks for most of it only once its task runs: a bridge or a storage that the token may not use
fails the restore there and leaves an empty VM under the guest's VMID, a real device fails it after
all data was restored (pve-facts 7.3). So it is asked for before. Source: qemu-server
PVE/API2/Qemu.pm (create_vm) and PVE/QemuServer.pm (check_bridge_access, check_mapping_access, the
drives of the archive's map), 9.0.23 and 9.2.6.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from policies.model import PolicyError
from policies.pve import guest_config, property_string
from policies.pve.privileges import LOCAL_ZONE
from policies.pve.volid import storage_of
from policies.role import Need

_DEVICE = re.compile(r"(usb|hostpci)\d+")
_MAPPINGS = {"usb": "/mapping/usb", "hostpci": "/mapping/pci"}


def needed(
    vmid: int,
    config: Mapping[str, str],
    *,
    storage: str | None,
    start: bool,
    bridges: Collection[str] | None = None,
) -> tuple[Need, ...]:
    """Given the VMID and the archived config, return what restoring it there needs beside reading
    the archive.

    ``storage`` takes every disk, None leaves each where it was; ``start``: it is started
    afterwards. ``bridges`` are those that
    the node has: of any other name it is not known in which SDN zone it lies, so that PVE alone can
    tell (None: all are the node's).
    """
    guest = f"/vms/{vmid}"
    needs = [
        Need(guest, "VM.Allocate", "create the guest"),
        # without it the guest is missing from every list, silently (pve-facts 11.2)
        Need(guest, "VM.Audit", "see that it is back"),
    ]
    if start:
        needs.append(Need(guest, "VM.PowerMgmt", "start it"))
    # PVE looks at a storage of the archive's map in the task alone (pve-facts 7.3)
    for name in [storage] if storage else disk_storages(config):
        needs.append(Need(f"/storage/{name}", "Datastore.AllocateSpace", "make its disks"))
    for key, network in networks(config):
        if bridges is None or network.split("/")[0] in bridges:
            needs.append(Need(f"{LOCAL_ZONE}/{network}", "SDN.Use", f"put {key} back onto it"))
    for key, options in _devices(config):
        # a mapped device is a token's to give; a real one is not (pve-facts 7.3)
        if mapped := options.get("mapping"):
            kind = _MAPPINGS["usb" if key.startswith("usb") else "hostpci"]
            needs.append(Need(f"{kind}/{mapped}", "Mapping.Use", f"give it {key} back"))
    return tuple(needs)


def networks(config: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Given a guest's config, yield each NIC's key with its bridge, or its bridge/VLAN, as an ACL
    path ends.

    A VLAN tag is asked for, else each VLAN of the trunk, else the bridge itself. A NIC that cannot
    be read is PVE's to judge.
    """
    for key, value in guest_config.nics(config):
        try:
            nic = guest_config.parse_nic(value)
        except PolicyError:
            continue
        vlans = (
            [nic.others["tag"]]
            if nic.others.get("tag")
            else nic.others.get("trunks", "").split(";")
        )
        if nic.bridge:
            yield from (
                (key, f"{nic.bridge}/{vlan}" if vlan.isdigit() else nic.bridge) for vlan in vlans
            )


def disk_storages(config: Mapping[str, str]) -> list[str]:
    """Given a guest's config, archived or as it is, return the storages that its disks lie on."""
    if mapped := guest_config.dumped_disks(config):
        return sorted({disk.storage for disk in mapped.values()})
    disks = {
        key: value
        for key, value in guest_config.volumes(config)
        if not guest_config.is_cdrom(value)
    }
    return sorted({storage_of(volid) for volid in guest_config.volids(disks)})


def real_devices(config: Mapping[str, str]) -> list[str]:
    """Given an archived config, return the keys of devices of the node itself: root@pam alone may
    restore such a guest.
    """
    # SPICE's redirection is no device of the node
    return [key for key, options in _devices(config) if options.get("host", "spice") != "spice"]


def _devices(config: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    for key in sorted(filter(_DEVICE.fullmatch, config)):
        try:
            yield key, dict(property_string.parse(config[key], default="host"))
        except PolicyError:
            continue
