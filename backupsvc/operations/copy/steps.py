"""Copy an archive off its node: pin it, wait for the turn between its node and the target, bring it
there, read it back, and record it; where PVE has the target, see that PVE lists it.

One at a time an archive and target; between a node and a target one after the other, for two
streams side by side share one line. A copy that was interrupted goes on where it stopped, whoever
takes it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backupsvc.copies.opening import open_target
from backupsvc.copies.send import Order, Watch, send
from backupsvc.copies.send_encrypted import send_encrypted
from backupsvc.copies.sources import NodeSource
from backupsvc.copies.stale import remove_stale_manifests
from backupsvc.copies.target import Target
from backupsvc.engine.context import Handler, Wait
from backupsvc.errors import ArchiveError, CopyError
from backupsvc.operations import choosing
from backupsvc.operations.copy import keeping
from backupsvc.operations.copy.memory import ArchiveCopyMemory, Verified
from backupsvc.operations.copy.opening import lock_of, target_of
from backupsvc.operations.services import Run, StepServices
from policies import segments
from policies.amounts import size as amount
from policies.compliance.facts import place as place_of
from policies.copies_due import route_of
from policies.copies_keep import lost
from policies.copy_decision import Progress
from policies.copy_manifest import Manifest
from policies.model import Archive, ArchiveCopy, PveStorage, Rung
from policies.pve.volid import file_of
from policies.segments import SegmentManifest
from policies.workflow import Workflow


def choose(run: Run[ArchiveCopyMemory]) -> Wait | None:
    """Keep prune from the archive (law 3), and wait for the turn between its node and the
    target.
    """
    archive, target = _archive(run), target_of(run)
    # before the wait: the archive must be there still when the turn comes
    choosing.pin(run.service, archive, run.fence(), run.now())
    return run.turn(
        lock_of(archive.node, target.name),
        f"another copy from {archive.node} to {target.name} is under way",
    )


def bring(run: Run[ArchiveCopyMemory]) -> Wait | None:
    """Bring the archive to the target, unless it is there, and record the copy: where PVE has the
    target, as one that came so far, until PVE lists it.
    """
    service, archive, target = run.service, _archive(run), target_of(run)
    route = route_of(archive, target)
    path = service.pve.storage.volume_path(archive.node, archive.volid)
    source = NodeSource(service.nodes, archive.node, path)
    with open_target(target, service.nodes, service.settings.ssh) as folder:
        damaged = service.catalog.copies.damaged(route)
        if damaged:
            run.note("damaged", file=damaged.file, why=damaged.damaged)
        elif _stays_as_it_is(run, service.catalog.copies.get(route), folder):
            return None
        order = Order(
            volid=archive.volid,
            sha256=archive.sha256,
            progress=service.catalog.copies.progress(route),
            immutable=target.immutable,
            bandwidth=target.bandwidth,
            recipients=target.recipients,
            damaged=damaged,
        )

        def record(progress: Progress) -> None:
            service.catalog.copies.record_progress(route, progress, run.now(), run.fence())
            run.say(f"{amount(progress.sent)} of {amount(progress.size)} sent to {target.name}")

        modified = source.stat().modified  # now: once it is there, nothing is asked of the source
        way = send_encrypted if target.recipients else send
        found = way(source, folder, order, Watch(record, run.heartbeat, run.clock))
        if not target.immutable and (stale := remove_stale_manifests(folder)):
            run.note("tidied", removed=stale)
    manifest = found.manifest
    _record_copy(run, archive, manifest, found.how, modified)
    run.memory = replace(
        run.memory,
        verified=Verified(
            manifest.sha256, manifest.size, found.how, found.moved, found.seconds, found.litter
        ),
    )
    run.conclude(f"verified at {target.name}: {found.how}")
    run.note("verified", sha256=manifest.sha256, reasons=list(found.reasons))
    return None


def _stays_as_it_is(run: Run[ArchiveCopyMemory], known: ArchiveCopy | None, folder: Target) -> bool:
    """Given the copy that the catalog knows, if any, and its target's folder, return whether it is
    left there as it is; one that is not there any more is forgotten.
    """
    if known is None:
        return False
    files = folder.files()
    if lost([known], files) if known.encrypted else files.get(known.file) != known.size:
        # verified once, and not there now: it is no copy any more
        run.service.catalog.copies.forget(known.route, run.fence())
        run.note("lost", file=known.file, verified_at=known.verified_at)
        return False
    if known.encrypted == bool(target_of(run).recipients):
        return False
    # a verified copy from before `encrypt` was set, or taken out, stays the one that counts: the
    # next archive is copied as the policy says now
    word = "encrypted" if known.encrypted else "NOT encrypted"
    how = f"{known.how}; {word}: it is from before the target's `encrypt` was changed"
    run.memory = replace(run.memory, verified=Verified(known.sha256, known.size, how, 0, 0.0))
    run.conclude(f"verified at {run.memory.target}: {how}")
    return True


def _record_copy(
    run: Run[ArchiveCopyMemory],
    archive: Archive,
    manifest: Manifest | SegmentManifest,
    how: str,
    modified: int,
) -> None:
    """Record what was verified at the target; where PVE has that, how far it came, until PVE lists
    it. ``modified``: the archive's own time, in epoch seconds.
    """
    target, copies = target_of(run), run.service.catalog.copies
    size, sha256 = manifest.size, manifest.sha256
    copy = ArchiveCopy(
        route_of(archive, target), manifest.file, size, sha256, run.now(), how, run.id
    )
    if isinstance(manifest, SegmentManifest):
        # nothing is decrypted there, so what is known of the bytes is what was known of the archive
        copy = replace(
            copy,
            recipients=manifest.recipients,
            segments=segments.packed(manifest.segments, hashes=False),
            rung=_rung_of_bytes(archive, sha256),
        )
    if not isinstance(target.place, PveStorage):
        copies.record_verified(copy, modified, run.fence())
        return
    # A copy that PVE does not list yet is no archive there, whatever lies in the folder: nobody is
    # told that it is verified, and the next night looks after it. One that it lists stays listed.
    known = copies.get(copy.route)
    if known is None or (known.file, known.sha256) != (copy.file, sha256):
        whole = Progress(copy.route.volid, size, modified, copy.file, size, sha256)
        copies.record_progress(copy.route, whole, run.now(), run.fence())


def _rung_of_bytes(archive: Archive, sha256: str) -> Rung:
    """What is known of the archive that is known of its bytes: of a copy no more can be said."""
    intact = archive.sha256 == sha256 and archive.rung.height >= Rung.INTACT.height
    return Rung.INTACT if intact else Rung.RECORDED


def enlist(run: Run[ArchiveCopyMemory]) -> Wait | None:
    """Where the target is a storage of PVE, see that PVE lists the copy, and record it as the
    archive that it is there: from then on it is pruned, tested and restored as any other.
    """
    service, verified = run.service, run.memory.verified
    archive, target = _archive(run), target_of(run)
    place = target.place
    if not isinstance(place, PveStorage) or verified is None:
        return None
    began = run.now()
    volid = f"{place.storage}:backup/{file_of(archive.volid)}"
    listed = service.pve.storage.archives(place.node, place.storage, archive.vmid)
    there = next((one for one in listed if one.volid == volid), None)
    if there is None or there.size != verified.size:
        raise CopyError(
            f"the copy of {archive.volid} is whole in {place.path} on {place.node}, and PVE does "
            f"not list it in the storage {place.storage} there",
            f"`path` of the copy target {target.name} must be that storage's dump folder (`pvesm "
            f"path {volid}` on {place.node} says it), and the storage must take backups; if it "
            "is and does, somebody removed the copy meanwhile: copy again",
        )
    catalog = service.catalog
    catalog.archives.observe(listed, scope=[], at=began)
    known = catalog.archives.facts(archive.node, archive.volid)
    catalog.archives.annotate(
        place.node,
        volid,
        name=known["name"] or None,
        sha256=archive.sha256,
        size=verified.size,
        config=known["config"],
        uuid=known["uuid"],
        consistency=known["consistency"],
        excluded=known["excluded"],
        operation=run.id,
        at=began,
    )
    # the same bytes: what was read of the archive is true of its copy, and no more than that
    if _rung_of_bytes(archive, verified.sha256) is Rung.INTACT:
        catalog.archives.record_intact(place.node, volid, began)
    catalog.copies.record_listed(
        route_of(archive, target), volid, place_of(there), run.now(), verified.how, run.fence()
    )
    run.conclude(f"{volid} on {place.node}")
    return None


def tidy(run: Run[ArchiveCopyMemory]) -> Wait | None:
    """Now that the new copy is there, remove the guest's copies that the target's own rules no
    longer keep.
    """
    target = target_of(run)
    if not target.keep or run.memory.verified is None:
        return None
    with open_target(target, run.service.nodes, run.service.settings.ssh) as folder:
        keeping.apply(run, target, folder)
    removed, why = run.memory.removed, run.memory.kept_all
    run.conclude(f"{len(removed)} older copies removed" + (f"; {why}" if why else ""))
    return None


def _archive(run: Run[ArchiveCopyMemory]) -> Archive:
    """The archive as the catalog knows it now. Raise PveNotFound if it is gone, ArchiveError if it
    is not as it was recorded.
    """
    memory = run.memory
    archive = choosing.known(run.service, memory.node, memory.volid)
    if archive.changed:
        raise ArchiveError(
            f"archive {memory.volid} on {memory.node} was changed since it was recorded "
            f"({archive.changed}): a copy of it would outlive the good ones",
            "back the guest up again; see `backupsvc catalog show` what is known of it",
        )
    return archive


WORKFLOW = Workflow("copy", ("choose", "bring", "enlist", "tidy"), long=frozenset({"bring"}))
HANDLERS: Mapping[str, Handler[StepServices, ArchiveCopyMemory]] = {
    "choose": choose,
    "bring": bring,
    "enlist": enlist,
    "tidy": tidy,
}
