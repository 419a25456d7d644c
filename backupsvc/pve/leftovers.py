"""The copies that are there, whatever any catalog knows: guests in the scratch range whose config bears a marker of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from backupsvc.errors import PveNotFound
from policies import isolation, ownership
from policies.model import Guest, GuestType, Scratch
from policies.orphans import Copy
from policies.property_string import drive

if TYPE_CHECKING:
    from backupsvc.pve import Pve


def copies(pve: Pve, scratch: Scratch, guests: Iterable[Guest]) -> list[Copy]:
    """Given the cluster's guests, return the marked copies among them, by VMID. One that goes in between is left out."""
    found = []
    for guest in guests:
        if guest.vmid in scratch and guest.type is GuestType.QEMU and (copy := _copy(pve, guest)):
            found.append(copy)
    return sorted(found, key=lambda copy: copy.vmid)


def _copy(pve: Pve, guest: Guest) -> Copy | None:
    try:
        config = pve.guests.config(guest.node, guest.vmid)
    except PveNotFound:
        return None
    operation = ownership.operation_of(config)
    if operation is None:
        return None
    running = guest.status != "stopped"
    return Copy(guest.vmid, guest.node, guest.name, running, operation, ownership.service_of(config), _storages(config))


def _storages(config: Mapping[str, str]) -> tuple[str, ...]:
    volids = {drive(value).get("file", "") for key, value in config.items() if isolation.holds_volume(key)}
    return tuple(sorted({volid.partition(":")[0] for volid in volids if ":" in volid}))
