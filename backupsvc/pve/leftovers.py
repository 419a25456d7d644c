"""The copies that are there, whatever any catalog knows: guests in the scratch range whose config
bears a marker of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from backupsvc.errors import PveNotFound
from backupsvc.pve.tasks import parse_upid, succeeded
from policies import ownership
from policies.model import Guest, GuestType, Scratch
from policies.orphans import Copy, Orphan, Task, restored_by
from policies.pve import guest_config
from policies.pve.volid import storage_of

if TYPE_CHECKING:
    from backupsvc.pve import Pve


def copies(pve: Pve, scratch: Scratch, guests: Iterable[Guest]) -> list[Copy]:
    """Given the cluster's guests, return the marked copies among them, by VMID. One that goes in
    between is left out.
    """
    found = []
    for guest in guests:
        if guest.vmid not in scratch or guest.type is not GuestType.QEMU:
            continue
        try:
            config = pve.guests.config(guest.node, guest.vmid)
        except PveNotFound:
            continue
        # without our marker it is somebody else's, whatever its VMID (law 1)
        operation = ownership.operation_of(config)
        if operation is None:
            continue
        copy = Copy(
            guest.vmid,
            guest.node,
            guest.name,
            guest.status != "stopped",
            operation,
            ownership.service_of(config),
            tuple(sorted({storage_of(volid) for volid in guest_config.volids(config)})),
        )
        found.append(copy)
    return sorted(found, key=lambda copy: copy.vmid)


def confirmed(pve: Pve, found: Iterable[Orphan]) -> tuple[Orphan, ...]:
    """Given forgotten copies, return them as ours only where PVE's own tasks say that this token
    restored them (law 1).
    """
    return tuple(
        replace(one, ours=False, unconfirmed=True)
        if one.ours and not restored_here(pve, one.copy.vmid)
        else one
        for one in found
    )


def restored_here(pve: Pve, vmid: int) -> bool:
    """Given a VMID, ask every node that is online for its tasks; return whether this token restored
    the guest that has it now.
    """
    # each keeps its own tasks, and a guest that was moved was restored on another node
    rows = [
        row
        for node in pve.cluster.nodes()
        if node.online
        for row in pve.tasks.of_guest(node.name, vmid)
    ]
    tasks = []
    for row in rows:
        upid = parse_upid(row.upid)
        failed = row.status != "running" and not succeeded(row.status)
        tasks.append(Task(upid.type, row.starttime, row.user, failed, upid.node, upid.ticks))
    return restored_by(pve.token_id, tasks)
