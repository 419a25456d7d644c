"""Find guests whose archives no prune may touch: the catalog knows too little of them, or their
times contradict it (law 3).

A catalog that was lost knows no proof, so retention would remove what an earlier one had proven.
And a node whose clock is wrong names an archive for another day than it was made on, so retention
would take tonight's for an old one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf

from policies import prune_compare, reach, whole
from policies.model import Archive, Mark, Marked, Marks
from policies.pve.volid import file_of

DAY = 86400
YOUNG = "catalog-young"
MISDATED = "misdated"
# (place, storage) or (place, volid); place is the node, "" on a shared storage
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sighting:
    """When an archive was seen, in epoch seconds.

    Args:
        first_seen: by the first listing that had it.
        not_before: the last complete listing of its storage that did not have it, None if it was in
        the first one.
        began: when the backup of this service that made it began, None if none did.
        copied: this service wrote it as a copy, whose name has the original's time.
    """

    first_seen: int
    not_before: int | None = None
    began: int | None = None
    copied: bool = False


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a catalog can say for itself. Times in epoch seconds.

    Args:
        looks: the first complete listing of each (place, storage).
        sightings: of each archive, by (place, volid).
        proven: of each guest, when its newest proof that is recorded here ended.
        accepted: of each guest, when somebody last accepted what the storages hold of it.
    """

    looks: Mapping[Place, int] = field(default_factory=dict)
    sightings: Mapping[Place, Sighting] = field(default_factory=dict)
    proven: Mapping[int, int] = field(default_factory=dict)
    accepted: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """A decision in which nothing of the stopped guests goes. ``refused``: those that would have
    lost an archive, and why.
    """

    marked: Marks
    refused: Mapping[int, str]


def stopped(archives: Sequence[Archive], knowledge: Knowledge) -> dict[int, str]:
    """Given all archives of some guests as listed now, return the guests that lose nothing, each
    with the reason.
    """
    guests: dict[int, list[Archive]] = defaultdict(list)
    for archive in archives:
        if archive.vmid is not None:
            guests[archive.vmid].append(archive)
    found: dict[int, str] = {}
    for vmid, theirs in sorted(guests.items()):
        sightings = [knowledge.sightings.get(whole.key(one)) for one in theirs]
        accepted = knowledge.accepted.get(vmid, -1)
        # a wrong clock first: an archive that it misdated may seem older than the catalog by that
        if why := (
            _misdated(theirs, sightings, accepted) or _young(vmid, theirs, sightings, knowledge)
        ):
            found[vmid] = why
    return found


def hold(marked: Sequence[Marked], stopped: Mapping[int, str]) -> Held:
    """Given a decision and the guests that lose nothing, return it with the reason at each of their
    archives.
    """
    marks = Marks.of(marked)
    if not stopped:
        return Held(marks, {})
    held = list(marks.said)
    refused: dict[int, str] = {}
    for index, (archive, (mark, reasons)) in enumerate(zip(marks.archives, held, strict=True)):
        vmid = archive.vmid
        if vmid is None or vmid not in stopped or mark not in (Mark.KEEP, Mark.REMOVE):
            continue
        if mark is Mark.REMOVE:
            refused[vmid] = stopped[vmid]
        held[index] = Mark.KEEP, (*reasons, stopped[vmid])
    return Held(Marks(marks.archives, held), dict(sorted(refused.items())))


def beside_unseen(
    plain: Sequence[Marked], aware: Sequence[Marked], unseen: Iterable[Archive]
) -> Marks:
    """Given what is decided on what was listed alone, the same decided with what is known elsewhere
    beside it, and what is known
    elsewhere and could not be listed, return what may be done: an archive goes only if both say so.

    So what could not be listed is never why another goes, and it still speaks for keeping: it tells
    another machine's archives and collapsed ones from those that count. And what may be the same
    file, or the copy that a removal would lean on, stays.
    """
    files = {(file_of(one.volid), one.size): one for one in unseen}
    marks = Marks.of(plain)
    if plain is aware and not files:
        return marks  # nothing is out of reach
    found = list(marks.said)
    both = zip(marks.archives, marks.said, Marks.of(aware).said, strict=True)
    for index, (archive, (mark, reasons), beside) in enumerate(both):
        if mark is not Mark.REMOVE:
            continue
        if beside[0] is not Mark.REMOVE:
            found[index] = beside
        elif twin := files.get((file_of(archive.volid), archive.size)):
            why = (
                f"law 3: {twin.volid} on {twin.node}, of equal name and size, may be its copy, "
                "and is out of reach"
            )
            found[index] = Mark.KEEP, (*reasons, why)
    return Marks(marks.archives, found)


def out_of_reach(unseen: Iterable[Archive], why: Mapping[reach.Place, str]) -> dict[int, str]:
    """Given the archives that are known and could not be listed, and what kept each place from it,
    return for each guest the sentence that says what is therefore not known.
    """
    guests: dict[int, list[Archive]] = defaultdict(list)
    for archive in unseen:
        if archive.vmid is not None:
            guests[archive.vmid].append(archive)
    said: dict[int, str] = {}
    for vmid, theirs in sorted(guests.items()):
        counts = Counter(reach.place(archive) for archive in theirs)
        where = "; ".join(
            f"{count} on {reach.in_words(place)}, where {why[place]}"
            for place, count in sorted(counts.items())
        )
        proven = any(archive.proven_at is not None for archive in theirs)
        if len(theirs) == 1:
            said[vmid] = (
                f"guest {vmid}: 1 known archive is out of reach, and not gone ({where})"
                f"{', and it is proven' if proven else ''}: no other goes because of it"
            )
        else:
            said[vmid] = (
                f"guest {vmid}: {len(theirs)} known archives are out of reach, and not gone "
                f"({where}){', proven ones among them' if proven else ''}: no other goes because "
                "of them"
            )
    return said


def stops(reason: str) -> bool:
    """Given the reason of a mark, return whether it is one of ``stopped``."""
    return reason.startswith((f"{YOUNG}: ", f"{MISDATED}: "))


def refusal(refused: Mapping[int, str]) -> tuple[str, str] | None:
    """Given the guests that would have lost an archive, each with the reason, return message and
    hint, None if there are none.
    """
    said, hints = [], []
    for kind, hint in _HINTS.items():
        vmids = [vmid for vmid, why in refused.items() if why.startswith(f"{kind}: ")]
        if vmids:
            which = f"guest{'s' if len(vmids) > 1 else ''} {', '.join(map(str, vmids))}"
            said.append(
                f"nothing of {which} may be removed: "
                f"{'; '.join(refused[vmid] for vmid in vmids[:3])}"
            )
            hints.append(hint)
    return ("; ".join(said), "; ".join(hints)) if said else None


_HINTS = {
    prune_compare.DIFFERS: "see `backupsvc prune --dry-run --explain`; PVE counts days in its node's "
    "time zone, so compare that with `timezone` in the policy, and the node's clock",
    YOUNG: "make sure that this catalog is the right one (BACKUPSVC_CATALOG__URL), then prove the "
    "guest with `backupsvc "
    "restore-test`, or accept what the storages hold with `backupsvc catalog sync --accept --vmid "
    "N`",
    MISDATED: "set the node's clock right and look at the archive; if it may count by its name, "
    "accept it with `backupsvc "
    "catalog sync --accept --vmid N`",
}


def _young(
    vmid: int,
    archives: Sequence[Archive],
    sightings: Sequence[Sighting | None],
    knowledge: Knowledge,
) -> str | None:
    """Archives older than this catalog's first look at their storage, and nothing that made them
    known since.
    """
    known = max(knowledge.proven.get(vmid, 0), knowledge.accepted.get(vmid, 0))
    storages = [("" if one.shared else one.node, one.storage) for one in archives]
    # when the catalog first looked at each storage: in a listing of all guests, or of this one
    looks = {one: knowledge.looks[one] for one in set(storages) if one in knowledge.looks}
    for storage, seen in zip(storages, sightings, strict=True):
        if seen and seen.first_seen < looks.get(storage, inf):
            looks[storage] = seen.first_seen
    older: list[Archive] = []
    for one, storage, seen in zip(archives, storages, sightings, strict=True):
        look = looks.get(storage)
        if look is not None:
            # A storage that was not mounted at its first look, or not to be read, listed nothing:
            # only what was seen became known.
            if known >= max(look, seen.first_seen if seen else look) or (
                seen is not None and (seen.began is not None or seen.copied)
            ):
                continue
            # What the first look saw is older whatever its name says: the clock that named it may
            # be ahead.
            if one.ctime >= look and not (seen is not None and seen.first_seen <= look):
                continue
        older.append(one)
    if not older:
        return None
    count = f"{len(older)} archive{'s' if len(older) > 1 else ''}"
    where = ", ".join(sorted({one.storage for one in older}))
    return (
        f"{YOUNG}: {count} of guest {vmid} on {where} older than this catalog, which has recorded "
        "no proof of the guest since"
    )


def _misdated(
    archives: Sequence[Archive], sightings: Sequence[Sighting | None], accepted: int
) -> str | None:
    for archive, seen in zip(archives, sightings, strict=True):
        if seen is None or seen.copied or seen.first_seen <= accepted:
            continue
        # A dump of days is in no listing that was made meanwhile: of our own we know when it began.
        bounds = [bound for bound in (seen.not_before, seen.began) if bound is not None]
        if not bounds:
            continue
        earliest = min(bounds)
        if archive.ctime < earliest - DAY:
            contradiction = f"it was not there on {_said(earliest)}"
        elif archive.ctime > seen.first_seen + DAY:
            contradiction = f"it was there already on {_said(seen.first_seen)}"
        else:
            continue
        named = f"{MISDATED}: {archive.volid} on {archive.node} is named for {_said(archive.ctime)}"
        return f"{named}, yet {contradiction}: a clock is or was wrong"
    return None


def _said(time: int) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"
