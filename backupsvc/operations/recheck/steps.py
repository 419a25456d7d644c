"""Read an archive anew: pin it, wait for its node's turn, read it whole where it lies, record what
was found; of one that is damaged, have a fresh backup made.

What is found is recorded of the archive, so that retention, restores and the report go by it at
once. Its end is a failure where its bytes are no longer good: somebody must look at that disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backupsvc.engine.context import Handler, Wait
from backupsvc.errors import ArchiveError, Refused
from backupsvc.inventory import archive_signs
from backupsvc.inventory.archive_bytes import readable_from, unchanged_on_node, verify_on_node
from backupsvc.operations import choosing
from backupsvc.operations.backup.opening import open_backup
from backupsvc.operations.recheck.memory import Reading, RecheckMemory
from backupsvc.operations.recheck.opening import lock_of
from backupsvc.operations.services import Run, StepServices
from policies.jobs import Expected, job_for
from policies.model import Archive, Rung
from policies.workflow import Workflow

DAY = 86_400  # seconds


def choose(run: Run[RecheckMemory]) -> Wait | None:
    """Keep prune from the archive (law 3), and wait for the turn at its node."""
    archive = choosing.known(run.service, run.memory.node, run.memory.volid)
    choosing.pin(run.service, archive, run.fence(), run.now())
    return run.turn(lock_of(archive.node), f"another archive of {archive.node} is being read")


def read(run: Run[RecheckMemory]) -> Wait | None:
    """Read the archive whole, hold it against what was recorded of it, and record what was found.

    What was found good once is summed where it lies: the same bytes are as good as they were. Of
    others only a reading says what is wrong.
    """
    service = run.service
    archive = choosing.known(service, run.memory.node, run.memory.volid)
    catalog, volid = service.catalog.archives, archive.volid
    node = readable_from(archive, service.settings.ssh.nodes)
    if node is None:
        raise Refused(
            f"archive {volid} on {archive.node} cannot be read: no SSH to the node is configured, "
            "or nothing here decodes its format",
            "set BACKUPSVC_SSH__NODES; LZO is read by PVE alone",
        )
    if archive.sha256 and unchanged_on_node(service, node, archive, run.heartbeat):
        catalog.record_intact(archive.node, volid, run.now())
        found = Reading(archive.sha256, archive.size, True, how=f"summed on {node}")
    else:
        found = _read_whole(run, archive, node)
    run.memory = replace(run.memory, found=found)
    run.conclude(
        found.problem
        or (
            f"its bytes are good, SHA-256 {found.sha256[:12]}, {found.how}"
            if found.good
            else "it is complete, but it carries no checksum of its data, and none was recorded"
        )
    )
    return None


def _read_whole(run: Run[RecheckMemory], archive: Archive, node: str) -> Reading:
    """Read every byte of it here, and record what that says."""
    service, volid = run.service, archive.volid
    catalog = service.catalog.archives
    found = verify_on_node(service, node, volid, run.heartbeat)
    own = bool(found["checksummed"] and found["intact"])
    differs = catalog.annotate(
        archive.node,
        volid,
        size=found["size"],
        # other bytes that are whole were written by somebody; what is not whole rotted
        sha256=found["sha256"] if own or (found["intact"] and archive.sha256) else None,
        at=run.now(),
    )
    problem = found["problems"][0]["text"] if found["problems"] else "; ".join(differs)
    same = archive.sha256 is not None and not differs
    good = False if problem else True if own or same else None
    if found["problems"]:
        catalog.record_damaged(archive.node, volid, problem, run.now())
    elif good:
        catalog.record_intact(archive.node, volid, run.now())
    # it was read whole, and nothing tells whether its data are right
    elif good is None:
        catalog.record_read(archive.node, volid, run.now())
    archive_signs.record(service, archive, found)
    return Reading(found["sha256"], found["size"], good, problem, f"read from {node}")


def renew(run: Run[RecheckMemory]) -> Wait | None:
    """Of an archive that is no longer good, have a fresh backup made, and end as failed."""
    found = run.memory.found
    if found is None or not found.problem:
        return None
    if not run.memory.fresh:
        fresh = _open_fresh(run)
        run.memory = replace(run.memory, fresh=fresh)
        run.note("fresh", backup=fresh)
    raise ArchiveError(
        f"archive {run.memory.volid} on {run.memory.node} of guest {run.vmid} is no longer good: "
        f"{found.problem}; {run.memory.fresh}",
        f"check the disk under its storage on {run.memory.node}, and prove an older archive: "
        f"`backupsvc restore-test {run.vmid}`",
    )


def _open_fresh(run: Run[RecheckMemory]) -> str:
    """Open a backup of the guest, once; return the sentence that says so, or why there is none."""
    service, by_hand = run.service, f"back it up with `backupsvc backup run --vmid {run.vmid}`"
    if run.foreground:
        return by_hand  # a backup that is opened here waits for workers, who may not be there
    # a disk that rots may have damaged many archives of one guest: one new one is enough
    for one in service.catalog.archives.find(vmid=run.vmid, since=run.now() - DAY):
        if one.rung.height >= Rung.INTACT.height and not one.unfit:
            return f"its archive {one.volid} of the last day is good"
    job = job_for(service.policy, run.vmid)
    guest = next((one for one in service.pve.cluster.guests() if one.vmid == run.vmid), None)
    if job is None or guest is None:
        return "no fresh backup was begun: " + (
            "no job of the policy covers the guest" if guest else "the guest is gone"
        )
    occurrence = f"{run.id}#fresh"
    try:
        opened = open_backup(service, job, Expected(run.vmid, guest), occurrence)
    except Refused as refused:
        return f"no fresh backup was begun ({refused.message}): {by_hand}"
    found = opened or service.catalog.operations.by_occurrence(occurrence)
    return f"a fresh backup was begun: {found.id}" if found else by_hand


WORKFLOW = Workflow("recheck", ("choose", "read", "renew"), long=frozenset({"read"}))
HANDLERS: Mapping[str, Handler[StepServices, RecheckMemory]] = {
    "choose": choose,
    "read": read,
    "renew": renew,
}
