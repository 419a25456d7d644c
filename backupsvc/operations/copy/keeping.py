"""Apply a target's keep rules to a guest's copies there: decided anew before each removal, and
removed one by one.
"""

from __future__ import annotations

from dataclasses import replace

from backupsvc.copies.opening import open_target
from backupsvc.copies.removal import not_as_verified, remove
from backupsvc.copies.target import Target
from backupsvc.inventory import departed
from backupsvc.operations.copy.memory import ArchiveCopyMemory
from backupsvc.operations.prune.deciding import in_use, standing
from backupsvc.operations.services import Run
from backupsvc.services import Cluster, Nodes
from policies import chains, segments
from policies.copies_due import DueCopy, route_of
from policies.copies_keep import Kept, decide, lost
from policies.copy_folders import folder_of
from policies.copy_manifest import manifest_name
from policies.model import ArchiveCopy, CopyTarget
from policies.pve.volid import file_of


def keep(
    service: Cluster, target: CopyTarget, folder: Target, new: ArchiveCopy | None = None
) -> Kept:
    """Given a target with keep rules and its folder, return what becomes of each copy there by what
    is known and what lies there now; ``new`` is taken to lie there, too.
    """
    copies = service.catalog.copies.find(folder=folder_of(target), damaged=True)
    files = folder.files()
    if new is not None:
        copies = [*(one for one in copies if one.file != new.file), new]
        # what it will consist of, as far as it takes to count as being there
        if new.encrypted:
            files |= {one.file: one.size for one in segments.unpacked(new.file, new.segments)}
            files |= {segments.manifest_name(new.file): 1}
        else:
            files |= {new.file: new.size, manifest_name(new.file): 1}
    vmids = {one.route.vmid for one in copies if one.route.vmid is not None}
    archives = service.catalog.archives
    guests, unsure = standing(service, service.pve.cluster.guests(), vmids)
    # what is asked of the archives that lie elsewhere holds for the copies here, too
    asked = {vmid: why for (vmid, _), why in chains.asked(archives.find(vmids=vmids)).items()}
    return decide(
        copies,
        [*archives.find(vmids=vmids, gone=True), *archives.find(vmids=vmids)],
        guests,
        service.policy,
        target,
        files=files,
        in_use=in_use(service),
        now=int(service.clock.now()),
        unsure=asked | unsure,
        gone=departed.standing(service, guests, vmids),
        opened_by={
            one.key
            for one in service.catalog.copies.rehearsals()
            if one.folder == folder_of(target)
        },
    )


def preview(service: Nodes, due: DueCopy) -> tuple[list[str], str]:
    """Given a copy that is to be made, return which others would go from its target when it is
    there, and why none may ("" if nothing speaks against it). Raise what the way to the target
    raises.
    """
    archive, target = due.archive, due.target
    if not target.keep:
        return [], ""
    new = ArchiveCopy(
        route_of(archive, target),
        file_of(archive.volid),
        archive.size,
        "",
        0,
        "planned",
        "",
        recipients=target.recipients,
        segments=str(archive.size) if target.recipients else "",
    )
    with open_target(target, service.nodes, service.settings.ssh) as folder:
        kept = keep(service, target, folder, new)
    return [one.file for one in kept.going(archive.vmid)], kept.refusal or ""


def lost_at(service: Nodes, target: CopyTarget) -> list[ArchiveCopy]:
    """Given a target, look there, and return the copies that were verified and are not there as
    they were, by names and sizes. Raise what the way to the target raises.
    """
    copies = service.catalog.copies.find(folder=folder_of(target), damaged=True)
    with open_target(target, service.nodes, service.settings.ssh) as folder:
        return lost(copies, folder.files(), immutable=target.immutable)


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
            said = (
                f"law 3: {why}, so no other copy goes: look what lies there, take it away by hand, "
                f"then `backupsvc copy sync --to {target.name}`"
            )
            run.memory = replace(run.memory, kept_all=said)
            return
        # written first: what is left of it, if this breaks off here, is no copy, and ours to remove
        copies.begin_removal(copy, run.now(), run.fence())
        _end_removals(run, target, folder)
    run.memory = replace(run.memory, kept_all=kept.refusal or "")


def _end_removals(run: Run[ArchiveCopyMemory], target: CopyTarget, folder: Target) -> None:
    copies, where = run.service.catalog.copies, folder_of(target)
    for copy in copies.being_removed(where):
        # one that was brought anew since its removal was begun is a copy again
        found = copies.find(folder=where, damaged=True)
        anew = any(one.file == copy.file for one in found)
        why = "it was brought anew" if anew else remove(folder, copy)
        if why is None:
            removed = dict.fromkeys((*run.memory.removed, copy.file))
            run.memory = replace(run.memory, removed=tuple(removed))
        run.note("left" if why else "copy-removed", file=copy.file, why=why)
        copies.record_removed(copy, run.fence())
