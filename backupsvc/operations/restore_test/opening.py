"""Open a guest's restore test."""

from __future__ import annotations

from backupsvc.catalog.fences import Fence
from backupsvc.errors import Refused
from backupsvc.operations.restore_test import settling
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from backupsvc.operations.services import Opening, Records
from policies.guest_policy import policy_for
from policies.model import Archive, GuestPolicy, GuestType, Operation


def open_test(
    service: Opening,
    vmid: int,
    occurrence: str | None = None,
    parent: Fence | None = None,
    *,
    at: str | None = None,
    volid: str | None = None,
    timeout_s: int | None = None,
) -> Operation | None:
    """Given a guest, open the restore test of its newest archive, or of the one that ``at`` or
    ``volid`` names.

    ``timeout_s`` are the seconds until it must be over (None: what its timeouts add up to);
    ``parent`` is the night that opens it, and its driver. Return None when ``occurrence`` was
    opened before (law 9).
    """
    wanted = guest_policy(service, vmid)
    # a watch with a gap of our own making is begun anew, and needs its time again
    lasts = wanted.boot_timeout + settling.MAX_ANEW * settling.seconds(
        service.policy.scratch, wanted
    )
    most = service.policy.scratch.restore_timeout + lasts + 3600
    memory = RestoreTestMemory(at=at, volid=volid)
    return service.engine.open(
        "restore-test",
        vmid,
        memory,
        occurrence=occurrence,
        timeout_s=min(most, timeout_s or most),
        parent=parent,
    )


def refuse_container(archive: Archive) -> None:
    """Raise Refused unless an archive is a VM's: containers are backed up and verified, but not
    restore-tested yet.
    """
    if archive.type is not GuestType.QEMU:
        raise Refused(
            f"archive {archive.volid} is of a container, and only VMs can be restore-tested yet",
            "choose a VM",
        )


def guest_policy(service: Records, vmid: int) -> GuestPolicy:
    return policy_for(service.policy, vmid, "")
