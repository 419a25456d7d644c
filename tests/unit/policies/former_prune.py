"""How the prune plan was decided before it was made fast, word for word: the measure that tells
whether anything else changed.

Only test_prune_as_before.py imports it. Whoever changes what prune decides, on purpose, removes
both.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from types import MappingProxyType

from policies import lineage, whole
from policies.jobs import job_for
from policies.model import Archive, Guest, GuestType, Mark, Marked, Marks, Policy, PruneRules
from policies.prune_guard import DAY, MISDATED, YOUNG, Knowledge, Place, Sighting
from policies.prune_marks import ANOTHER, ASIDE, CHANGED, SMALL
from policies.pve import prune_backups
from policies.pve.calendar_event import zone
from policies.pve.prune_backups import Keep
from policies.pve.volid import EXTENSION, ArchiveName, file_of
from policies.retention import PROTECTED, RENAMED, UNCOVERED, Guarded
from policies.whole import HISTORY, below, key

_Marks = dict[int, tuple[Mark, str]]
_ANY = re.compile(r"vzdump-(lxc|openvz|qemu)-.+")
_STANDARD = re.compile(
    r"vzdump-(?:lxc|openvz|qemu)-([1-9][0-9]{2,8})-([0-9]{4}_[0-9]{2}_[0-9]{2}-[0-9]{2}_[0-9]{2}_[0-9]{2})\.(.+)"
)


def parse_name(file: str) -> ArchiveName | None:
    """Given a file's name without its folder, return what it says, None if PVE would not list it as
    an archive.
    """
    extension = EXTENSION.search(file)
    if not extension or "/" in file:
        return None
    # A renamed archive is nobody's, but PVE still takes its kind from its name where it filters by
    # kind.
    kind = found[1] if (found := _ANY.fullmatch(file)) else None
    standard = _STANDARD.fullmatch(file)
    if not standard or standard[3] != extension[1]:
        return ArchiveName(file, None, kind, None, extension[1], standard=False)
    time = _time(standard[2])
    if time is None:  # such as month 13: PVE's own reading of the name fails altogether
        return ArchiveName(file, None, None, None, extension[1], standard=False)
    return ArchiveName(file, int(standard[1]), kind, time, extension[1], standard=True)


def _time(text: str) -> datetime | None:
    """Given year, month, day, hour, minute and second, which may be no time at all (February 30th),
    return it or None.
    """
    year, month, day, hour, minute, second = (int(number) for number in re.findall(r"[0-9]+", text))
    try:
        return datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None


def usual(archives: Sequence[Archive], newest: Archive) -> tuple[int, int] | None:
    """Given archives, return how many before the newest of its format say what is usual, and their
    median size in bytes.
    """
    older = {
        item.ctime: item.size
        for item in archives
        if item.ctime < newest.ctime and item.size > 0 and item.format == newest.format
    }
    sizes = [older[ctime] for ctime in sorted(older)[-HISTORY:]]
    return (len(sizes), int(median(sizes))) if len(sizes) >= 2 else None


def all_collapsed(archives: Iterable[Archive]) -> frozenset[tuple[str, str]]:
    """Given archives, return the keys of those whose size had collapsed when they were made, by
    their guest's own history.

    Such a one must not rotate a whole one out. One that was proven is whole, however small; and a
    guest that really became smaller is believed once most of its last archives are.
    """
    guests: dict[tuple[GuestType | None, int | None], list[Archive]] = defaultdict(list)
    for archive in archives:
        if archive.size > 0 and archive.holds_disk is not False:
            guests[archive.type, archive.vmid].append(archive)
    return frozenset(
        key(archive)
        for group in guests.values()
        for archive in group
        if archive.proven_at is None
        and (before := usual(group, archive))
        and below(archive, before)
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """An archive that takes part: ``index`` in the input, ``ctime`` as its name says, ``local`` the
    same in local time.
    """

    index: int
    ctime: int
    local: datetime


@dataclass(frozen=True, slots=True)
class _Period:
    """A rule's periods: ``id`` tells them apart, ``label`` names one for the reader."""

    id: Callable[[_Entry], object]
    label: Callable[[datetime], str]


def _iso_week(local: datetime) -> str:
    year, week, _ = local.isocalendar()  # the ISO year, which around New Year is not the calendar's
    return f"{year}-W{week:02}"


PERIODS = {
    "keep-last": _Period(lambda e: e.ctime, lambda t: f"{t:%Y-%m-%d %H:%M:%S}"),
    "keep-hourly": _Period(
        lambda e: (e.local.year, e.local.month, e.local.day, e.local.hour),
        lambda t: f"{t:%Y-%m-%d %H}h",
    ),
    "keep-daily": _Period(lambda e: e.local.toordinal(), lambda t: f"{t:%Y-%m-%d}"),
    "keep-weekly": _Period(lambda e: e.local.isocalendar()[:2], _iso_week),
    "keep-monthly": _Period(lambda e: (e.local.year, e.local.month), lambda t: f"{t:%Y-%m}"),
    "keep-yearly": _Period(lambda e: e.local.year, lambda t: f"{t:%Y}"),
}


def mark_all(archives: Sequence[Archive], keep: Keep, tz: str) -> list[Marked]:
    """Given a listing, return each archive as PVE marks it, in the same order.

    ``tz`` is the time zone of the node that wrote the archives. Each storage of each node is
    decided by itself, as PVE does, so that a copy elsewhere neither keeps nor removes anything.
    Raise PolicyError if the time zone is unknown.
    """
    place = zone(tz)
    marks: _Marks = {}
    groups: dict[object, list[_Entry]] = defaultdict(list)
    for index, archive in enumerate(archives):
        name = parse_name(file_of(archive.volid))
        ctime = name.ctime(place) if name else None
        if archive.protected:
            marks[index] = (
                Mark.PROTECTED,
                PROTECTED if ctime is not None else f"{PROTECTED}; {RENAMED}",
            )
        elif name is None or ctime is None:
            marks[index] = (Mark.RENAMED, RENAMED)
        else:
            group = groups[
                "" if archive.shared else archive.node, archive.storage, name.kind, name.vmid
            ]
            group.append(_Entry(index, ctime, datetime.fromtimestamp(ctime, place)))
    for entries in groups.values():
        _mark_group(entries, keep, marks)
    told = ((archive, *marks[index]) for index, archive in enumerate(archives))
    return [Marked(archive, mark, (reason,)) for archive, mark, reason in told]


def _mark_group(group: list[_Entry], keep: Keep, marks: _Marks) -> None:
    """Given one guest's archives of one storage, mark each: rules in order, then whatever no rule
    has reached is removed.
    """
    if keep.keep_all:
        marks.update((entry.index, (Mark.KEEP, "keep-all")) for entry in group)
        return
    # equal times keep the order of the listing
    pending = sorted(group, key=lambda entry: -entry.ctime)
    kept: list[_Entry] = []
    for rule, count in keep.counts():
        pending = _apply(rule, count, pending, kept, marks)
    marks.update((entry.index, (Mark.REMOVE, UNCOVERED)) for entry in pending)


def _apply(
    rule: str, count: int, pending: list[_Entry], kept: list[_Entry], marks: _Marks
) -> list[_Entry]:
    """Given what is not marked yet, newest first, mark what one rule reaches, add what it keeps to
    ``kept``, return the rest.

    It keeps the newest archive of each of the next ``count`` periods that nothing represents yet,
    and removes the others of these
    periods: that is final, no later rule rescues them.
    """
    period = PERIODS[rule]
    represented = {period.id(entry) for entry in kept}
    taken: set[object] = set()
    rest: list[_Entry] = []
    for position, entry in enumerate(pending):
        id = period.id(entry)
        if id in represented:
            rest.append(entry)
        elif id in taken:
            marks[entry.index] = (
                Mark.REMOVE,
                f"{rule}: a newer archive of {period.label(entry.local)} is kept",
            )
        elif len(taken) == count:
            return rest + pending[position:]
        else:
            taken.add(id)
            kept.append(entry)
            marks[entry.index] = (
                Mark.KEEP,
                f"{rule} {len(taken)}/{count}: newest of {period.label(entry.local)}",
            )
    return rest


def guard(
    marked: Sequence[Marked],
    *,
    in_use: Collection[str],
    listed_before: int | None,
    now: int,
    rules: PruneRules,
) -> Guarded:
    """Given a decision over everything that is listed, return it with law 3 applied.

    A guest's last archive that can hold a disk, its newest proven one and those in use (``in_use``:
    volids) turn from remove to keep, with the reason. It is refused as a whole if the listing is
    shorter than ``listed_before`` (archives listed before, less those we removed), if the newest
    archive is dated more than a day after ``now`` (epoch seconds), or if more than
    ``rules.max_share`` would go.
    """
    held = _held(marked, in_use)
    kept = tuple(
        replace(one, mark=Mark.KEEP, reasons=(*one.reasons, held[index])) if index in held else one
        for index, one in enumerate(marked)
    )
    return Guarded(Marks.of(kept), _refusal(kept, listed_before, now, rules))


def _held(marked: Sequence[Marked], in_use: Collection[str]) -> dict[int, str]:
    """Given a decision, return the indexes that law 3 keeps although they are marked remove, each
    with its reason.
    """
    held: dict[int, str] = {}
    hollow = whole.hollow([one.archive for one in marked])
    for every in _by_guest(marked).values():
        vmid = marked[every[0]].archive.vmid
        guest = "an unknown guest" if vmid is None else f"guest {vmid}"
        indexes = [index for index in every if whole.key(marked[index].archive) not in hollow]
        removed = [index for index in indexes if marked[index].mark is Mark.REMOVE]
        proven = [index for index in indexes if marked[index].archive.proven_at is not None]
        for index in every:
            if marked[index].mark is Mark.REMOVE and marked[index].archive.volid in in_use:
                held[index] = f"law 3: in use by an operation on {guest}"
        if proven and (newest := _newest(marked, proven)) in removed:
            held.setdefault(newest, f"law 3: newest proven archive of {guest}")
        if len(removed) == len(indexes) and not held.keys() & set(indexes):
            last = f"law 3: last archive of {guest}"
            held[_newest(marked, indexes)] = last + (
                " that can hold a disk" if len(indexes) < len(every) else ""
            )
    return held | _namesakes(marked, held)


def _namesakes(marked: Sequence[Marked], held: Collection[int]) -> dict[int, str]:
    """Given a decision and what law 3 keeps of it, return what would go though by name and size it
    may be a file that stays.

    A file server's directory that two nodes mount, and that is not called shared in PVE, lists each
    of its files once a node.
    """
    staying = {
        (one.archive.volid, one.archive.size): one.archive.node
        for index, one in enumerate(marked)
        if one.mark is not Mark.REMOVE or index in held
    }
    return {
        index: "law 3: it may be the file that stays on "
        f"{staying[one.archive.volid, one.archive.size]}, of equal name and size"
        for index, one in enumerate(marked)
        if one.mark is Mark.REMOVE
        and index not in held
        and (one.archive.volid, one.archive.size) in staying
    }


def _by_guest(marked: Sequence[Marked]) -> dict[object, list[int]]:
    """Another machine under the same VMID is another guest: neither holds on to an archive in place
    of the other (law 10).
    """
    groups: dict[object, list[int]] = defaultdict(list)
    others = lineage.others([one.archive for one in marked])
    for index, one in enumerate(marked):
        groups[one.archive.type, one.archive.vmid, whole.key(one.archive) in others].append(index)
    return groups


def _newest(marked: Sequence[Marked], indexes: Iterable[int]) -> int:
    return max(indexes, key=lambda index: marked[index].archive.ctime)


def _refusal(
    marked: Sequence[Marked], listed_before: int | None, now: int, rules: PruneRules
) -> str | None:
    """Given a guarded decision, return why nothing may be removed, or None."""
    removed = sum(one.mark is Mark.REMOVE for one in marked)
    if not removed:
        return None
    if listed_before is not None and len(marked) < listed_before:
        return (
            f"law 3: {len(marked)} archives are listed where {listed_before} were before, and we "
            "did not remove the others"
        )
    newest = max((one.archive for one in marked), key=lambda archive: archive.ctime)
    if newest.ctime > now + DAY:
        return (
            f"law 3: {newest.volid} is dated {(newest.ctime - now) // DAY} days in the future: a "
            "clock is wrong"
        )
    if removed > rules.max_share * len(marked):
        return (
            f"law 3: {removed} of {len(marked)} archives would go, more than "
            f"{rules.max_share:.0%} of them in one run"
        )
    return None


def decide_all(
    archives: Sequence[Archive],
    guests: Sequence[Guest],
    policy: Policy,
    unsure: Mapping[int, str] = MappingProxyType({}),
) -> list[Marked]:
    """Given every archive, the cluster's guests and the policy, return every archive marked, in the
    order given.

    Retention is that of the job which covers the guest, applied storage by storage as PVE does.
    Archives of a guest that no job
    covers, or that no longer exists, are kept: what remains of a deleted guest must not rotate out,
    also when its VMID went to a guest of the other kind. So are those of ``unsure``: VMIDs of which
    it is not known whether a guest stands there, and why. Archives without any disk, those that
    were changed, those of another machine and those whose size has collapsed are put aside, so that
    none counts in place of a whole one.
    """
    hollow, collapsed, others = (
        whole.hollow(archives),
        all_collapsed(archives),
        lineage.others(archives),
    )
    present = {guest.vmid: guest.type for guest in guests}
    marks: dict[tuple[str, str], Marked] = {}
    groups: dict[tuple[str, str, str], list[Archive]] = {}
    for archive in archives:
        why = (
            unsure.get(archive.vmid or 0)
            or _kept_because(archive, present, policy)
            or _aside(archive, hollow, others, collapsed)
        )
        if why:
            mark = Mark.PROTECTED if archive.protected else Mark.KEEP
            marks[whole.key(archive)] = Marked(archive, mark, (why,))
        else:
            job = job_for(policy, archive.vmid or 0)
            groups.setdefault(
                (whole.key(archive)[0], archive.storage, job.keep if job else ""), []
            ).append(archive)
    for (_, _, keep), group in groups.items():
        for marked in mark_all(group, prune_backups.parse_keep(keep), policy.timezone):
            marks[whole.key(marked.archive)] = marked
    return [marks[whole.key(archive)] for archive in archives]


def _kept_because(archive: Archive, present: Mapping[int, GuestType], policy: Policy) -> str | None:
    if archive.vmid is None:
        return "its name is not a vzdump name, so nobody knows whose it is"
    if archive.vmid not in present:
        return (
            f"guest {archive.vmid} no longer exists: its archives are kept until somebody decides"
        )
    if archive.type not in (None, present[archive.vmid]):
        kinds = {GuestType.QEMU: "VM", GuestType.LXC: "container"}
        before, now = kinds[archive.type or present[archive.vmid]], kinds[present[archive.vmid]]
        return (
            f"{archive.vmid} is a {now} by now: the archives of the {before} before it are kept "
            "until somebody decides"
        )
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


def stopped(archives: Sequence[Archive], knowledge: Knowledge) -> dict[int, str]:
    """Given all archives of some guests as listed now, return the guests that lose nothing, each
    with the reason.
    """
    guests: dict[int, list[Archive]] = defaultdict(list)
    for archive in archives:
        if archive.vmid is not None:
            guests[archive.vmid].append(archive)
    found = {
        vmid: _misdated(vmid, theirs, knowledge) or _young(vmid, theirs, knowledge)
        for vmid, theirs in guests.items()
    }
    return {vmid: why for vmid, why in sorted(found.items()) if why}


def _young(vmid: int, archives: Sequence[Archive], knowledge: Knowledge) -> str | None:
    """Archives older than this catalog's first look at their storage, and nothing that made them
    known since.
    """
    known = max(knowledge.proven.get(vmid, 0), knowledge.accepted.get(vmid, 0))
    looks = _first_looks(archives, knowledge)
    older = [
        one
        for one in archives
        if _older(one, looks.get(_storage(one)), known, knowledge.sightings.get(_key(one)))
    ]
    if not older:
        return None
    count = f"{len(older)} archive{'s' if len(older) > 1 else ''}"
    where = ", ".join(sorted({one.storage for one in older}))
    return (
        f"{YOUNG}: {count} of guest {vmid} on {where} older than this catalog, which has recorded "
        "no proof of the guest since"
    )


def _older(archive: Archive, look: int | None, known: int, seen: Sighting | None) -> bool:
    """Whether an archive is from before the catalog's first look at its storage, and nothing became
    known after that look.

    What that first look saw is older whatever its name says: the clock that named it may be ahead.
    """
    if look is None:
        return True
    # A storage that was not mounted at its first look, or not to be read, listed nothing: only what
    # was seen became known.
    if known >= max(look, seen.first_seen if seen else look) or (
        seen is not None and (seen.began is not None or seen.copied)
    ):
        return False
    return archive.ctime < look or (seen is not None and seen.first_seen <= look)


def _first_looks(archives: Sequence[Archive], knowledge: Knowledge) -> dict[Place, int]:
    """When the catalog first looked at a guest's archives on each storage: in a listing of all
    guests, or of this one.
    """
    looks: dict[Place, int] = {}
    for archive in archives:
        storage, seen = _storage(archive), knowledge.sightings.get(_key(archive))
        times = [
            looks.get(storage),
            knowledge.looks.get(storage),
            seen.first_seen if seen else None,
        ]
        if found := [time for time in times if time is not None]:
            looks[storage] = min(found)
    return looks


def _misdated(vmid: int, archives: Sequence[Archive], knowledge: Knowledge) -> str | None:
    for archive in archives:
        seen = knowledge.sightings.get(_key(archive))
        if seen is None or seen.copied or seen.first_seen <= knowledge.accepted.get(vmid, -1):
            continue
        # A dump of days is in no listing that was made meanwhile: of our own we know when it began.
        bounds = [bound for bound in (seen.not_before, seen.began) if bound is not None]
        if not bounds:
            continue
        earliest = min(bounds)
        named = f"{MISDATED}: {archive.volid} on {archive.node} is named for {_said(archive.ctime)}"
        if archive.ctime < earliest - DAY:
            return f"{named}, yet it was not there on {_said(earliest)}: a clock is or was wrong"
        if archive.ctime > seen.first_seen + DAY:
            return (
                f"{named}, yet it was there already on {_said(seen.first_seen)}: a clock is or "
                "was wrong"
            )
    return None


def _said(time: int) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"


def _key(archive: Archive) -> Place:
    return whole.key(archive)


def _storage(archive: Archive) -> Place:
    return ("" if archive.shared else archive.node, archive.storage)
