"""Open readings of archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupsvc.inventory.archive_bytes import readable_from
from backupsvc.operations.backup.opening import GUESTS_AGE
from backupsvc.operations.recheck.memory import RecheckMemory
from backupsvc.operations.services import Opening
from backupsvc.services import Nodes
from policies.jobs import rank
from policies.model import Archive, IntegrityRules, Operation
from policies.recheck_due import due

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from backupsvc.catalog.fences import Fence


def readable(service: Nodes, archives: Iterable[Archive]) -> list[Archive]:
    """Given archives, return those whose bytes can be read now: SSH leads to a node that has them,
    and it is up.
    """
    up = {node.name for node in service.pve.cluster.nodes(max_age=GUESTS_AGE) if node.online}
    nodes = up & set(service.settings.ssh.nodes)
    return [one for one in archives if readable_from(one, nodes) is not None]


def choose(
    service: Nodes, only: Collection[int], *, everything: bool
) -> tuple[tuple[Archive, ...], int]:
    """Given the guests whose archives count (() all), return what is to be read now, by the policy's
    rules or ``everything``, and how many archives nothing here can read.
    """
    known = [
        one
        for one in service.catalog.archives.find()
        if one.vmid is not None and (not only or one.vmid in only)
    ]
    there = readable(service, known)
    rules = service.policy.integrity or IntegrityRules()
    now = int(service.clock.now())
    return due(there, rules, now, only=only, everything=everything), len(known) - len(there)


def open_recheck(
    service: Opening,
    archive: Archive,
    occurrence: str | None = None,
    parent: Fence | None = None,
) -> Operation | None:
    """Given an archive, open its reading. Return None when ``occurrence`` was opened before (law
    9).

    ``parent`` is the night that opens it, and its driver. Raise Refused while it is being read
    already.
    """
    return service.engine.open(
        "recheck",
        archive.vmid,
        RecheckMemory(archive.node, archive.volid),
        occurrence=occurrence,
        rank=rank(service.policy, archive.vmid) if archive.vmid is not None else 0,
        lock=lock_of(archive.node),
        parent=parent,
    )


def lock_of(node: str) -> str:
    """Given a node, return the lock of reading from its disks: two at once would only seek."""
    return f"read {node}"
