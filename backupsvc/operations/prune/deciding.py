"""What goes and what stays: decided over everything that is listed, and again for each archive at
its removal (law 3).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backupsvc import garbage
from backupsvc.errors import LawRefused, PveError, PveUnreachable
from backupsvc.inventory import departed
from backupsvc.inventory.listing import require_answers, survey
from backupsvc.inventory.wholeness import look_into, may_be_a_rest, rest_of_a_restore
from backupsvc.services import Cluster
from policies import archive_signs, prune_compare, prune_guard, prune_marks, reach, retention, whole
from policies.copies_due import due
from policies.model import Archive, Guest, Mark, Marked, Marks, PruneRules, Tombstone

GUESTS_AGE = 30.0  # seconds that an answer of the cluster about all guests serves for each removal


GONE = "it was removed since the decision"


UNSURE = (
    "whether VMID {vmid} on {node} is a guest, or what a failed restore left, is not known "
    "({why}): its archives are kept until it is"
)


@dataclass(frozen=True, slots=True)
class Decision:
    """Every archive that was listed, with its mark after law 3. ``stopped``: the guests that lose
    nothing though retention would have removed something, each with the reason; the archives of the
    others may go.

    ``unseen``: for each guest with archives out of reach, what is therefore not known.
    ``not_listed`` says the same by storage and node, ``blind`` are the places where something is
    known and could not be listed. ``theirs`` is what PVE's own dry run says, by ``whole.key``, of
    the archives that it was asked about.
    """

    marked: Marks
    stopped: Mapping[int, str] = field(default_factory=dict)
    unseen: Mapping[int, str] = field(default_factory=dict)
    not_listed: tuple[str, ...] = ()
    blind: frozenset[reach.Place] = frozenset()
    theirs: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def refusal(self) -> LawRefused | None:
        """Return what the run ends with once the others' archives are gone, None if nobody was
        stopped.
        """
        return stopped_refusal(self.stopped)


def preview(service: Cluster, only: Collection[int] = ()) -> list[Marked]:
    """Given the service, return every archive with its mark and reasons after law 3. Raise
    LawRefused when the run must stop.
    """
    return list(decision(service, only).marked)


def decision(
    service: Cluster,
    only: Collection[int] = (),
    *,
    retries: bool = False,
    explain: bool = False,
) -> Decision:
    """Given the service, decide over every archive. Raise LawRefused when nothing at all may be
    removed, and OutOfReach if the caller ``retries`` and a question that PVE failed at may be
    answered soon.

    A guest that would lose something loses nothing where PVE's own dry run marks its archives
    otherwise than our keep rules do. To ``explain``, PVE is asked about every guest that a job
    covers.
    """
    # None: all of them, in one listing a storage
    vmids: Sequence[int | None] = sorted(only) or [None]
    known: list[Archive] = []
    archives: list[Archive] = []
    unseen: list[Archive] = []
    why: dict[reach.Place, str] = {}
    said: dict[str, None] = {}
    for vmid in vmids:
        before, seen = service.catalog.archives.find(vmid=vmid), survey(service, vmid)
        require_answers(seen.passing, retries=retries)
        known += [one for one in before if reach.was_listed(one, seen.looked)]
        archives += seen.listed
        unseen += seen.unreachable
        why |= seen.why
        said |= dict.fromkeys(seen.said())
    # a mount or a right that was lost looks like archives that are gone (law 3)
    refuse_if_shrunk(known, archives)
    guests, rules = service.pve.cluster.guests(), service.policy.prune
    found = _decided(service, archives, unseen, guests, listed_before=len(known), rules=rules)
    differing, theirs = _compared(service, found.marked, retries=retries, every=explain)
    held = prune_guard.hold(found.marked, differing)
    return Decision(
        held.marked,
        {**found.stopped, **held.refused},
        prune_guard.out_of_reach(unseen, why),
        tuple(said),
        frozenset(reach.place(one) for one in unseen),
        theirs,
    )


def if_told(
    service: Cluster,
    vmid: int,
    change: Callable[[Sequence[Archive]], list[Archive]] = list,
    gone: Sequence[Tombstone] | None = None,
) -> Marks:
    """Given a guest, return what a prune would decide of its archives if ``change`` were known of
    them, or the tombstones were those that are ``gone``; PVE's own dry run is not asked. Raise
    LawRefused where nothing at all might go.
    """
    seen = survey(service, vmid)
    rules = replace(service.policy.prune, max_share=1.0)
    listed = change(seen.listed)
    return _decided(
        service,
        listed,
        change(seen.unreachable),
        service.pve.cluster.guests(),
        listed_before=len(listed),
        rules=rules,
        gone=gone,
    ).marked


def _compared(
    service: Cluster, marked: Sequence[Marked], *, retries: bool, every: bool
) -> tuple[dict[int, str], dict[tuple[str, str], str]]:
    """The guests of which PVE's own dry run says anything else than our keep rules, each with the
    sentence; and what it says of each archive.
    """
    differing: dict[int, str] = {}
    theirs: dict[tuple[str, str], str] = {}
    for question in prune_compare.questions(marked, service.policy, every=every):
        vmid = question.vmids[0] if len(question.vmids) == 1 else None
        try:
            answer = service.pve.storage.prune_marks(
                question.node, question.storage, question.keep, vmid
            )
        except (PveError, PveUnreachable) as error:
            require_answers(error.message, retries=retries)
            differing |= prune_compare.unasked(question, error.message)
            continue
        differing |= prune_compare.differing(question, answer, service.policy.timezone)
        theirs |= {
            whole.key(one): answer[one.volid] for one in question.archives if one.volid in answer
        }
    return differing, theirs


@garbage.kept_out()
def _decided(
    service: Cluster,
    archives: Sequence[Archive],
    unseen: Sequence[Archive],
    guests: Sequence[Guest],
    *,
    listed_before: int,
    rules: PruneRules,
    gone: Sequence[Tombstone] | None = None,
) -> Decision:
    """Given what was listed, and what is known where nothing could be listed, return the decision
    over what was listed, after law 3. ``gone`` are the tombstones, None: those that stand. Raise
    LawRefused where nothing may be removed.
    """
    everything = [*archives, *unseen]
    whose = everything[0].vmid if len({one.vmid for one in everything}) == 1 else None
    facts = _facts(service, everything, whose, listed_before=listed_before, rules=rules)
    stopped = prune_guard.stopped(everything, service.catalog.inspections.knowledge(whose))
    # Once before, so that only those count as stopped that would have lost something; once after,
    # so that they do not count.
    vmids = {archive.vmid for archive in archives}
    there, unsure = standing(service, guests, vmids)
    if gone is None:
        gone = departed.standing(service, there, vmids)
    looked, policy = look_into(service, archives), service.policy
    plain = prune_marks.decide_all(looked, there, policy, unsure, gone)
    aware = (
        prune_marks.decide_all([*looked, *unseen], there, policy, unsure, gone)[: len(looked)]
        if unseen
        else plain
    )
    wanted = retention.guard(prune_guard.beside_unseen(plain, aware, unseen), **facts)
    held = prune_guard.hold(wanted.marked, stopped)
    # Where nobody was stopped that would have lost something, law 3 finds each mark as it left it.
    guarded = (
        retention.guard(held.marked, **facts)
        if held.refused
        else retention.Guarded(held.marked, wanted.refusal)
    )
    if guarded.refusal:
        raise LawRefused(
            3,
            guarded.refusal,
            "look at `backupsvc prune --dry-run` and at the storages before anything is removed",
        )
    return Decision(guarded.marked, held.refused)


def _facts(
    service: Cluster,
    everything: Sequence[Archive],
    whose: int | None,
    *,
    listed_before: int,
    rules: PruneRules,
) -> dict[str, Any]:
    """What law 3 looks at beside the marks: ``retention.guard`` takes it by these names. ``whose``
    is the one guest that all archives are of, None if they are of several.
    """
    facts: dict[str, Any] = {
        "listed_before": listed_before,
        "now": int(service.clock.now()),
        "rules": rules,
        "in_use": in_use(service),
        "holds": archive_signs.holds(service.catalog.archive_signs.suspicious(whose)),
    }
    if service.policy.copies:
        facts["uncopied"] = {
            one.archive.volid: one.target.name
            for one in due(
                service.policy, everything, service.catalog.copies.find(whose, damaged=True)
            )
            if one.skip is None
        }
    return facts


def standing(
    service: Cluster, guests: Sequence[Guest], vmids: Collection[int | None]
) -> tuple[list[Guest], dict[int, str]]:
    """The guests that exist, and of which VMIDs that is not known, with the reason.

    What a failed restore leaves under a lost guest's VMID is no guest, though the cluster lists it.
    Neither has a name, nor has any guest of a node that has been dead for minutes, which cannot be
    asked what it is.
    """
    down = reach.down(service.pve.cluster.nodes(max_age=GUESTS_AGE))
    standing: list[Guest] = []
    unsure: dict[int, str] = {}
    for guest in guests:
        try:
            if guest.vmid in vmids and may_be_a_rest(guest):
                if guest.node in down:
                    raise PveUnreachable(f"{guest.node} cannot be asked")
                if rest_of_a_restore(service.pve, guest):
                    continue
            standing.append(guest)
        except (PveError, PveUnreachable) as error:
            unsure[guest.vmid] = UNSURE.format(vmid=guest.vmid, node=guest.node, why=error.message)
    return standing, unsure


def stopped_refusal(stopped: Mapping[int, str]) -> LawRefused | None:
    said = prune_guard.refusal(stopped)
    return LawRefused(3, *said) if said else None


def kept_now(
    service: Cluster, node: str, decided: Archive, blind: Collection[reach.Place] = ()
) -> str | None:
    """Given an archive that was to go, as it was decided on, decide again on what the storages list
    now: why it stays, None if it may still go. ``node`` is where it is to be removed.

    Every place where the catalog knows an archive of that guest is listed anew, but those that
    could not be listed when it was decided (``blind``). One more that cannot be listed ends the run
    with its error: less is seen than was decided on. Another file by its name stays. Raise
    LawRefused if an archive has vanished without our doing.
    """
    vmid, volid = decided.vmid, decided.volid
    everything, began = service.catalog.archives.find(vmid=vmid), int(service.clock.now())
    unseen = [
        archive
        for archive in everything
        if reach.place(archive) in blind and not is_archive(archive, node, volid)
    ]
    known = [archive for archive in everything if archive not in unseen]
    if not any(is_archive(archive, node, volid) for archive in known):
        return GONE
    # a shared storage is listed once, through the node that is to remove there
    asked: dict[tuple[str, str], str] = {}
    for archive in known:
        here = (whole.key(archive)[0], archive.storage)
        asked[here] = node if is_archive(archive, node, volid) else asked.get(here, archive.node)
    listed = list_at(
        service, vmid, sorted((where, storage) for (_, storage), where in asked.items())
    )
    refuse_if_shrunk(known, listed)
    # only here: a listing that is not believed is not written down either
    service.catalog.archives.observe(listed, scope=[], at=began)
    current = {whole.key(archive): archive for archive in service.catalog.archives.find(vmid=vmid)}
    archives = [current.get(whole.key(archive), archive) for archive in listed]
    guests = service.pve.cluster.guests(max_age=GUESTS_AGE)
    # The share of all archives was judged by the decision over all of them: of one guest's, more
    # may go.
    rules = replace(service.policy.prune, max_share=1.0)
    marked = _decided(
        service, archives, unseen, guests, listed_before=len(known), rules=rules
    ).marked
    mine = next(item for item in marked if is_archive(item.archive, node, volid))
    if (mine.archive.size, mine.archive.ctime) != (decided.size, decided.ctime):
        return (
            f"law 3: it is another file by now: {mine.archive.size} bytes, where {decided.size} "
            "were decided on"
        )
    return None if mine.mark is Mark.REMOVE else mine.reasons[-1]


def list_at(service: Cluster, vmid: int | None, places: Sequence[tuple[str, str]]) -> list[Archive]:
    """Each archive of a guest once, as those places list it now."""
    listed = [
        archive
        for node, storage in places
        for archive in service.pve.storage.archives(node, storage, vmid)
    ]
    return list({whole.key(archive): archive for archive in listed}.values())


def in_use(service: Cluster) -> set[str]:
    """Return the volids of the archives that open operations read, copy or test."""
    return service.catalog.archive_pins.pinned()


def refuse_if_shrunk(known: Sequence[Archive], listed: Sequence[Archive]) -> None:
    seen = {whole.key(archive) for archive in listed}
    lost = [archive for archive in known if whole.key(archive) not in seen]
    if lost:
        names = ", ".join(f"{archive.volid} on {archive.node}" for archive in lost[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise LawRefused(
            3,
            f"{len(lost)} archives that the catalog knows are no longer listed ({names}{more}), "
            "so nothing is pruned",
            "if they were removed on purpose, run `backupsvc catalog sync`; else find out why "
            "(rights, a lost mount)",
        )


def is_archive(archive: Archive, node: str, volid: str) -> bool:
    return archive.volid == volid and (archive.shared or archive.node == node)
