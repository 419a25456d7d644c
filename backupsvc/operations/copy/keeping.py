"""Apply a target's keep rules to a guest's copies there: decided anew before each removal, and
removed one by one.
"""

from __future__ import annotations

from dataclasses import replace

from backupsvc.copies.opening import open_target
from backupsvc.copies.removal import not_as_verified, remove
from backupsvc.copies.target import Target
from backupsvc.operations.copy.memory import ArchiveCopyMemory
from backupsvc.operations.prune.deciding import in_use, standing
from backupsvc.operations.services import Run
from backupsvc.services import Cluster, Nodes
from policies.copies_keep import Kept, decide, lost
from policies.copy_folders import folder_of
from policies.model import ArchiveCopy, CopyTarget


def keep(service: Cluster, target: CopyTarget, folder: Target) -> Kept:
    """Given a target with keep rules and its folder, return what becomes of each copy there by what
    is known and what lies there now.
    """
    copies = service.catalog.copies.find(folder=folder_of(target))
    vmids = {one.route.vmid for one in copies if one.route.vmid is not None}
    archives = service.catalog.archives
    guests, unsure = standing(service, service.pve.cluster.guests(), vmids)
    return decide(
        copies,
        [*archives.find(vmids=vmids, gone=True), *archives.find(vmids=vmids)],
        guests,
        service.policy,
        target,
        files=folder.files(),
        in_use=in_use(service),
        now=int(service.clock.now()),
        unsure=unsure,
    )


def lost_at(service: Nodes, target: CopyTarget) -> list[ArchiveCopy]:
    """Given a target, look there, and return the copies that were verified and are not there as
    they were. Raise what the way to the target raises.
    """
    copies = service.catalog.copies.find(folder=folder_of(target))
    with open_target(target, service.nodes, service.settings.ssh) as folder:
        return lost(copies, folder.files())


def apply(run: Run[ArchiveCopyMemory], target: CopyTarget, folder: Target) -> None:
    """Remove what the target's rules no longer keep of the guest, and end what another driver began
    to remove there; remember what went, or why nothing may go.
    """
    copies = run.service.catalog.copies
    _end_removals(run, target, folder)
    while going := (kept := keep(run.service, target, folder)).going(run.operation.subject):
        run.heartbeat()
        copy = going[0]
        if why := not_as_verified(folder, copy, folder.files()):
            run.memory = replace(run.memory, kept_all=f"law 3: {why}, so no other copy goes")
            return
        # written first: what is left of it, if this breaks off here, is no copy, and ours to remove
        copies.begin_removal(copy, run.now(), run.fence())
        _end_removals(run, target, folder)
    run.memory = replace(run.memory, kept_all=kept.refusal or "")


def _end_removals(run: Run[ArchiveCopyMemory], target: CopyTarget, folder: Target) -> None:
    copies, where = run.service.catalog.copies, folder_of(target)
    for copy in copies.being_removed(where):
        # one that was brought anew since its removal was begun is a copy again
        anew = any(one.file == copy.file for one in copies.find(folder=where))
        why = "it was brought anew" if anew else remove(folder, copy)
        if why is None:
            removed = dict.fromkeys((*run.memory.removed, copy.file))
            run.memory = replace(run.memory, removed=tuple(removed))
        run.note("left" if why else "copy-removed", file=copy.file, why=why)
        copies.record_removed(copy, run.fence())
