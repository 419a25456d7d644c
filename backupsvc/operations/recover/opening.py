"""Open the recovery of a node, or find the one that a process left."""

from __future__ import annotations

from backupsvc.operations.recover.memory import RecoverMemory, key_of
from backupsvc.operations.services import Opening
from policies.model import Operation

DEADLINE = 7 * 24 * 3600  # seconds: it waits for people, and restores many guests


def open_recovery(service: Opening, memory: RecoverMemory) -> Operation | None:
    """Given what a person saw and confirmed, open the recovery that carries it out. Raise Refused
    while it has one at work.
    """
    return service.engine.open("recover", None, memory, timeout_s=DEADLINE)


def left_alone(service: Opening, lost: str) -> Operation | None:
    """Given what is lost in words, return its recovery if that is open and the process that drove it is gone: it is
    gone on with, not begun anew.
    """
    found = service.catalog.operations.by_exclusive_key(key_of(lost))
    if found is None or service.engine.attended(found):
        return None
    service.engine.free_orphans()
    return found
