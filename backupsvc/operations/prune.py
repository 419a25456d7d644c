"""Apply retention: decide over every archive with reasons, let law 3 have the last word, then remove one by one.

Nothing here believes a listing that is shorter than the catalog's: an archive that we know and no longer see stops the run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backupsvc.errors import BackupsvcError, LawRefused, PveError
from backupsvc.operations.listing import as_dict, observe
from backupsvc.operations.run import Run, Wait, refused_for_sure
from backupsvc.operations.wholeness import look_into
from policies import lineage, prune_guard, retention, whole
from policies.jobs import job_for
from policies.model import Archive, Guest, Mark, Marked, Operation, Policy, PruneRules

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service

GUESTS_AGE = 30.0  # seconds that an answer of the cluster about all guests serves for each removal
SMALL = (
    "it is less than half as large as those before it, so it counts for no keep rule until a restore test proves it whole: "
    "`backupsvc restore-test VMID --archive VOLID`"
)
ASIDE = "it holds no disk, so it is put aside and counts for no keep rule: look at it, and remove it in PVE yourself"
CHANGED = "it was changed since it was recorded ({}), so it is put aside and counts for no keep rule: look at it"
ANOTHER = "law 10: it is of another machine than guest {} is now, so it is kept until somebody decides, and counts not"


@dataclass(frozen=True, slots=True)
class Decision:
    """Every archive with its mark after law 3. ``stopped``: the guests that lose nothing though retention would have removed
    something, each with the reason; the archives of the others may go."""

    marked: tuple[Marked, ...]
    stopped: Mapping[int, str] = field(default_factory=dict)

    def refusal(self) -> LawRefused | None:
        """Return what the run ends with once the others' archives are gone, None if nobody was stopped."""
        return _refused(self.stopped)


def decide_all(archives: Sequence[Archive], guests: Sequence[Guest], policy: Policy) -> list[Marked]:
    """Given every archive, the cluster's guests and the policy, return every archive marked, in the order given.

    Retention is that of the job which covers the guest, applied storage by storage as PVE does. Archives of a guest that no job
    covers, or that no longer exists, are kept: what remains of a deleted guest must not rotate out. Archives without any disk,
    those that were changed, those of another machine and those whose size has collapsed are put aside, so that none counts in
    place of a whole one.
    """
    hollow, collapsed, others = whole.hollow(archives), whole.collapsed(archives), lineage.others(archives)
    present = {guest.vmid for guest in guests}
    marks: dict[tuple[str, str], Marked] = {}
    groups: dict[tuple[str, str, str], list[Archive]] = {}
    for archive in archives:
        why = _kept_because(archive, present, policy) or _aside(archive, hollow, others, collapsed)
        if why:
            mark = Mark.PROTECTED if archive.protected else Mark.KEEP
            marks[_key(archive)] = Marked(archive, mark, (why,))
        else:
            job = job_for(policy, archive.vmid or 0)
            groups.setdefault((archive.node, archive.storage, job.keep if job else ""), []).append(archive)
    for (_, _, keep), group in groups.items():
        for marked in retention.decide(group, retention.parse_keep(keep), policy.timezone):
            if marked:
                marks[_key(marked.archive)] = marked
    return [marks[_key(archive)] for archive in archives]


def preview(service: Service, only: Collection[int] = ()) -> list[Marked]:
    """Given the service, return every archive with its mark and reasons after law 3. Raise LawRefused when the run must stop."""
    return list(decision(service, only).marked)


def decision(service: Service, only: Collection[int] = ()) -> Decision:
    """Given the service, decide over every archive. Raise LawRefused when nothing at all may be removed."""
    vmids: Sequence[int | None] = sorted(only) or [None]  # None: all of them, in one listing a storage
    known = [archive for vmid in vmids for archive in service.catalog.archives(vmid=vmid)]
    archives = [archive for vmid in vmids for archive in observe(service, vmid)]
    _refuse_if_shrunk(known, archives)
    return _decided(service, archives, service.pve.cluster.guests(), listed_before=len(known), rules=service.policy.prune)


def _decided(
    service: Service, archives: Sequence[Archive], guests: Sequence[Guest], *, listed_before: int, rules: PruneRules
) -> Decision:
    """Given what was listed, return the decision after law 3. Raise LawRefused where nothing may be removed."""
    facts: dict[str, Any] = {"listed_before": listed_before, "now": int(service.clock.now()), "rules": rules}
    facts["in_use"] = in_use(service)
    stopped = prune_guard.stopped(archives, service.catalog.knowledge(archives[0].vmid if _of_one_guest(archives) else None))
    # Once before, so that only those count as stopped that would have lost something; once after, so that they do not count.
    wanted = retention.guard(decide_all(look_into(service, archives), guests, service.policy), **facts)
    held = prune_guard.hold(wanted.marked, stopped)
    guarded = retention.guard(held.marked, **facts)
    if guarded.refusal:
        raise LawRefused(3, guarded.refusal, "look at `backupsvc prune --dry-run` and at the storages before anything is removed")
    return Decision(guarded.marked, held.refused)


def _of_one_guest(archives: Sequence[Archive]) -> bool:
    return len({archive.vmid for archive in archives}) == 1


def _refused(stopped: Mapping[int, str]) -> LawRefused | None:
    said = prune_guard.refusal(stopped)
    return LawRefused(3, *said) if said else None


def kept_now(service: Service, vmid: int | None, node: str, volid: str) -> str | None:
    """Given an archive that was to go, decide again on what the storages list now: why it stays, None if it may still go.

    Every place where the catalog knows an archive of that guest is listed anew, and one that cannot be listed ends the run with
    its error: what is not seen is neither there nor gone. Raise LawRefused if an archive has vanished without our doing.
    """
    known = service.catalog.archives(vmid=vmid)
    if (node, volid) not in {_key(archive) for archive in known}:
        return "it was removed since the decision"
    places = sorted({(archive.node, archive.storage) for archive in known})
    listed = [archive for where, storage in places for archive in service.pve.storage.archives(where, storage, vmid)]
    _refuse_if_shrunk(known, listed)
    service.catalog.observe(listed, scope=[], at=int(service.clock.now()))
    current = {_key(archive): archive for archive in service.catalog.archives(vmid=vmid)}
    archives = [current.get(_key(archive), archive) for archive in listed]
    guests = service.pve.cluster.guests(max_age=GUESTS_AGE)
    # The share of all archives was judged by the decision over all of them: of one guest's, more may go.
    everything = replace(service.policy.prune, max_share=1.0)
    marked = _decided(service, archives, guests, listed_before=len(known), rules=everything).marked
    mine = next(item for item in marked if _key(item.archive) == (node, volid))
    return None if mine.mark is Mark.REMOVE else mine.reasons[-1]


def in_use(service: Service) -> set[str]:
    """Return the volids of the archives that open operations read, copy or test."""
    return service.catalog.pinned()


def open_prune(service: Service, only: Collection[int] = (), occurrence: str | None = None) -> Operation | None:
    """Open a prune of the whole site, or of some guests' archives. Return None when ``occurrence`` was opened before (law 9)."""
    return service.engine.open("prune", None, {"only": sorted(only)}, occurrence=occurrence)


def decide(run: Run) -> Wait | None:
    """Decide over every archive, and record every mark with its reasons before anything is removed."""
    decided = decision(run.service, run.data["only"])
    marked = decided.marked
    run.data["stopped"] = {str(vmid): why for vmid, why in decided.stopped.items()}
    run.data["marks"] = [mark_as_dict(item) for item in marked]
    run.data["left"] = [[item.archive.node, item.archive.volid] for item in marked if item.mark is Mark.REMOVE]
    run.data["removed"] = []
    run.data["said"] = f"{len(run.data['left'])} of {len(marked)} archives go"
    return None


def remove(run: Run) -> Wait | None:
    """Remove the next archive, if it is still to go by what the storages list at this moment (law 3).

    Raise LawRefused at the end, naming the guests that were stopped.
    """
    if not run.data["left"]:
        run.data["said"] = f"{len(run.data['removed'])} removed"
        if refusal := _refused({int(vmid): why for vmid, why in run.data.get("stopped", {}).items()}):
            raise refusal
        return None
    node, volid = run.data["left"][0]
    if upid := run.data.get("removing_upid"):
        result = run.service.pve.tasks.poll(str(upid))
        if result is None:
            return Wait("an archive is being removed", most=0.5)
        if not result.ok and volid in _listed(run, node, volid):  # seen, not told: a call whose answer was lost may have won
            result.raise_if_failed(f"removing archive {volid} on {node}")
        return _removed(run, node, volid)
    if run.data.get("removing") == volid:
        if volid not in _listed(run, node, volid):
            return _removed(run, node, volid)  # by the call whose answer was lost, or by a driver that died
        if run.unsettled("removing"):
            return Wait("it is not known yet whether an archive is being removed", most=2.0)
    if why := _needed(run, node, volid) or kept_now(run.service, _vmid(run, volid), node, volid):
        run.data["left"].pop(0)
        _forget(run)
        run.service.catalog.unpin(node, volid, run.id, run.fence())
        run.note("kept", volid=volid, why=why)
        if prune_guard.stops(why):
            run.data["stopped"] = run.data.get("stopped", {}) | {str(_vmid(run, volid)): why}
        return Wait("next", most=0.01)
    return _begin_removing(run, node, volid)


def _needed(run: Run, node: str, volid: str) -> str | None:
    """Keep everybody from choosing the archive; return why it must stay if somebody has chosen it already."""
    other = run.service.catalog.begin_removal(node, volid, run.id, run.now(), run.fence())
    return f"law 3: in use by operation {other}" if other else None


def settle(run: Run) -> Wait | None:
    """See what became of an archive whose removal was begun: one that went by our own hand must not be missed later (law 3)."""
    if not run.data.get("removing"):
        return None
    node, volid = run.data["left"][0]
    upid = run.data.get("removing_upid")
    if run.unsettled("removing") or (upid and run.service.pve.tasks.poll(str(upid)) is None):
        return Wait("it is not known yet whether an archive was removed", most=2.0)
    if volid not in _listed(run, node, volid):
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


def _listed(run: Run, node: str, volid: str) -> dict[str, Archive]:
    storage = volid.split(":", 1)[0]
    return {archive.volid: archive for archive in run.service.pve.storage.archives(node, storage, _vmid(run, volid))}


HANDLERS = {"decide": decide, "remove": remove, "settle": settle}


def mark_as_dict(item: Marked) -> dict[str, Any]:
    """Given a marked archive, return it as ``prune --json`` shows it."""
    return as_dict(item.archive) | {"mark": str(item.mark), "reasons": list(item.reasons)}


def foreseen(decision: Decision) -> dict[str, Any]:
    """Given what a prune would decide now, return what ``prune --dry-run --json`` prints, with its error."""
    error: dict[str, Any] | None = None
    if refusal := decision.refusal():
        error = {"step": "remove", "message": refusal.message, "hint": refusal.hint, "exit_code": refusal.exit_code}
    marks = [mark_as_dict(item) for item in decision.marked]
    return {"operation": None, "dry_run": True, "archives": marks, "removed": [], "error": error}


def outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended prune, return what ``prune --json`` prints."""
    data: Any = operation.data
    error = data.get("error")
    return {
        "operation": operation.id,
        "dry_run": False,
        "archives": data.get("marks", []),
        "removed": [volid for _, volid in data.get("removed", [])],
        "error": {key: error[key] for key in ("step", "message", "hint", "exit_code")} if error else None,
    }


def _kept_because(archive: Archive, present: Collection[int], policy: Policy) -> str | None:
    if archive.vmid is None:
        return "its name is not a vzdump name, so nobody knows whose it is"
    if archive.vmid not in present:
        return f"guest {archive.vmid} no longer exists: its archives are kept until somebody decides"
    if job_for(policy, archive.vmid) is None:
        return f"no job of the policy covers guest {archive.vmid}, so no retention applies"
    return None


def _aside(
    archive: Archive,
    hollow: Collection[tuple[str, str]],
    others: Collection[tuple[str, str]],
    collapsed: Collection[tuple[str, str]],
) -> str | None:
    if archive.changed:
        return CHANGED.format(archive.changed)
    if whole.key(archive) in others:
        return ANOTHER.format(archive.vmid)
    if whole.key(archive) in hollow:
        return ASIDE
    return SMALL if whole.key(archive) in collapsed else None


def _refuse_if_shrunk(known: Sequence[Archive], listed: Sequence[Archive]) -> None:
    seen = {_key(archive) for archive in listed}
    lost = [archive for archive in known if _key(archive) not in seen]
    if lost:
        names = ", ".join(f"{archive.volid} on {archive.node}" for archive in lost[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise LawRefused(
            3,
            f"{len(lost)} archives that the catalog knows are no longer listed ({names}{more}), so nothing is pruned",
            "if they were removed on purpose, run `backupsvc catalog sync`; else find out why (rights, a lost mount)",
        )


def _vmid(run: Run, volid: str) -> int | None:
    for item in run.data["marks"]:
        if item["volid"] == volid:
            return int(item["vmid"])
    raise PveError(f"archive {volid} was not among the decided ones", "run the prune again")


def _key(archive: Archive) -> tuple[str, str]:
    return (archive.node, archive.volid)
