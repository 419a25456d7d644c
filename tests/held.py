"""What an operation of a test holds: taken and given back as its driver, who steps in for that
moment where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backupsvc.catalog import Catalog
from backupsvc.catalog.fences import Fence
from backupsvc.catalog.locks import Gone, nobody
from backupsvc.catalog.operations import Driver


@contextmanager
def fence_of(catalog: Catalog, operation: str) -> Iterator[Fence]:
    """The fence of whoever drives an open operation; of a driver of our own, which leaves it as it
    was, if nobody does.
    """
    found = catalog.operations.get(operation)
    assert found, f"there is no operation {operation}"
    if found.lease_owner is not None:
        yield operation, found.lease_owner
        return
    driver = Driver(f"holder of {operation}", 60, found.updated)
    assert catalog.operations.claim(operation, driver), f"somebody else drives {operation}"
    yield operation, driver.owner
    catalog.operations.record(operation, driver, park=found.due)


def lease(catalog: Catalog, vmid: int, operation: str, at: int) -> bool:
    """Give a scratch VMID to an operation, as ``LeaseRepository.take`` does."""
    with fence_of(catalog, operation) as fence:
        return catalog.leases.take(vmid, at, fence)


def release(catalog: Catalog, vmid: int, operation: str) -> bool:
    """Take a scratch VMID from an operation, as ``LeaseRepository.release`` does."""
    with fence_of(catalog, operation) as fence:
        return catalog.leases.release(vmid, operation, fence)


def enter(catalog: Catalog, lock: str, operation: str, now: int) -> str | None:
    """Let an operation wait for a lock or take it, as ``LockRepository.enter`` does."""
    with fence_of(catalog, operation) as fence:
        return catalog.locks.enter(lock, now, fence)


def leave(catalog: Catalog, operation: str, now: int, gone: Gone = nobody) -> str | None:
    """Take an operation out of its lock, as ``LockRepository.leave`` does."""
    with fence_of(catalog, operation) as fence:
        return catalog.locks.leave(now, fence, gone)


def pin(catalog: Catalog, node: str, volid: str, operation: str, at: int) -> str | None:
    """Pin an archive for an operation, as ``ArchivePinRepository.pin`` does."""
    with fence_of(catalog, operation) as fence:
        return catalog.archive_pins.pin(node, volid, at, fence)


def begin_removal(catalog: Catalog, node: str, volid: str, operation: str, at: int) -> str | None:
    """Begin to remove an archive for an operation, as ``ArchivePinRepository.begin_removal``
    does.
    """
    with fence_of(catalog, operation) as fence:
        return catalog.archive_pins.begin_removal(node, volid, at, fence)
