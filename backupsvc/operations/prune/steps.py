"""Apply retention: decide over every archive with reasons, let law 3 have the last word, then
remove one by one.

Nothing here believes a listing that is shorter than the catalog's: an archive that we know and no
longer see stops the run. What lies where nothing can be listed now (a dead node, a hanging storage)
is neither there nor gone: it is named for its guest, it is no reason to remove another, and the
rest is decided on what was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backupsvc.engine.context import Handler, Wait, refused_for_sure
from backupsvc.errors import BackupsvcError, PveError, PveNotFound
from backupsvc.inventory import departed
from backupsvc.operations.prune.deciding import (
    GONE,
    decision,
    is_archive,
    kept_now,
    list_at,
    refuse_if_shrunk,
    stopped_refusal,
)
from backupsvc.operations.prune.memory import PruneMemory
from backupsvc.operations.services import Run, StepServices
from policies import prune_guard
from policies.model import Archive, Mark
from policies.pve.volid import storage_of
from policies.workflow import Workflow

REMOVING = "removing"  # the task that removes an archive
# seconds after the last look at the storages began in which the deletion must be asked for
LOOK_SERVES = 600.0


def decide(run: Run[PruneMemory]) -> Wait | None:
    """Decide over every archive, and record every mark with its reasons before anything is
    removed.
    """
    departed.look(run.service)
    decided = decision(run.service, run.memory.only, retries=run.retries)
    left = tuple(
        (item.archive.node, item.archive.volid)
        for item in decided.marked
        if item.mark is Mark.REMOVE
    )
    run.memory = PruneMemory(
        only=run.memory.only,
        marks=tuple(decided.marked),
        left=left,
        stopped=decided.stopped,
        unseen=decided.unseen,
        not_listed=decided.not_listed,
        blind=tuple(sorted(decided.blind)),
    )
    run.conclude(
        "; ".join([f"{len(left)} of {len(decided.marked)} archives go", *decided.not_listed])
    )
    return None


def remove(run: Run[PruneMemory]) -> Wait | None:
    """Remove the next archive, if it is still to go by what the storages list at this moment (law
    3).

    Raise LawRefused at the end, naming the guests that were stopped.
    """
    memory = run.memory
    if not memory.left:
        run.conclude(f"{len(memory.removed)} removed")
        if refusal := stopped_refusal(memory.stopped):
            raise refusal
        return None
    node, volid = memory.left[0]
    if upid := run.book.upid(REMOVING):
        result = run.service.pve.tasks.poll(upid)
        if result is None:
            return Wait("an archive is being removed", most=0.5)
        # seen, not told: a call that was lost may have won
        if not result.ok and (found := _still_there(run, node, volid)):
            if found.protected:
                return _keep(run, node, volid, "protected since it was decided on")
            result.raise_if_failed(f"removing archive {volid} on {node}")
        return _removed(run, node, volid)
    if memory.removing == volid:
        if not _still_there(run, node, volid):
            # by the call whose answer was lost, or by a driver that died
            return _removed(run, node, volid)
        if run.unsettled(REMOVING):
            return Wait("it is not known yet whether an archive is being removed", most=2.0)
    looked, decided = run.clock.now(), _as_decided(run, node, volid)
    # first: from here on nobody can choose it, until it is removed or kept
    try:
        other = run.service.catalog.archive_pins.begin_removal(node, volid, run.now(), run.fence())
    except PveNotFound:
        return _keep(run, node, volid, GONE)
    if other:
        return _keep(run, node, volid, f"law 3: in use by operation {other}")
    if why := kept_now(run.service, node, decided, memory.blind):
        return _keep(run, node, volid, why)
    if not 0 <= run.clock.now() - looked <= LOOK_SERVES:
        return Wait(
            "the storages are looked at once more: the last look was too long ago", most=0.01
        )
    return _begin_removing(run, node, volid)


def _keep(run: Run[PruneMemory], node: str, volid: str, why: str) -> Wait:
    """Go on to the next archive: this one stays."""
    run.memory = replace(run.memory, left=run.memory.left[1:], removing=None)
    run.forget(REMOVING)
    run.service.catalog.archive_pins.unpin(node, volid, run.fence())
    run.note("kept", volid=volid, why=why)
    if prune_guard.stops(why):
        vmid = _as_decided(run, node, volid).vmid
        run.memory = replace(
            run.memory, stopped={**run.memory.stopped, **({} if vmid is None else {vmid: why})}
        )
    return Wait("next", most=0.01)


def settle(run: Run[PruneMemory]) -> Wait | None:
    """See what became of an archive whose removal was begun: one that went by our own hand must not
    be missed later (law 3).
    """
    if not run.memory.removing:
        return None
    node, volid = run.memory.left[0]
    upid = run.book.upid(REMOVING)
    if run.unsettled(REMOVING) or (upid and run.service.pve.tasks.poll(upid) is None):
        return Wait("it is not known yet whether an archive was removed", most=2.0)
    if not _still_there(run, node, volid):
        _removed(run, node, volid)
    return None


def _begin_removing(run: Run[PruneMemory], node: str, volid: str) -> Wait:
    """Ask PVE to delete an archive. The intent is written first: an archive that is gone then went
    by our own hand.
    """
    run.memory = replace(run.memory, removing=volid)
    run.intend(REMOVING, f"remove {volid} on {node}")
    try:
        upid = run.service.pve.storage.delete(node, volid)
    except BackupsvcError as error:
        if refused_for_sure(error):
            run.memory = replace(run.memory, removing=None)
            run.forget(REMOVING)
        raise
    if upid is None:  # PVE did it at once
        return _removed(run, node, volid)
    run.began(REMOVING, upid)
    return Wait("an archive is being removed", most=0.1)


def _removed(run: Run[PruneMemory], node: str, volid: str) -> Wait:
    # by our own hand, so that it is not missed later
    run.service.catalog.archives.mark_gone(node, volid, run.now())
    removed = (*run.memory.removed, (node, volid))
    run.memory = replace(run.memory, removed=removed, left=run.memory.left[1:], removing=None)
    run.forget(REMOVING)
    run.note("removed", volid=volid)
    return Wait("next", most=0.01)


def _still_there(run: Run[PruneMemory], node: str, volid: str) -> Archive | None:
    """The archive as its storage lists it now, None if it is gone.

    Raise LawRefused if others that are known there are not listed either: of such a listing nobody
    can say what has gone.
    """
    storage, vmid = storage_of(volid), _as_decided(run, node, volid).vmid
    known = run.service.catalog.archives.find(vmid=vmid, storage=storage)
    listed = list_at(run.service, vmid, [(node, storage)])
    refuse_if_shrunk(
        [one for one in known if one.node == node and not is_archive(one, node, volid)], listed
    )
    return next((archive for archive in listed if is_archive(archive, node, volid)), None)


WORKFLOW = Workflow("prune", ("decide", "remove"), ("settle",), long=frozenset({"decide"}))
HANDLERS: Mapping[str, Handler[StepServices, PruneMemory]] = {
    "decide": decide,
    "remove": remove,
    "settle": settle,
}


def _as_decided(run: Run[PruneMemory], node: str, volid: str) -> Archive:
    """An archive as it was when its removal was decided on."""
    for item in run.memory.marks:
        if (item.archive.node, item.archive.volid) == (node, volid):
            return item.archive
    raise PveError(
        f"archive {volid} on {node} was not among the decided ones", "run the prune again"
    )
