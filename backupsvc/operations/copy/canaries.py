"""Try at immutable targets whether what lies there can be harmed with our own credentials, and keep
what came of it as evidence.
"""

from __future__ import annotations

from backupsvc.copies.canary import try_harm
from backupsvc.copies.opening import open_target
from backupsvc.services import Nodes
from policies.copy_folders import folder_of
from policies.model import Canary, CopyTarget

EACH = 30 * 86400  # seconds between two tries by night


def try_target(service: Nodes, target: CopyTarget) -> Canary:
    """Given an immutable target, try it, record what came of it and return that. Raise what the way
    to the target raises: then nothing is recorded.
    """
    with open_target(target, service.nodes, service.settings.ssh) as folder:
        tried = try_harm(folder)
    canary = Canary(
        target.name,
        folder_of(target),
        int(service.clock.now()),
        tried.overwritten,
        tried.deleted,
        tried.said,
    )
    service.catalog.copies.record_canary(canary)
    return canary


def due(service: Nodes) -> list[CopyTarget]:
    """Return the immutable targets that were not tried for a month."""
    now = service.clock.now()
    tried = {canary.folder: canary.at for canary in service.catalog.copies.canaries()}
    # a try that lies in the future is of a clock that was set: it counts for nothing
    return [
        target
        for target in service.policy.copies
        if target.immutable and not 0 <= now - tried.get(folder_of(target), -EACH) < EACH
    ]
