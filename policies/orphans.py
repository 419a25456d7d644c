"""Which copies the catalog has forgotten, and which of them this service may remove by itself (law 1).

A copy whose restore test is not open any more holds memory, disks and a VMID, and answers at a production address on the isolated
bridge: a later test could take its answers for those of its own copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Copy:
    """A guest in the scratch range that bears a marker of ours: whose operation made it, and which service (None: unsaid)."""

    vmid: int
    node: str
    name: str
    running: bool
    operation: str
    service: str | None = None
    storages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Orphan:
    """A copy without an open operation. ``ours``: this very service made it, so its reaper may remove it."""

    copy: Copy
    ours: bool


def orphans(
    copies: Iterable[Copy], *, open_operations: Collection[str], cleaned: Collection[int], service: str
) -> tuple[Orphan, ...]:
    """Given the copies that are there, return those that nobody attends to.

    ``open_operations`` were read after the copies: what ends in between is seen as open. ``cleaned`` are the VMIDs that a reap is
    at, or that the catalog's leases still name, so that one is about to be. ``service`` is this service's identity.
    """
    left = (copy for copy in copies if copy.operation not in open_operations and copy.vmid not in cleaned)
    return tuple(Orphan(copy, bool(service) and copy.service == service) for copy in left)
