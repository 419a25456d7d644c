"""One guest's backup: where it is now, vzdump there, is the guest thawed, read back what came of
it, verify it.

A backup counts when the storage lists its archive with a size and a readable embedded config,
whatever the task said (law 4).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from backupsvc.engine.context import Again, Handler, NoTask, Wait
from backupsvc.errors import (
    ArchiveError,
    OperationFailed,
    PveError,
    PveNotFound,
    PvePermissionDenied,
    PveUnreachable,
    Refused,
)
from backupsvc.inventory import archive_signs, wholeness
from backupsvc.inventory.archive_bytes import verify_on_node
from backupsvc.operations import choosing
from backupsvc.operations.backup import external_backups, thawing
from backupsvc.operations.backup.memory import BackupMemory, Dump
from backupsvc.operations.backup.opening import GUESTS_AGE, name_of
from backupsvc.operations.services import Run, StepServices
from backupsvc.pve.answers import grant_for, hint_for
from backupsvc.pve.tasks import parse_upid
from policies import causes, freezing, reach
from policies.archive_signs import in_words
from policies.i18n import size
from policies.made import made
from policies.model import Archive, Guest, Job, Rung
from policies.pve import texts, vzdump_log
from policies.pve.guest_config import parse_config, smbios_uuid
from policies.pve.prune_backups import prunes
from policies.workflow import Workflow

DEFAULTS_AGE = 3600.0


def locate(run: Run[BackupMemory]) -> Wait | None:
    """Find where the guest is now, wait for that node's turn, and note what its storage listed
    before.
    """
    guest, job = _guest(run), _job(run)
    if run.memory.node != guest.node:
        run.leave()  # it waited for a node on which it is no longer
    run.memory = replace(
        run.memory, node=guest.node, name=name_of(run.service, guest), type=guest.type
    )
    if wait := external_backups.stand_back(run, guest, job):
        return wait
    if run.memory.adopted:
        return None
    # asked once for all guests of the node, so that none waits for the others
    if how := reach.down(run.service.pve.cluster.nodes(max_age=GUESTS_AGE)).get(guest.node):
        silent = (
            "is offline" if how == reach.OFFLINE else "does not answer, and its status is unknown"
        )
        raise PveUnreachable(
            f"node {guest.node} {silent}, so its guests cannot be backed up now",
            f"bring {guest.node} back; `backupsvc pra status` says what is known, what is within "
            "reach, and the way on",
        )
    if wait := run.turn(f"vzdump {guest.node}", f"another guest of {guest.node} is being dumped"):
        return wait
    storage = run.service.pve.storage
    defaults = storage.backup_defaults(guest.node, job.storage, max_age=DEFAULTS_AGE)
    # else PVE would prune that storage itself after the dump, past law 3 (pve-facts 3.2)
    keep_all = prunes(str(defaults.get("prune-backups", "")))
    # what is there now is not what the dump will have made
    listed = storage.archives(guest.node, job.storage, run.vmid)
    run.memory = replace(
        run.memory, keep_all=keep_all, before=tuple(archive.volid for archive in listed)
    )
    if not wholeness.rest_of_a_restore(run.service.pve, guest):
        return None
    run.service.catalog.archives.observe(listed, scope=[], at=run.now())
    # its dump would be a good archive of an empty machine
    if past := wholeness.past_of(run.service, run.vmid):
        raise Refused(
            f"VM {run.vmid} on {guest.node} is only the rest of a restore, without any disk, so "
            f"nothing was dumped: {past}",
            f"if no restore of it runs, remove it there with `qm destroy {run.vmid}`, then "
            f"`backupsvc restore {run.vmid}`",
        )
    return None


def dump(run: Run[BackupMemory]) -> Wait | Again | None:
    """Run vzdump for this guest alone, and read its log. What the task says is noted, not believed:
    read-back decides.
    """
    if run.memory.adopted:
        return None
    pve, job, node = run.service.pve, _job(run), str(run.memory.node)

    def start() -> str | None:
        return pve.vzdump.start(
            node,
            run.vmid,
            storage=job.storage,
            mode=job.mode,
            compress=job.compress,
            notes=f"{run.memory.name} on {node}, backupsvc {run.id}",
            keep_all=run.memory.keep_all,
            bandwidth=job.bandwidth,
        )

    try:
        result = run.task("dump", start, what=f"back up guest {run.vmid}", **_task(run))
    except NoTask:
        # to a dump of a guest that is elsewhere PVE says OK, and runs nothing (pve-facts 3.1)
        return Again("locate", f"guest {run.vmid} is no longer on {node}")
    if result is None:
        return Wait("vzdump is running", most=8.0, least=8.0)
    dumped = Dump(
        vzdump_log.read(result.log, run.vmid),
        result.exitstatus,
        cause="" if result.ok else causes.in_words(result.exitstatus, result.log),
        upid=result.upid,
        begun=vzdump_log.archives_begun(result.log, run.vmid),
    )
    run.memory = replace(run.memory, dump=dumped)
    run.ended("dump", result)
    run.leave()  # the node's next guest need not wait until this archive is read back and verified
    return None


def read_back(run: Run[BackupMemory]) -> Wait | None:
    """Find the new archive in the storage's listing, with a size and a readable config, and
    remember it (law 4).
    """
    storage, job, node, began = run.service.pve.storage, _job(run), str(run.memory.node), run.now()
    adopted, dumped = run.memory.adopted, _dumped(run)
    listed = storage.archives(node, adopted.storage if adopted else job.storage, run.vmid)
    archive = _fresh(run, listed, job)
    # an archive is listed like a good one even if it is empty or damaged (pve-facts 5.7)
    text = storage.extract_config(node, archive.volid)
    config = parse_config(text)
    catalog, report = run.service.catalog, dumped.report
    # no scope: only who lists a whole storage may call something gone (law 3)
    catalog.archives.observe(listed, scope=[], at=began)
    catalog.archives.annotate(
        node,
        archive.volid,
        name=config.get("name") or run.memory.name,
        config=text,
        uuid=smbios_uuid(config),
        consistency=str(report.consistency),
        excluded=list(report.excluded),
        operation=run.id,
        at=run.now(),
        anew=adopted is None,
    )
    choosing.pin(run.service, archive, run.fence(), run.now())  # it is about to be read whole
    run.memory = replace(run.memory, archive=catalog.archives.get(node, archive.volid) or archive)
    if not config:  # known by now, so that it counts for nothing
        raise PveError(
            f"archive {archive.volid} of guest {run.vmid} holds no config",
            "it cannot be restored: back the guest up again",
        )
    reason = freezing.why_not_frozen(report.consistency, report.freeze, config)
    run.memory = replace(run.memory, dump=replace(dumped, consistency_reason=reason))
    run.memory = replace(
        run.memory, lacking=tuple(wholeness.judge(run.service, archive, text, smbios_uuid(config)))
    )
    origin = f", made by {adopted.origin}" if adopted else ""
    why = f" ({reason})" if reason else ""
    run.conclude(f"{archive.volid}, {size(archive.size, 'en')}, {report.consistency}{why}{origin}")
    return None


def verify(run: Run[BackupMemory]) -> Wait | None:
    """Read the archive where that can be done, then say whether it holds what its guest had: if
    not, the backup is not good.
    """
    # first: what is found of its bytes is recorded, whatever is missing from it
    _verify(run)
    if lacking := run.memory.lacking:
        raise PveError(
            f"archive {_archive(run).volid} of guest {run.vmid} may not be whole: "
            f"{'; '.join(lacking)}",
            "see what became of the guest's disks; if that is right, `backupsvc restore-test "
            f"{run.vmid}` proves the archive",
        )
    return None


def _verify(run: Run[BackupMemory]) -> None:
    """Read the archive once over SSH where the node can be reached: every checksum and every
    cluster; the rung becomes intact.
    """
    node, archive = str(run.memory.node), _archive(run)
    volid = archive.volid
    if node not in run.service.settings.ssh.nodes:
        run.conclude("not read: no SSH to the node is configured; a restore test will prove it")
        return
    found = verify_on_node(run.service, node, volid, run.heartbeat)
    run.memory = replace(run.memory, verified=bool(found["intact"]))
    if not found["intact"]:
        first = found["problems"][0]
        run.service.catalog.archives.record_damaged(node, volid, first["text"], run.now())
        raise ArchiveError(
            f"archive {volid} on {node} of guest {run.vmid} is corrupt: {first['text']}",
            "back the guest up again, and check the storage's disk",
            offset=first["offset"],
        )
    if differs := run.service.catalog.archives.annotate(
        node, volid, sha256=found["sha256"], size=found["size"], at=run.now()
    ):
        raise ArchiveError(
            f"archive {volid} on {node} of guest {run.vmid} was changed since it was recorded: "
            f"{'; '.join(differs)}",
            f"find out who wrote to {node}, and back the guest up again",
        )
    archive = replace(archive, sha256=str(found["sha256"]))
    run.memory = replace(run.memory, archive=archive)
    # A false alarm fails no backup: the finding says it, and older archives stay.
    unusual = archive_signs.record(run.service, archive, found)
    suspicious = f"; SUSPICIOUS: {in_words(unusual)}" if unusual else ""
    if not found["checksummed"]:
        run.conclude(
            "complete, but it carries no checksum of its data, so nobody can say that it is intact"
            f"{suspicious}"
        )
        return
    run.service.catalog.archives.record_intact(node, volid, run.now())
    run.memory = replace(run.memory, archive=replace(archive, rung=Rung.INTACT))
    run.conclude(f"intact, sha256 {found['sha256'][:12]}{suspicious}")


def settle(run: Run[BackupMemory]) -> Wait | None:
    """Leave nothing running: a dump that nobody waits for any more is stopped, and the node's turn
    is given up.
    """
    if run.memory.dump is None and run.memory.node:
        pve = run.service.pve
        # a call whose answer was lost may have started one all the same
        upid = run.book.upid("dump") or run.adopt("dump", **_task(run))
        if upid is None and run.unsettled("dump"):
            return Wait("it is not known yet whether a dump was started", most=2.0)
        if upid and pve.tasks.poll(upid) is None:
            run.stop("dump", pve, upid)
            return Wait("the interrupted dump is ending", most=2.0)
        if (
            run.book.task("dump").stopped
            and run.memory.thaw is None
            and (wait := thawing.thawed(run))
        ):
            return wait
    run.leave()
    return None


def _task(run: Run[BackupMemory]) -> dict[str, Any]:
    """Where the dump's task runs, as ``Run.task`` and ``Run.adopt`` want to know it."""
    return {
        "pve": run.service.pve,
        "node": str(run.memory.node),
        "type": "vzdump",
        "vmid": run.vmid,
    }


def _fresh(run: Run[BackupMemory], listed: Collection[Archive], job: Job) -> Archive:
    """The archive that this operation made, or adopted, by what PVE says of its task. Raise
    PveError if none is listed, with what the dump ended with.
    """
    dumped, before, adopted = _dumped(run), run.memory.before, run.memory.adopted
    if adopted:
        found = next((archive for archive in listed if archive.volid == adopted.volid), None)
    else:
        since = parse_upid(str(dumped.upid)).start
        found = made(listed, before=before, begun=dumped.begun, since=since, operation=run.id)
    if found:
        return found
    why, cause = dumped.report.failure or dumped.exitstatus, dumped.cause
    said = f"{cause}; PVE says of it: {why}" if cause and cause not in why else why
    message = (
        f"backup of guest {run.vmid} on {run.memory.node} left no archive on {job.storage}: {said}"
    )
    # VM.Backup is looked at in the task, so that its lack ends a task (pve-facts 3.3)
    if texts.DENIED.search(why):
        raise PvePermissionDenied(message, grant_for(why, run.service.pve.token_id))
    hint = hint_for(cause) or f"read the task's log with `backupsvc operations show {run.id}`"
    raise PveError(message, hint, text=why)


def _dumped(run: Run[BackupMemory]) -> Dump:
    """What became of the dump, at a step that comes after it."""
    if run.memory.dump is None:
        raise OperationFailed(
            f"operation {run.id} remembers no dump", "back the guest up again", operation=run.id
        )
    return run.memory.dump


def _archive(run: Run[BackupMemory]) -> Archive:
    """The archive, at a step that comes after its reading back."""
    if run.memory.archive is None:
        raise OperationFailed(
            f"operation {run.id} remembers no archive", "back the guest up again", operation=run.id
        )
    return run.memory.archive


def _guest(run: Run[BackupMemory]) -> Guest:
    serves = 0.0 if run.book.backs else GUESTS_AGE  # it was not where that answer said
    for guest in run.service.pve.cluster.guests(max_age=serves):
        if guest.vmid == run.vmid:
            return guest
    raise PveNotFound(
        f"guest {run.vmid} is not in the cluster, so nothing was backed up",
        f"bring it back with `backupsvc restore {run.vmid}`, or take it out of job "
        f"{run.memory.job}",
    )


def _job(run: Run[BackupMemory]) -> Job:
    for job in run.service.policy.jobs:
        if job.id == run.memory.job:
            return job
    raise PveError(
        f"job {run.memory.job} is no longer in the policy", "run `backupsvc policy show`"
    )


WORKFLOW = Workflow(
    "backup",
    ("locate", "dump", "thawed", "read-back", "verify"),
    ("settle",),
    back=(("dump", "locate"),),
    long=frozenset({"verify"}),
)
HANDLERS: Mapping[str, Handler[StepServices, BackupMemory]] = {
    "locate": locate,
    "dump": dump,
    "thawed": thawing.thawed,
    "read-back": read_back,
    "verify": verify,
    "settle": settle,
}
