"""Apply retention: decide over every archive with reasons, let law 3 have the last word, then remove one by one.

Nothing here believes a listing that is shorter than the catalog's: an archive that we know and no longer see stops the run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backupsvc.errors import BackupsvcError, LawRefused, PveError, PveNotFound
from backupsvc.operations.listing import as_dict, observe
from backupsvc.operations.run import Run, Wait, refused_for_sure
from backupsvc.operations.wholeness import look_into, rest_of_a_restore
from policies import lineage, prune_guard, retention, whole
from policies.jobs import job_for
from policies.model import Archive, Guest, GuestType, Mark, Marked, Operation, Policy, PruneRules

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.catalog.leases import Fence

GUESTS_AGE = 30.0  # seconds that an answer of the cluster about all guests serves for each removal
SMALL = (
    "it is less than half as large as those before it, so it counts for no keep rule until a restore test proves it whole: "
    "`backupsvc restore-test VMID --archive VOLID`"
)
CHANGED = "it was changed since it was recorded ({}), so it is put aside and counts for no keep rule: look at it"
ANOTHER = "law 10: it is of another machine than guest {} is now, so it is kept until somebody decides, and counts not"
LOOK_SERVES = 600.0  # seconds after the last look at the storages began in which the deletion must be asked for
GONE = "it was removed since the decision"
ASIDE = (
    "as far as can be seen it holds no disk, so it is put aside and counts for no keep rule: look at it, and remove it in PVE "
    "yourself"
)


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
    covers, or that no longer exists, are kept: what remains of a deleted guest must not rotate out, also when its VMID went to
    a guest of the other kind. Archives without any disk, those that were changed, those of another machine and those whose size
    has collapsed are put aside, so that none counts in place of a whole one.
    """
    hollow, collapsed, others = whole.hollow(archives), whole.collapsed(archives), lineage.others(archives)
    present = {guest.vmid: guest.type for guest in guests}
    marks: dict[tuple[str, str], Marked] = {}
    groups: dict[tuple[str, str, str], list[Archive]] = {}
    for archive in archives:
        why = _kept_because(archive, present, policy) or _aside(archive, hollow, others, collapsed)
        if why:
            mark = Mark.PROTECTED if archive.protected else Mark.KEEP
            marks[whole.key(archive)] = Marked(archive, mark, (why,))
        else:
            job = job_for(policy, archive.vmid or 0)
            groups.setdefault((whole.key(archive)[0], archive.storage, job.keep if job else ""), []).append(archive)
    for (_, _, keep), group in groups.items():
        for marked in retention.decide(group, retention.parse_keep(keep), policy.timezone):
            if marked:
                marks[whole.key(marked.archive)] = marked
    return [marks[whole.key(archive)] for archive in archives]


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
    there = _standing(service, guests, {archive.vmid for archive in archives})
    wanted = retention.guard(decide_all(look_into(service, archives), there, service.policy), **facts)
    held = prune_guard.hold(wanted.marked, stopped)
    guarded = retention.guard(held.marked, **facts)
    if guarded.refusal:
        raise LawRefused(3, guarded.refusal, "look at `backupsvc prune --dry-run` and at the storages before anything is removed")
    return Decision(guarded.marked, held.refused)


def _standing(service: Service, guests: Sequence[Guest], vmids: Collection[int | None]) -> list[Guest]:
    """The guests that exist. What a failed restore leaves under a lost guest's VMID is none, though the cluster lists it."""
    return [guest for guest in guests if guest.vmid not in vmids or not rest_of_a_restore(service.pve, guest)]


def _of_one_guest(archives: Sequence[Archive]) -> bool:
    return len({archive.vmid for archive in archives}) == 1


def _refused(stopped: Mapping[int, str]) -> LawRefused | None:
    said = prune_guard.refusal(stopped)
    return LawRefused(3, *said) if said else None


def kept_now(service: Service, vmid: int | None, node: str, volid: str, decided: Mapping[str, Any]) -> str | None:
    """Given an archive that was to go, decide again on what the storages list now: why it stays, None if it may still go.

    Every place where the catalog knows an archive of that guest is listed anew, and one that cannot be listed ends the run with
    its error: what is not seen is neither there nor gone. ``decided`` is the archive as it was decided on: another file by its
    name stays. Raise LawRefused if an archive has vanished without our doing.
    """
    known, began = service.catalog.archives(vmid=vmid), int(service.clock.now())
    if not any(_is(archive, node, volid) for archive in known):
        return GONE
    listed = _list(service, vmid, _places(known, node, volid))
    _refuse_if_shrunk(known, listed)
    service.catalog.observe(listed, scope=[], at=began)
    current = {whole.key(archive): archive for archive in service.catalog.archives(vmid=vmid)}
    archives = [current.get(whole.key(archive), archive) for archive in listed]
    guests = service.pve.cluster.guests(max_age=GUESTS_AGE)
    # The share of all archives was judged by the decision over all of them: of one guest's, more may go.
    everything = replace(service.policy.prune, max_share=1.0)
    marked = _decided(service, archives, guests, listed_before=len(known), rules=everything).marked
    mine = next(item for item in marked if _is(item.archive, node, volid))
    if (mine.archive.size, mine.archive.ctime) != (decided["size"], decided["ctime"]):
        return f"law 3: it is another file by now: {mine.archive.size} bytes, where {decided['size']} were decided on"
    return None if mine.mark is Mark.REMOVE else mine.reasons[-1]


def _places(known: Sequence[Archive], node: str, volid: str) -> list[tuple[str, str]]:
    """Where a guest's known archives lie, as (node, storage): a shared storage once, through the node that is to remove there."""
    asked: dict[tuple[str, str], str] = {}
    for archive in known:
        here = (whole.key(archive)[0], archive.storage)
        asked[here] = node if _is(archive, node, volid) else asked.get(here, archive.node)
    return sorted((where, storage) for (_, storage), where in asked.items())


def _list(service: Service, vmid: int | None, places: Sequence[tuple[str, str]]) -> list[Archive]:
    """Each archive of a guest once, as those places list it now."""
    listed = [archive for node, storage in places for archive in service.pve.storage.archives(node, storage, vmid)]
    return list({whole.key(archive): archive for archive in listed}.values())


def in_use(service: Service) -> set[str]:
    """Return the volids of the archives that open operations read, copy or test."""
    return service.catalog.pinned()


def open_prune(
    service: Service, only: Collection[int] = (), occurrence: str | None = None, parent: Fence | None = None
) -> Operation | None:
    """Open a prune of the whole site, or of some guests' archives. Return None when ``occurrence`` was opened before (law 9).

    ``parent`` is the night that opens it, and its driver.
    """
    return service.engine.open("prune", None, {"only": sorted(only)}, occurrence=occurrence, parent=parent)


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
    if why := _needed(run, node, volid) or kept_now(run.service, decided["vmid"], node, volid, decided):
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
    storage, vmid = volid.split(":", 1)[0], _as_decided(run, node, volid)["vmid"]
    known = run.service.catalog.archives(vmid=vmid, storage=storage)
    listed = _list(run.service, vmid, [(node, storage)])
    _refuse_if_shrunk([one for one in known if one.node == node and not _is(one, node, volid)], listed)
    return next((archive for archive in listed if _is(archive, node, volid)), None)


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


def _kept_because(archive: Archive, present: Mapping[int, GuestType], policy: Policy) -> str | None:
    if archive.vmid is None:
        return "its name is not a vzdump name, so nobody knows whose it is"
    if archive.vmid not in present:
        return f"guest {archive.vmid} no longer exists: its archives are kept until somebody decides"
    if archive.type not in (None, present[archive.vmid]):
        kinds = {GuestType.QEMU: "VM", GuestType.LXC: "container"}
        before, now = kinds[archive.type or present[archive.vmid]], kinds[present[archive.vmid]]
        return f"{archive.vmid} is a {now} by now: the archives of the {before} before it are kept until somebody decides"
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
    seen = {whole.key(archive) for archive in listed}
    lost = [archive for archive in known if whole.key(archive) not in seen]
    if lost:
        names = ", ".join(f"{archive.volid} on {archive.node}" for archive in lost[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise LawRefused(
            3,
            f"{len(lost)} archives that the catalog knows are no longer listed ({names}{more}), so nothing is pruned",
            "if they were removed on purpose, run `backupsvc catalog sync`; else find out why (rights, a lost mount)",
        )


def _as_decided(run: Run, node: str, volid: str) -> dict[str, Any]:
    """An archive as it was when its removal was decided on."""
    for item in run.data["marks"]:
        if (item["node"], item["volid"]) == (node, volid):
            return dict(item)
    raise PveError(f"archive {volid} on {node} was not among the decided ones", "run the prune again")


def _is(archive: Archive, node: str, volid: str) -> bool:
    return archive.volid == volid and (archive.shared or archive.node == node)
