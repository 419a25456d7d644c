"""What is known of the machines under each VMID, and what a person says of them: which chains are
one, and which archives a tombstone lets go of (law 10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backupsvc.clock import iso
from backupsvc.errors import LawRefused, PveNotFound, Refused, UsageError
from backupsvc.inventory import departed
from backupsvc.operations.prune.deciding import if_told
from backupsvc.operations.services import Cluster
from backupsvc.requester import person
from policies import chains, lineage, tombstones, whole
from policies.chains import Chain, Decision, Piece, Question, Relation
from policies.model import Archive, Guest, Mark, Marked, Release
from policies.tombstones import Listed

DAY = 86_400


@dataclass(frozen=True, slots=True)
class OfGuest:
    """A VMID's chains, the questions between them, what people said, and which chains are the guest
    of today: by name True or False, None where nothing tells.
    """

    vmid: int
    chains: tuple[Chain, ...]
    questions: tuple[Question, ...]
    decisions: tuple[Decision, ...]
    today: Mapping[str, bool | None]


@dataclass(frozen=True, slots=True)
class Effect:
    """What changes of an archive: its mark at the next prune with why, and whether it is the
    guest's own to restores and restore tests.
    """

    archive: Archive
    before: Mark
    after: Mark
    why: str
    own_before: bool
    own_after: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What a person said, and what it changes; ``refusal`` says why the next prune would remove
    nothing at all, "" if it would not stop.
    """

    decisions: tuple[Decision, ...]
    effects: tuple[Effect, ...]
    refusal: str = ""


# --- shown ----------------------------------------------------------------------------------------


def show(service: Cluster, vmid: int | None, *, offline: bool = False) -> list[OfGuest]:
    """Given the service, return the chains of one VMID, or of each of which anything is known.

    ``offline``: without asking the cluster, so that nothing is said of the guest of today. Raise
    PveNotFound if the catalog knows no archive of that VMID.
    """
    vmids = [vmid] if vmid is not None else sorted(service.catalog.archives.machines())
    guests = {} if offline else {one.vmid: one for one in service.pve.cluster.guests()}
    found = []
    for one in vmids:
        archives = departed.held(service.catalog, one)
        # of a VMID that nobody named there is simply nothing to show
        if not archives and vmid is not None:
            raise PveNotFound(
                f"the catalog knows no archive of guest {one}", "run `backupsvc catalog sync`"
            )
        told = chains.chains(archives)
        guest = guests.get(one)
        today: dict[str, bool | None] = dict.fromkeys(chain.name for chain in told)
        if not offline:
            today = _today(service, told, guest)
        said = tuple(service.catalog.lineages.decisions(one))
        found.append(OfGuest(one, told, chains.questions(archives), said, today))
    return found


def _today(service: Cluster, found: Sequence[Chain], guest: Guest | None) -> dict[str, bool | None]:
    if guest is None:
        return {chain.name: False for chain in found}
    machine = departed.machine_of(service, guest)
    said: dict[str, bool | None] = {}
    for chain in found:
        if chain.type not in (None, guest.type):
            said[chain.name] = False
        elif machine is None:
            said[chain.name] = None
        else:
            how = {
                chains.relation(lineage.of_archive(archive), machine) for archive in chain.archives
            }
            said[chain.name] = (
                True if Relation.SAME in how else False if how == {Relation.ANOTHER} else None
            )
    return said


def as_dict(guest: OfGuest) -> dict[str, Any]:
    """Given a VMID's chains, return them as ``catalog lineage list --json`` shows them."""
    told = []
    for chain in guest.chains:
        archives = chain.archives
        proven = [one.ctime for one in archives if one.proven_at is not None]
        one_chain = {
            "name": chain.name,
            "type": str(chain.type) if chain.type else None,
            "told": strength(chain),
            "uuid": next((one.uuid for one in archives if one.uuid), None),
            "created": next((iso(one.born) for one in archives if one.born), None),
            "macs": sorted({mac for one in archives for mac in one.macs.split()}),
            "guest": archives[-1].name,
            "first": iso(archives[0].ctime),
            "last": iso(archives[-1].ctime),
            "archives": len(archives),
            "newest_proven": iso(max(proven)) if proven else None,
            "today": guest.today[chain.name],
        }
        told.append(one_chain)
    return {
        "vmid": guest.vmid,
        "chains": told,
        "questions": [
            {
                "older": one.older,
                "newer": one.newer,
                "volid": one.volid,
                "stayed": list(one.same),
                "changed": list(one.differs),
                "said": chains.in_words(one),
            }
            for one in guest.questions
        ],
        "decisions": [decision_as_dict(one) for one in guest.decisions],
    }


def decision_as_dict(decision: Decision) -> dict[str, Any]:
    """Given a decision, return it as ``--json`` shows it."""
    return {
        "kind": str(decision.kind),
        "at": iso(decision.at),
        "who": decision.who,
        "why": decision.why,
        "one": [_piece(one) for one in decision.one],
        "other": [_piece(one) for one in decision.other],
    }


def strength(chain: Chain) -> str:
    """Given a chain, return how well its machine is told: strong, weak, or unread (not at all)."""
    if not chain.weak:
        return "strong"
    return "weak" if any(piece.told for piece in chain.pieces) else chains.UNREAD


def _piece(piece: Piece) -> dict[str, Any]:
    return {
        "uuid": piece.uuid,
        "created": iso(piece.born) if piece.born else None,
        "macs": piece.macs.split(),
        "since": iso(piece.cut) if piece.cut else None,
    }


# --- said -----------------------------------------------------------------------------------------


def join(
    service: Cluster, vmid: int, one: str, other: str, why: str, *, dry_run: bool = False
) -> Told:
    """Given two chains of a VMID by name, let them be one machine from now on, and return what that
    changes. Raise UsageError if there are no such two.
    """
    found = chains.chains(departed.held(service.catalog, vmid))
    first, second = _named(found, vmid, one), _named(found, vmid, other)
    if first is second:
        raise UsageError(
            f"{one} and {other} are one chain of {vmid} already",
            f"see `backupsvc catalog lineage list --vmid {vmid}`",
        )
    if first.type is not second.type:
        raise UsageError(
            f"{first.name} and {second.name} are a VM and a container: they are never one machine",
            f"see `backupsvc catalog lineage list --vmid {vmid}`",
        )
    now = int(service.clock.now())
    made = chains.join(vmid, first, second, at=now, who=person(), why=why)
    return _say(service, vmid, (made,), dry_run=dry_run)


def split(service: Cluster, vmid: int, volid: str, why: str, *, dry_run: bool = False) -> Told:
    """Given a VMID and an archive, let what it had from that archive on be another machine than
    before, and return what that changes. Raise UsageError if there is nothing before it.
    """
    archives = departed.held(service.catalog, vmid)
    found = chains.chains(archives)
    chain = next((c for c in found if any(a.volid == volid for a in c.archives)), None)
    if chain is None:
        raise UsageError(
            f"the catalog knows no archive {volid} of guest {vmid}",
            f"see `backupsvc catalog list --vmid {vmid}`",
        )
    # a question between the two is answered by that, and is asked no more
    asked = {one.older for one in chains.questions(archives) if one.newer == chain.name}
    made = chains.split(
        vmid,
        chain,
        volid,
        [one for one in found if one.name in asked],
        at=int(service.clock.now()),
        who=person(),
        why=why,
    )
    if not made:
        raise UsageError(
            f"{volid} is the first archive of {chain.name}: nothing of that machine is before it",
            f"see `backupsvc catalog lineage list --vmid {vmid}`",
        )
    return _say(service, vmid, made, dry_run=dry_run)


def _named(found: Sequence[Chain], vmid: int, name: str) -> Chain:
    if chain := chains.find(found, name):
        return chain
    names = ", ".join(one.name for one in found) or "none"
    raise UsageError(
        f"{name!r} is not the name of one chain of {vmid} ({names})",
        f"see `backupsvc catalog lineage list --vmid {vmid}`",
    )


def _say(service: Cluster, vmid: int, made: tuple[Decision, ...], *, dry_run: bool) -> Told:
    said = [*service.catalog.lineages.decisions(vmid), *made]

    def told(archives: Sequence[Archive]) -> list[Archive]:
        return chains.settle(archives, said)

    effects, refusal = _effects(
        lambda: if_told(service, vmid), lambda: if_told(service, vmid, told)
    )
    if not dry_run:
        service.catalog.lineages.decide(made)
    return Told(made, effects, refusal)


def _effects(
    before: Callable[[], Sequence[Marked]], after: Callable[[], Sequence[Marked]]
) -> tuple[tuple[Effect, ...], str]:
    try:
        was, now = before(), after()
    except LawRefused as error:
        # whatever is said here, the next prune would remove nothing
        return (), error.message
    # whose an archive is decides what restores and restore tests may take, beside the mark
    others_then, others_now = (
        lineage.others([one.archive for one in marked]) for marked in (was, now)
    )
    return tuple(
        Effect(
            one.archive,
            one.mark,
            two.mark,
            "; ".join(two.reasons),
            whole.key(one.archive) not in others_then,
            whole.key(two.archive) not in others_now,
        )
        for one, two in zip(was, now, strict=True)
    ), ""


def told_as_dict(told: Told) -> dict[str, Any]:
    """Given what was said and what it changes, return it as ``--json`` shows it."""
    return {
        "decisions": [decision_as_dict(one) for one in told.decisions],
        "archives": [effect_as_dict(one) for one in told.effects],
        "refusal": told.refusal or None,
    }


def effect_as_dict(effect: Effect) -> dict[str, Any]:
    """Given what changes of an archive, return it as ``--json`` shows it."""
    return {
        "volid": effect.archive.volid,
        "node": effect.archive.node,
        "before": str(effect.before),
        "after": str(effect.after),
        "why": effect.why,
        "own_before": effect.own_before,
        "own_after": effect.own_after,
    }


# --- tombstones -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Released:
    """What a person let go of, and what the next prune would do of it."""

    listed: Listed
    release: Release
    undone: bool
    effects: tuple[Effect, ...]
    refusal: str


def release(
    service: Cluster,
    vmid: int,
    why: str,
    *,
    chain: str | None = None,
    undo: bool = False,
    dry_run: bool = False,
) -> Released:
    """Given a VMID, let go of what its tombstone holds (``undo``: take that back), and return what
    that changes. While its time runs, what it keeps stays.

    ``chain`` names which, where there are several. Raise PveNotFound if there is none, Refused if
    it is not sure that the guest is gone.
    """
    now, rules = int(service.clock.now()), service.policy.tombstone
    mine = _stones(departed.listed(service.catalog, rules, now), vmid, chain)
    stones = [one.tombstone for one in mine]
    if undo and all(one.released is None for one in stones):
        raise Refused(
            f"the tombstone of guest {vmid} was not released", "there is nothing to take back"
        )
    if not undo:
        _refuse_other_time(service)
    # of several stones of one chain the last to be over counts
    until = max(tombstones.kept_until(one, rules) for one in stones)
    said = Release(now, person(), why, until <= now)
    guests = service.pve.cluster.guests()
    wanted = departed.standing_of(
        service, guests, [replace(one, released=None if undo else said) for one in stones]
    )
    said = replace(said, beside=any(one.standing for one in wanted))
    if not undo and (doubt := next((w.doubt for w in wanted if w.doubt and not w.standing), "")):
        raise Refused(
            f"whether guest {vmid} is gone is not sure at this moment: {doubt}",
            "release its tombstone when the whole cluster answers",
        )
    numbers = {one.number for one in stones}
    others = [
        one for one in departed.standing(service, guests, {vmid}) if one.number not in numbers
    ]
    effects, refusal = _effects(
        lambda: if_told(service, vmid),
        lambda: if_told(service, vmid, gone=[*others, *wanted]),
    )
    if not dry_run:
        for stone in stones:
            service.catalog.lineages.release(stone, said, undo=undo)
    return Released(mine[0], said, undo, effects, refusal)


def _refuse_other_time(service: Cluster) -> None:
    """Raise Refused where this machine's clock and those of the cluster are a day apart: whether a
    tombstone's time is over cannot be told.
    """
    for node, offset in sorted(service.pve.cluster.clock_offsets().items()):
        if abs(offset) > DAY:
            raise Refused(
                f"the clock of {node} is {abs(offset) / DAY:.0f} days "
                f"{'ahead of' if offset > 0 else 'behind'} this machine's, so what time it is "
                "cannot be told",
                "set both right, then release it",
            )


def _stones(found: Iterable[Listed], vmid: int, chain: str | None) -> list[Listed]:
    """The tombstones of one chain: several where it was joined of machines that are all gone."""
    mine = [one for one in found if one.tombstone.vmid == vmid]
    if chain is not None:
        mine = [one for one in mine if one.chain.startswith(chain)]
    if len({one.chain for one in mine}) == 1:
        return mine
    if mine:
        raise UsageError(
            f"guest {vmid} has {len(mine)} tombstones: {', '.join(one.chain for one in mine)}",
            "name one with --chain",
        )
    raise PveNotFound(
        f"there is no such tombstone of guest {vmid}", "see `backupsvc catalog tombstones list`"
    )
