"""Apply retention: decide over every archive with reasons, let law 3 have the last word, then remove one by one.

Nothing here believes a listing that is shorter than the catalog's: an archive that we know and no longer see stops the run. What
lies where nothing can be listed now (a dead node, a hanging storage) is neither there nor gone: it is named for its guest, it is
no reason to remove another, and the rest is decided on what was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backupsvc.engine.context import Handler, Run, Wait, refused_for_sure
from backupsvc.errors import BackupsvcError, PveError, PveNotFound
from backupsvc.operations.prune.deciding import GONE, decision, is_archive, kept_now, list_at, refuse_if_shrunk, stopped_refusal
from backupsvc.operations.prune.result import mark_as_dict
from policies import prune_guard
from policies.model import Archive, Mark
from policies.pve.volid import storage_of
from policies.workflow import Workflow

LOOK_SERVES = 600.0  # seconds after the last look at the storages began in which the deletion must be asked for


def decide(run: Run) -> Wait | None:
    """Decide over every archive, and record every mark with its reasons before anything is removed."""
    decided = decision(run.service, run.data["only"], patient=run.patient)
    marked = decided.marked
    run.data["stopped"] = {str(vmid): why for vmid, why in decided.stopped.items()}
    run.data["marks"] = [mark_as_dict(item) for item in marked]
    run.data["left"] = [[item.archive.node, item.archive.volid] for item in marked if item.mark is Mark.REMOVE]
    run.data["removed"] = []
    run.data["unseen"] = {str(vmid): said for vmid, said in decided.unseen.items()}
    run.data["not_listed"] = list(decided.not_listed)
    run.data["blind"] = sorted(list(place) for place in decided.blind)
    run.data["said"] = "; ".join([f"{len(run.data['left'])} of {len(marked)} archives go", *decided.not_listed])
    return None


def remove(run: Run) -> Wait | None:
    """Remove the next archive, if it is still to go by what the storages list at this moment (law 3).

    Raise LawRefused at the end, naming the guests that were stopped.
    """
    if not run.data["left"]:
        run.data["said"] = f"{len(run.data['removed'])} removed"
        if refusal := stopped_refusal({int(vmid): why for vmid, why in run.data.get("stopped", {}).items()}):
            raise refusal
        return None
    node, volid = run.data["left"][0]
    if upid := run.data.get("removing_upid"):
        result = run.service.pve.tasks.poll(str(upid))
        if result is None:
            return Wait("an archive is being removed", most=0.5)
        if not result.ok and (found := _still_there(run, node, volid)):  # seen, not told: a call that was lost may have won
            if found.protected:
                return _keep(run, node, volid, "protected since it was decided on")
            result.raise_if_failed(f"removing archive {volid} on {node}")
        return _removed(run, node, volid)
    if run.data.get("removing") == volid:
        if not _still_there(run, node, volid):
            return _removed(run, node, volid)  # by the call whose answer was lost, or by a driver that died
        if run.unsettled("removing"):
            return Wait("it is not known yet whether an archive is being removed", most=2.0)
    looked, decided = run.clock.now(), _as_decided(run, node, volid)
    blind = {(str(node), str(storage)) for node, storage in run.data.get("blind", ())}
    if why := _needed(run, node, volid) or kept_now(run.service, decided["vmid"], node, volid, decided, blind):
        return _keep(run, node, volid, why)
    if not 0 <= run.clock.now() - looked <= LOOK_SERVES:
        return Wait("the storages are looked at once more: the last look was too long ago", most=0.01)
    return _begin_removing(run, node, volid)


def _keep(run: Run, node: str, volid: str, why: str) -> Wait:
    """Go on to the next archive: this one stays."""
    run.data["left"].pop(0)
    _forget(run)
    run.service.catalog.unpin(node, volid, run.id, run.fence())
    run.note("kept", volid=volid, why=why)
    if prune_guard.stops(why):
        run.data["stopped"] = run.data.get("stopped", {}) | {str(_as_decided(run, node, volid)["vmid"]): why}
    return Wait("next", most=0.01)


def _needed(run: Run, node: str, volid: str) -> str | None:
    """Keep everybody from choosing the archive; return why it must stay if somebody has chosen it already, or it is gone."""
    try:
        other = run.service.catalog.begin_removal(node, volid, run.id, run.now(), run.fence())
    except PveNotFound:
        return GONE
    return f"law 3: in use by operation {other}" if other else None


def settle(run: Run) -> Wait | None:
    """See what became of an archive whose removal was begun: one that went by our own hand must not be missed later (law 3)."""
    if not run.data.get("removing"):
        return None
    node, volid = run.data["left"][0]
    upid = run.data.get("removing_upid")
    if run.unsettled("removing") or (upid and run.service.pve.tasks.poll(str(upid)) is None):
        return Wait("it is not known yet whether an archive was removed", most=2.0)
    if not _still_there(run, node, volid):
        _removed(run, node, volid)
    return None


def _begin_removing(run: Run, node: str, volid: str) -> Wait:
    """Ask PVE to delete an archive. The intent is written first: an archive that is gone then went by our own hand."""
    run.data.update(removing=volid, removing_intent=run.now())
    run.note("intent", what=f"remove {volid} on {node}")
    try:
        upid = run.service.pve.storage.delete(node, volid)
    except BackupsvcError as error:
        if refused_for_sure(error):
            _forget(run)
        raise
    if upid is None:  # PVE did it at once
        return _removed(run, node, volid)
    run.data["removing_upid"] = upid
    run.note("task", upid)
    return Wait("an archive is being removed", most=0.1)


def _removed(run: Run, node: str, volid: str) -> Wait:
    run.service.catalog.mark_gone(node, volid, run.now())  # by our own hand, so that it is not missed later
    run.data["removed"].append([node, volid])
    run.data["left"].pop(0)
    _forget(run)
    run.note("removed", volid=volid)
    return Wait("next", most=0.01)


def _forget(run: Run) -> None:
    run.data["removing"] = None
    run.forget("removing")


def _still_there(run: Run, node: str, volid: str) -> Archive | None:
    """The archive as its storage lists it now, None if it is gone.

    Raise LawRefused if others that are known there are not listed either: of such a listing nobody can say what has gone.
    """
    storage, vmid = storage_of(volid), _as_decided(run, node, volid)["vmid"]
    known = run.service.catalog.archives(vmid=vmid, storage=storage)
    listed = list_at(run.service, vmid, [(node, storage)])
    refuse_if_shrunk([one for one in known if one.node == node and not is_archive(one, node, volid)], listed)
    return next((archive for archive in listed if is_archive(archive, node, volid)), None)


WORKFLOW = Workflow("prune", ("decide", "remove"), ("settle",), long=frozenset({"decide"}))
HANDLERS: Mapping[str, Handler] = {"decide": decide, "remove": remove, "settle": settle}


def _as_decided(run: Run, node: str, volid: str) -> dict[str, Any]:
    """An archive as it was when its removal was decided on."""
    for item in run.data["marks"]:
        if (item["node"], item["volid"]) == (node, volid):
            return dict(item)
    raise PveError(f"archive {volid} on {node} was not among the decided ones", "run the prune again")
