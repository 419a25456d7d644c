"""Apply keep rules to archives: every archive comes back, marked, with its reasons. Equal to PVE's
own algorithm (pve-facts 6.1).

In short: archives are grouped by guest, sorted newest first, and each rule (last, hourly, daily ...
in this order) keeps the newest archive of each of the next N periods that no earlier rule has
represented. Periods without an archive do not count. One archive satisfies one rule only. Protected
and renamed archives are left alone and never counted. Time is read from the file name, as local
time.

``guard`` then applies law 3, which PVE does not have, to what was decided.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import compress
from operator import attrgetter, itemgetter
from types import MappingProxyType
from zoneinfo import ZoneInfo

from policies import chains, whole
from policies.archive_signs import Hold
from policies.model import Archive, Mark, Marked, Marks, PruneRules, Said
from policies.pve.calendar_event import zone
from policies.pve.prune_backups import Keep
from policies.pve.volid import Names, file_of, parse_name

DAY = 86400
RENAMED = "renamed: name is not a vzdump name"
PROTECTED = "protected"
UNCOVERED = "not covered by any keep rule"

# Shared by all archives of which they are said: a million tuples of their own would take as much
# memory as the listing.
_PROTECTED: Said = (Mark.PROTECTED, (PROTECTED,))
_PROTECTED_RENAMED: Said = (Mark.PROTECTED, (f"{PROTECTED}; {RENAMED}",))
_RENAMED: Said = (Mark.RENAMED, (RENAMED,))
_UNCOVERED: Said = (Mark.REMOVE, (UNCOVERED,))
_KEEP_ALL: Said = (Mark.KEEP, ("keep-all",))

# --- the decision ---------------------------------------------------------------------------------


# An archive that takes part: its position in the listing, its time as its name says (epoch seconds),
# and the local time at the beginning of that hour. A plain tuple: of a million, anything that may
# hold a circle is looked through for one again and again.
_Entry = tuple[int, int, datetime]
_ctime = itemgetter(1)


@dataclass(frozen=True, slots=True)
class _Period:
    """A rule's periods: ``id`` tells them apart, by time and hour of an entry, ``label`` names one
    for the reader.
    """

    id: Callable[[int, datetime], object]
    label: Callable[[datetime], str]


PERIODS = {
    "keep-last": _Period(lambda ctime, hour: ctime, lambda t: f"{t:%Y-%m-%d %H:%M:%S}"),
    "keep-hourly": _Period(
        lambda ctime, hour: (hour.year, hour.month, hour.day, hour.hour),
        lambda t: f"{t:%Y-%m-%d %H}h",
    ),
    "keep-daily": _Period(lambda ctime, hour: hour.toordinal(), lambda t: f"{t:%Y-%m-%d}"),
    # the ISO year, which around New Year is not the calendar's
    "keep-weekly": _Period(lambda ctime, hour: hour.isocalendar()[:2], lambda t: f"{t:%G-W%V}"),
    "keep-monthly": _Period(lambda ctime, hour: (hour.year, hour.month), lambda t: f"{t:%Y-%m}"),
    "keep-yearly": _Period(lambda ctime, hour: hour.year, lambda t: f"{t:%Y}"),
}


def decide(
    archives: Sequence[Archive],
    keep: Keep,
    tz: str,
    *,
    vmid: int | None = None,
    type: str | None = None,
) -> list[Marked | None]:
    """Given a listing, return PVE's marks in the same order, with None where ``vmid`` or ``type``
    leaves one out.

    What is left out counts for no other. See ``mark_all`` for ``tz`` and what is raised.
    """
    asked = [
        (vmid is None or archive.vmid == vmid)
        and (
            type is None
            # PVE's word for an archive whose name does not tell what it is of
            or ((name.kind if (name := parse_name(file_of(archive.volid))) else None) or "unknown")
            == type
        )
        for archive in archives
    ]
    marked = iter(mark_all(list(compress(archives, asked)), keep, tz))
    return [next(marked) if one else None for one in asked]


def mark_all(archives: Sequence[Archive], keep: Keep, tz: str) -> Marks:
    """Given a listing, return each archive as PVE marks it, in the same order.

    ``tz`` is the time zone of the node that wrote the archives. Each storage of each node is
    decided by itself, as PVE does, so that a copy elsewhere neither keeps nor removes anything.
    Raise PolicyError if the time zone is unknown.
    """
    local = zone(tz)
    names = Names(local)
    marks: list[Said] = [_RENAMED] * len(archives)  # left alone, unless its name says otherwise
    groups: dict[object, list[_Entry]] = defaultdict(list)
    for index, archive in enumerate(archives):
        began = names.began(archive.volid)
        if archive.protected:
            marks[index] = _PROTECTED if began else _PROTECTED_RENAMED
        elif began:
            kind, vmid, ctime, hour = began
            # a shared storage is one, from whichever node it was listed
            place = "" if archive.shared else archive.node
            groups[place, archive.storage, kind, vmid].append((index, ctime, hour))
    for pending in groups.values():
        rest = _KEEP_ALL if keep.keep_all else _UNCOVERED
        # newest first; equal times keep the order of the listing
        pending.sort(key=_ctime, reverse=True)
        kept: list[_Entry] = []
        for rule, count in () if keep.keep_all else keep.counts():
            pending = _apply(rule, count, pending, kept, marks, local)
        for position, _, _ in pending:
            marks[position] = rest
    return Marks(archives, marks)


def _apply(
    rule: str,
    count: int,
    pending: list[_Entry],
    kept: list[_Entry],
    marks: list[Said],
    local: ZoneInfo,
) -> list[_Entry]:
    """Given what is not marked yet, newest first, mark what one rule reaches, add what it keeps to
    ``kept``, return the rest.

    It keeps the newest archive of each of the next ``count`` periods that nothing represents yet,
    and removes the others of these
    periods: that is final, no later rule rescues them.
    """
    period = PERIODS[rule]
    represented = {period.id(ctime, hour) for _, ctime, hour in kept}
    taken: dict[object, Said] = {}  # a period -> the mark of its other archives
    rest: list[_Entry] = []
    for at, entry in enumerate(pending):
        position, ctime, hour = entry
        id = period.id(ctime, hour)
        # an earlier rule kept one of that period: later rules count none twice (pve-facts 6.1)
        if id in represented:
            rest.append(entry)
        elif id in taken:
            marks[position] = taken[id]
        elif len(taken) == count:
            return rest + pending[at:]
        else:
            label = period.label(datetime.fromtimestamp(ctime, local))
            taken[id] = (Mark.REMOVE, (f"{rule}: a newer archive of {label} is kept",))
            kept.append(entry)
            marks[position] = (
                Mark.KEEP,
                (f"{rule} {len(taken)}/{count}: newest of {label}",),
            )
    return rest


# --- law 3 ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Guarded:
    """What law 3 makes of a decision. With a ``refusal``, a sentence, nothing at all may be
    removed.
    """

    marked: Marks
    refusal: str | None


def guard(
    marked: Sequence[Marked],
    *,
    in_use: Collection[str],
    listed_before: int | None,
    now: int,
    rules: PruneRules,
    uncopied: Mapping[str, str] = MappingProxyType({}),
    holds: Mapping[int, Hold] = MappingProxyType({}),
) -> Guarded:
    """Given a decision over everything that is listed, return it with law 3 applied.

    A guest's last archive that can hold a disk, its newest proven one, those in use (``in_use``:
    volids), those that are still to be copied (``uncopied``: to which target, by volid) and those
    from before a suspicious one (``holds``: by guest) turn from remove to keep, with the reason.
    It is refused as a whole if the listing is shorter than ``listed_before`` (archives listed
    before, less those we removed), if the newest archive is dated more than a day after ``now``
    (epoch seconds), or if more than ``rules.max_share`` would go.
    """
    marks = Marks.of(marked)
    held = _held(marks, in_use)
    for index, archive in _going(marks) if uncopied else ():
        if target := uncopied.get(archive.volid):
            held.setdefault(index, f"law 3: its copy to {target} is not verified yet")
    for index, archive in _going(marks) if holds else ():
        hold = holds.get(archive.vmid or 0)
        if hold and archive.ctime < hold.until:
            # in place of any other reason: what a suspicion holds somebody must look at
            held[index] = hold.reason
    said = list(marks.said)
    for index, why in held.items():
        said[index] = Mark.KEEP, (*said[index][1], why)
    kept = Marks(marks.archives, said)
    return Guarded(kept, _refusal(kept, listed_before, now, rules))


def _going(marks: Marks) -> Iterator[tuple[int, Archive]]:
    """The archives that are marked remove, each with its index."""
    for index, (mark, _) in enumerate(marks.said):
        if mark is Mark.REMOVE:
            yield index, marks.archives[index]


def _held(marks: Marks, in_use: Collection[str]) -> dict[int, str]:
    """Given a decision, return the indexes that law 3 keeps although they are marked remove, each
    with its reason.
    """
    held: dict[int, str] = {}
    archives, said = marks.archives, marks.said
    hollow, machines = whole.hollow(archives), chains.law_groups(archives)
    # Another machine under the same VMID is another guest: neither holds on to an archive in place
    # of the other (law 10).
    # a million indexes as objects would take 32 MB more
    guests: dict[object, array[int]] = defaultdict(partial(array, "q"))
    for index, archive in enumerate(archives):
        machine = machines.get(whole.key(archive)) if machines else None
        guests[archive.vmid, archive.type, machine].append(index)
    for every in guests.values():
        vmid = archives[every[0]].vmid
        guest = "an unknown guest" if vmid is None else f"guest {vmid}"
        indexes: Sequence[int] = (
            [index for index in every if whole.key(archives[index]) not in hollow]
            if hollow
            else every
        )
        proven = [index for index in indexes if archives[index].proven_at is not None]
        for index in every if in_use else ():
            if said[index][0] is Mark.REMOVE and archives[index].volid in in_use:
                held[index] = f"law 3: in use by an operation on {guest}"
        if proven and said[newest := _newest(archives, proven)][0] is Mark.REMOVE:
            held.setdefault(newest, f"law 3: newest proven archive of {guest}")
        # Of another machine there may be empty files alone: of these, none is the last that can
        # hold a disk.
        if indexes and all(
            said[index][0] is Mark.REMOVE and index not in held for index in indexes
        ):
            last = f"law 3: last archive of {guest}"
            held[_newest(archives, indexes)] = last + (
                " that can hold a disk" if len(indexes) < len(every) else ""
            )
    return held | _namesakes(marks, held)


def _namesakes(marks: Marks, held: Collection[int]) -> dict[int, str]:
    """Given a decision and what law 3 keeps of it, return what would go though by name and size it
    may be a file that stays.

    A file server's directory that two nodes mount, and that is not called shared in PVE, lists each
    of its files once a node.
    """
    staying = {
        (archive.volid, archive.size): archive.node
        for index, (archive, (mark, _)) in enumerate(zip(marks.archives, marks.said, strict=True))
        if mark is not Mark.REMOVE or index in held
    }
    # by name first: of a hundred thousand archives almost none has a namesake
    names = {volid for volid, _ in staying}
    return {
        index: "law 3: it may be the file that stays on "
        f"{staying[archive.volid, archive.size]}, of equal name and size"
        for index, archive in _going(marks)
        if archive.volid in names and index not in held and (archive.volid, archive.size) in staying
    }


def _newest(archives: Sequence[Archive], indexes: Iterable[int]) -> int:
    return max(indexes, key=lambda index: archives[index].ctime)


def _refusal(marks: Marks, listed_before: int | None, now: int, rules: PruneRules) -> str | None:
    """Given a guarded decision, return why nothing may be removed, or None."""
    removed = sum(mark is Mark.REMOVE for mark, _ in marks.said)
    if not removed:
        return None
    # a storage that is not mounted lists less and no error: then nothing goes
    if listed_before is not None and len(marks) < listed_before:
        return (
            f"law 3: {len(marks)} archives are listed where {listed_before} were before, and we "
            "did not remove the others"
        )
    newest = max(marks.archives, key=attrgetter("ctime"))
    # by a clock that is ahead every archive looks old, and the newest goes first
    if newest.ctime > now + DAY:
        return (
            f"law 3: {newest.volid} is dated {(newest.ctime - now) // DAY} days in the future: a "
            "clock is wrong"
        )
    if removed > rules.max_share * len(marks):
        return (
            f"law 3: {removed} of {len(marks)} archives would go, more than "
            f"{rules.max_share:.0%} of them in one run"
        )
    return None
