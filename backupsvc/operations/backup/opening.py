"""Open the backups of the guests that a job expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.services import Opening, Records
from policies.guest_policy import policy_for
from policies.jobs import Expected, rank
from policies.model import Guest, Job, Operation

if TYPE_CHECKING:
    from backupsvc.catalog.fences import Fence


GUESTS_AGE = 30.0  # seconds that an answer of the cluster about all guests serves for each of them


def open_backup(
    service: Opening,
    job: Job,
    item: Expected,
    occurrence: str | None = None,
    parent: Fence | None = None,
    *,
    at: int | None = None,
) -> Operation | None:
    """Given a guest that a job expects, open its backup. With ``occurrence`` at most once for it
    (law 9): then None.

    ``parent`` is the night that opens it, and its driver. ``at`` is when the occurrence was due
    (epoch seconds): a scheduled backup stands back where PVE makes its own.
    """
    guest = item.guest
    memory = BackupMemory(job.id, guest.node if guest else None, name_of(service, guest), at)
    # a scheduled one may stand back for as long as its window is open
    ranked, timeout_s = (
        rank(service.policy, item.vmid),
        job.timeout + (job.window if at is not None else 0),
    )
    # named from the start, so that its rank counts before it comes to wait for the node
    lock = f"vzdump {guest.node}" if guest else None
    return service.engine.open(
        "backup",
        item.vmid,
        memory,
        occurrence=occurrence,
        timeout_s=timeout_s,
        rank=ranked,
        lock=lock,
        parent=parent,
    )


def name_of(service: Records, guest: Guest | None) -> str:
    """The cluster lists no name for a guest of a node whose pvestatd is silent; the policy may have
    one.
    """
    return (guest.name or policy_for(service.policy, guest.vmid, "").name) if guest else ""
