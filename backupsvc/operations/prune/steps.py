"""Apply retention: decide over every archive with reasons, let law 3 have the last word, then remove one by one.

Nothing here believes a listing that is shorter than the catalog's: an archive that we know and no longer see stops the run. What
lies where nothing can be listed now (a dead node, a hanging storage) is neither there nor gone: it is named for its guest, it is
no reason to remove another, and the rest is decided on what was read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backupsvc.engine.context import Run, Wait, refused_for_sure
from backupsvc.errors import BackupsvcError, LawRefused, PveError, PveNotFound, PveUnreachable
from backupsvc.inventory.listing import as_dict, require_answers, survey
from backupsvc.inventory.wholeness import look_into, may_be_a_rest, rest_of_a_restore
from policies import prune_guard, prune_marks, reach, retention, whole
from policies.model import Archive, Guest, Mark, Marked, Operation, PruneRules

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.catalog.leases import Fence

GUESTS_AGE = 30.0  # seconds that an answer of the cluster about all guests serves for each removal
LOOK_SERVES = 600.0  # seconds after the last look at the storages began in which the deletion must be asked for
GONE = "it was removed since the decision"
UNSURE = (
    "whether VMID {vmid} on {node} is a guest, or what a failed restore left, is not known ({why}): its archives are kept until "
    "it is"
)


@dataclass(frozen=True, slots=True)
class Decision:
    """Every archive that was listed, with its mark after law 3. ``stopped``: the guests that lose nothing though retention would
    have removed something, each with the reason; the archives of the others may go.

    ``unseen``: for each guest with archives out of reach, what is therefore not known. ``not_listed`` says the same by storage
    and node, ``blind`` are the places where something is known and could not be listed.
    """

    marked: tuple[Marked, ...]
    stopped: Mapping[int, str] = field(default_factory=dict)
    unseen: Mapping[int, str] = field(default_factory=dict)
    not_listed: tuple[str, ...] = ()
    blind: frozenset[reach.Place] = frozenset()

    def refusal(self) -> LawRefused | None:
        """Return what the run ends with once the others' archives are gone, None if nobody was stopped."""
        return _refused(self.stopped)


def preview(service: Service, only: Collection[int] = ()) -> list[Marked]:
    """Given the service, return every archive with its mark and reasons after law 3. Raise LawRefused when the run must stop."""
    return list(decision(service, only).marked)


def decision(service: Service, only: Collection[int] = (), *, patient: bool = False) -> Decision:
    """Given the service, decide over every archive. Raise LawRefused when nothing at all may be removed, and OutOfReach if the
    caller is ``patient`` and a question that PVE failed at may be answered soon.
    """
    vmids: Sequence[int | None] = sorted(only) or [None]  # None: all of them, in one listing a storage
    known: list[Archive] = []
    archives: list[Archive] = []
    unseen: list[Archive] = []
    why: dict[reach.Place, str] = {}
    said: dict[str, None] = {}
    for vmid in vmids:
        before, seen = service.catalog.archives(vmid=vmid), survey(service, vmid)
        require_answers(seen.passing, patient=patient)
        known += [one for one in before if reach.was_listed(one, seen.looked)]
        archives += seen.listed
        unseen += seen.unreachable
        why |= seen.why
        said |= dict.fromkeys(seen.said())
    _refuse_if_shrunk(known, archives)
    guests, rules = service.pve.cluster.guests(), service.policy.prune
    found = _decided(service, archives, unseen, guests, listed_before=len(known), rules=rules)
    blind = frozenset(reach.place(one) for one in unseen)
    return replace(found, unseen=prune_guard.out_of_reach(unseen, why), not_listed=tuple(said), blind=blind)


def _decided(
    service: Service,
    archives: Sequence[Archive],
    unseen: Sequence[Archive],
    guests: Sequence[Guest],
    *,
    listed_before: int,
    rules: PruneRules,
) -> Decision:
    """Given what was listed, and what is known where nothing could be listed, return the decision over what was listed, after
    law 3. Raise LawRefused where nothing may be removed.
    """
    everything = [*archives, *unseen]
    facts: dict[str, Any] = {"listed_before": listed_before, "now": int(service.clock.now()), "rules": rules}
    facts["in_use"] = in_use(service)
    whose = everything[0].vmid if _of_one_guest(everything) else None
    stopped = prune_guard.stopped(everything, service.catalog.knowledge(whose))
    # Once before, so that only those count as stopped that would have lost something; once after, so that they do not count.
    there, unsure = _standing(service, guests, {archive.vmid for archive in archives})
    looked = look_into(service, archives)
    plain = prune_marks.decide_all(looked, there, service.policy, unsure)
    aware = prune_marks.decide_all([*looked, *unseen], there, service.policy, unsure)[: len(looked)] if unseen else plain
    wanted = retention.guard(prune_guard.beside_unseen(plain, aware, unseen), **facts)
    held = prune_guard.hold(wanted.marked, stopped)
    guarded = retention.guard(held.marked, **facts)
    if guarded.refusal:
        raise LawRefused(3, guarded.refusal, "look at `backupsvc prune --dry-run` and at the storages before anything is removed")
    return Decision(guarded.marked, held.refused)


def _standing(service: Service, guests: Sequence[Guest], vmids: Collection[int | None]) -> tuple[list[Guest], dict[int, str]]:
    """The guests that exist, and of which VMIDs that is not known, with the reason.

    What a failed restore leaves under a lost guest's VMID is no guest, though the cluster lists it. Neither has a name, nor has
    any guest of a node that has been dead for minutes, which cannot be asked what it is.
    """
    down = reach.down(service.pve.cluster.nodes(max_age=GUESTS_AGE))
    standing: list[Guest] = []
    unsure: dict[int, str] = {}
    for guest in guests:
        try:
            if guest.vmid not in vmids or not (may_be_a_rest(guest) and _is_rest(service, guest, down)):
                standing.append(guest)
        except (PveError, PveUnreachable) as error:
            unsure[guest.vmid] = UNSURE.format(vmid=guest.vmid, node=guest.node, why=error.message)
    return standing, unsure


def _is_rest(service: Service, guest: Guest, down: Collection[str]) -> bool:
    if guest.node in down:
        raise PveUnreachable(f"{guest.node} cannot be asked")
    return rest_of_a_restore(service.pve, guest)


def _of_one_guest(archives: Sequence[Archive]) -> bool:
    return len({archive.vmid for archive in archives}) == 1


def _refused(stopped: Mapping[int, str]) -> LawRefused | None:
    said = prune_guard.refusal(stopped)
    return LawRefused(3, *said) if said else None


def kept_now(
    service: Service,
    vmid: int | None,
    node: str,
    volid: str,
    decided: Mapping[str, Any],
    blind: Collection[reach.Place] = (),
) -> str | None:
    """Given an archive that was to go, decide again on what the storages list now: why it stays, None if it may still go.

    Every place where the catalog knows an archive of that guest is listed anew, but those that could not be listed when it was
    decided (``blind``). One more that cannot be listed ends the run with its error: less is seen than was decided on.
    ``decided`` is the archive as it was decided on: another file by its name stays. Raise LawRefused if an archive has vanished
    without our doing.
    """
    everything, began = service.catalog.archives(vmid=vmid), int(service.clock.now())
    unseen = [archive for archive in everything if reach.place(archive) in blind and not _is(archive, node, volid)]
    known = [archive for archive in everything if archive not in unseen]
    if not any(_is(archive, node, volid) for archive in known):
        return GONE
    listed = _list(service, vmid, _places(known, node, volid))
    _refuse_if_shrunk(known, listed)
    service.catalog.observe(listed, scope=[], at=began)
    current = {whole.key(archive): archive for archive in service.catalog.archives(vmid=vmid)}
    archives = [current.get(whole.key(archive), archive) for archive in listed]
    guests = service.pve.cluster.guests(max_age=GUESTS_AGE)
    # The share of all archives was judged by the decision over all of them: of one guest's, more may go.
    rules = replace(service.policy.prune, max_share=1.0)
    marked = _decided(service, archives, unseen, guests, listed_before=len(known), rules=rules).marked
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
    blind = {"unknown": _unknown(decision.unseen), "not_listed": list(decision.not_listed)}
    return {"operation": None, "dry_run": True, "archives": marks, "removed": []} | blind | {"error": error}


def outcome(operation: Operation) -> dict[str, Any]:
    """Given an ended prune, return what ``prune --json`` prints."""
    data: Any = operation.data
    error = data.get("error")
    return {
        "operation": operation.id,
        "dry_run": False,
        "archives": data.get("marks", []),
        "removed": [volid for _, volid in data.get("removed", [])],
        "unknown": _unknown({int(vmid): said for vmid, said in data.get("unseen", {}).items()}),
        "not_listed": data.get("not_listed", []),
        "error": {key: error[key] for key in ("step", "message", "hint", "exit_code")} if error else None,
    }


def exit_code(result: Mapping[str, Any]) -> int:
    """Given what ``outcome`` or ``foreseen`` returned, return the command's exit code: 3 where not every storage was listed."""
    if result["error"]:
        return int(result["error"]["exit_code"])
    return 3 if result["not_listed"] else 0


def _unknown(unseen: Mapping[int, str]) -> list[dict[str, Any]]:
    return [{"vmid": vmid, "said": said} for vmid, said in unseen.items()]


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
