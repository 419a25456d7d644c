"""Is an archive what its guest's earlier ones let expect, by a sample of its disks? And where it is
not, which archives stay until somebody has looked.

Encryption shows in data that were readable and look random now, a formatted disk in data that are
gone, another content in data that are other ones at the very same places. Compressed and encrypted
data look alike, so what a disk holds says little; only the jump from one archive to the next does.
An archive is compared with the newest before it that was usual, so a jump stays one until somebody
acknowledges it; from then on what came of it is what is usual.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

from policies.i18n import ENGLISH, rendered
from policies.i18n.sentences import Sentence, Size
from policies.model import RANDOM, ZEROS, Archive, DiskSigns, Suspicion, SuspicionKind
from policies.pve import guest_config

DAY = 86_400
# Which places of a disk are looked at: those whose number ends in the same bits as this one. Any
# odd number does; file systems put their own tables at round numbers, and this is none.
PHASE = 0x9E3779B1


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on a difference is a jump. Measured on generated disks (tests/unit/archives/
    test_signs_rates.py); shares from 0 to 1.

    Args:
        least: places with data below which a disk is not judged.
        sealed: of what was readable, how much looks random instead, from one archive to the next.
        sealed_slowly: the same over a longer time, up to ``slowly_within``.
        emptied: of what was stored, how much is gone.
        replaced: of what was held, how much is other data.
        rewritten: of what looked random, how much is other random data, on a disk of which
        ``mostly_random`` did.
        often: how many times what is usual of the guest the last two must be, too.
        swollen: by how much of what was stored the archive grew beyond what was added.
        near: seconds; over a longer time other data are usual.
        slowly_within: seconds that are looked back for what comes slowly.
    """

    least: int = 32
    sealed: float = 0.2
    sealed_slowly: float = 0.3
    emptied: float = 0.85
    replaced: float = 0.9
    rewritten: float = 0.4
    mostly_random: float = 0.6
    often: float = 3.0
    swollen: float = 0.25
    near: float = 8 * DAY
    slowly_within: int = 60 * DAY


THRESHOLDS = Thresholds()


class SignsVerdict(StrEnum):
    """What the signs of an archive say. ``no-history``: there is none before it to compare with."""

    USUAL = "usual"
    SUSPICIOUS = "suspicious"
    NO_HISTORY = "no-history"


@dataclass(frozen=True, slots=True)
class ReadArchive:
    """An archive whose bytes were read: ``ctime`` in epoch seconds, ``size`` in bytes, and its
    disks. ``acknowledged``: somebody said that what is unusual of it is right; ``found``: what was
    unusual of it when it was read, and nobody has acknowledged.
    """

    volid: str
    ctime: int
    size: int
    format: str
    disks: tuple[DiskSigns, ...]
    acknowledged: bool = False
    found: tuple[Suspicion, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of an archive, with a suspicion for each thing that is unusual."""

    verdict: SignsVerdict
    suspicions: tuple[Suspicion, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """Two samples of one disk beside each other, in places. ``held``: with data before.

    ``readable`` and ``random`` are those with data of either look, before and now; ``changed`` are
    those of ``held`` whose data are other ones or gone, ``rewritten`` those that looked random both
    times and are other ones.
    """

    held: int
    readable: tuple[int, int]
    random: tuple[int, int]
    changed: int
    rewritten: int


# --- the decision ---------------------------------------------------------------------------------


def judge(history: Sequence[ReadArchive], limits: Thresholds = THRESHOLDS) -> list[Judged]:
    """Given the archives of one lineage that were read, oldest first, return what is said of each,
    in the same order.

    Archives that nobody has read are not among them: nothing is said of them. What is as it was
    before something was acknowledged is usual, too: a guest that was brought back.
    """
    found: list[Judged] = []
    # usual archives, one after the other since one that was acknowledged; the current ones last
    eras: list[list[ReadArchive]] = []
    changes: dict[str, list[Change]] = defaultdict(list)  # of each disk, between usual archives
    for archive in history:
        era: list[ReadArchive] = eras[-1] if eras else []
        suspicions = archive.found
        if era and not suspicions:
            suspicions = _suspicions(archive, era, changes, limits)
            # a guest that was brought back holds what it held then, however long ago that is
            ever = replace(limits, near=math.inf)
            for former in reversed(eras[:-1]) if suspicions else ():
                if not _suspicions(archive, former, changes, ever):
                    era, suspicions = former, ()
                    break
        if suspicions and not archive.acknowledged:
            found.append(Judged(SignsVerdict.SUSPICIOUS, suspicions))
            continue
        found.append(Judged(SignsVerdict.USUAL if eras else SignsVerdict.NO_HISTORY))
        old = {disk.name: disk for disk in era[-1].disks} if era else {}
        for disk in archive.disks:
            if disk.name in old:
                changes[disk.name].append(compare(old[disk.name], disk))
        eras = [*(one for one in eras if one is not era or archive.acknowledged)]
        eras.append([archive] if archive.acknowledged else [*era, archive])
    return found


def _suspicions(
    archive: ReadArchive,
    usual: Sequence[ReadArchive],
    changes: Mapping[str, Sequence[Change]],
    limits: Thresholds,
) -> tuple[Suspicion, ...]:
    found: list[Suspicion] = []
    for new in archive.disks:
        # a disk that no usual archive has is new, and nothing to be suspicious of
        earlier = [(one, old) for one in usual for old in one.disks if old.name == new.name]
        if not earlier:
            continue
        since, old = earlier[-1]
        change = compare(old, new)
        said: list[Suspicion] = []
        if change.held >= limits.least:
            near = archive.ctime - since.ctime <= limits.near
            known = changes.get(new.name, ()) if near else None
            said = _of_disk(old, new, change, known, since.volid, limits)
        if not any(one.kind is SuspicionKind.SEALED for one in said):
            # what comes slowly shows beside the one since which most of it was sealed
            within = [
                (one.volid, compare(old, new))
                for one, old in earlier
                if archive.ctime - one.ctime <= limits.slowly_within
            ]
            judged = [(volid, change) for volid, change in within if change.held >= limits.least]
            volid, worst = max(judged, key=lambda one: _sealed(one[1]), default=("", None))
            if worst is not None and _sealed(worst) >= limits.sealed_slowly:
                said.append(_suspicion_of_sealed(new, worst, volid))
        found += said
    before = usual[-1]
    held = sum(one != ZEROS for disk in before.disks for one in disk.prints.values())
    disks = [{disk.name for disk in one.disks} for one in (before, archive)]
    if before.format == archive.format and disks[0] == disks[1] and held >= limits.least:
        stored = [sum(disk.stored for disk in one.disks) for one in (before, archive)]
        added = max(0, stored[1] - stored[0])
        # it grew by more than what was added to its disks, as where data that are spread between
        # the places that are looked at no longer compress
        if archive.size - before.size - added >= limits.swollen * stored[0]:
            found.append(
                Suspicion(SuspicionKind.SWOLLEN, "", before.size, archive.size, before.volid)
            )
    return tuple(found)


def _of_disk(
    old: DiskSigns,
    new: DiskSigns,
    change: Change,
    known: Sequence[Change] | None,
    since: str,
    limits: Thresholds,
) -> list[Suspicion]:
    """What is unusual of one disk. ``known``: how it changed from one archive to the next until
    now, None where the two lie too far apart to say anything by that.
    """
    found = []
    if _sealed(change) >= (limits.sealed_slowly if known is None else limits.sealed):
        found.append(_suspicion_of_sealed(new, change, since))
    # what is gone was replaced by nothing: one suspicion says it
    if new.stored <= (1 - limits.emptied) * old.stored:
        emptied = Suspicion(SuspicionKind.EMPTIED, new.name, old.stored, new.stored, since)
        return [*found, emptied]
    if known is None:
        return found
    share, usual = _replaced(change), median([_replaced(one) for one in known] or [0.0])
    if share >= max(limits.replaced, limits.often * usual):
        return [*found, Suspicion(SuspicionKind.REPLACED, new.name, usual, share, since)]
    if change.random[0] >= max(limits.least, limits.mostly_random * change.held):
        share, usual = _rewritten(change), median([_rewritten(one) for one in known] or [0.0])
        if share >= max(limits.rewritten, limits.often * usual):
            found.append(Suspicion(SuspicionKind.REWRITTEN, new.name, usual, share, since))
    return found


def _suspicion_of_sealed(disk: DiskSigns, change: Change, since: str) -> Suspicion:
    was, now = (
        random / (random + readable)
        for random, readable in zip(change.random, change.readable, strict=True)
    )
    return Suspicion(SuspicionKind.SEALED, disk.name, was, now, since)


def compare(before: DiskSigns, now: DiskSigns) -> Change:
    """Given two samples of one disk, return what changed at the places that both looked at."""
    level = max(before.level, now.level)
    old, new = _at(before, level), _at(now, level)
    held = {place: one for place, one in old.items() if one != ZEROS}
    moved = [place for place, one in held.items() if new.get(place) != one]
    return Change(
        len(held),
        (_readable(old), _readable(new)),
        (_random(old), _random(new)),
        len(moved),
        sum(held[place] >= RANDOM and new.get(place, ZEROS) >= RANDOM for place in moved),
    )


def looked_at(place: int, level: int) -> bool:
    """Given a place's number, return whether a sample of that level looks at it. What a coarser one
    looks at, each finer one does.
    """
    return not (place ^ PHASE) & ((1 << level) - 1)


def first_place(level: int) -> int:
    """Return the lowest number of the places that a sample of that level looks at; the next ones
    follow at each 2**level-th.
    """
    return PHASE & ((1 << level) - 1)


def _at(disk: DiskSigns, level: int) -> Mapping[int, int]:
    if disk.level == level:
        return disk.prints
    return {place: one for place, one in disk.prints.items() if looked_at(place, level)}


def _readable(prints: Mapping[int, int]) -> int:
    return sum(ZEROS < one < RANDOM for one in prints.values())


def _random(prints: Mapping[int, int]) -> int:
    return sum(one >= RANDOM for one in prints.values())


def _sealed(change: Change) -> float:
    """Of what was readable, the share for which something random stands now: at its place, or
    beside it where its own is gone. What only moved, or was added, is none.
    """
    was, now = change.readable
    return max(0, min(was - now, change.random[1] - change.random[0])) / max(was, 1)


def _replaced(change: Change) -> float:
    return change.changed / max(change.held, 1)


def _rewritten(change: Change) -> float:
    return change.rewritten / max(change.random[0], 1)


# --- what is remembered ---------------------------------------------------------------------------

RECENT = 16  # usual archives of a guest that are all remembered
WEEK = 7 * DAY


def forgettable(times: Sequence[int], limits: Thresholds = THRESHOLDS) -> list[int]:
    """Given when the usual archives of a guest were made (epoch seconds, oldest first), return the
    indexes of those whose samples are needed no more: of what is older than the newest ``RECENT``,
    the first of each week says what comes slowly.
    """
    weeks: set[int] = set()
    found = []
    for index, at in enumerate(times[:-RECENT]):
        # what is older than any comparison looks back tells nothing any more
        if times[-1] - at > limits.slowly_within or at // WEEK in weeks:
            found.append(index)
        weeks.add(at // WEEK)
    return found


# --- what stays until somebody has looked ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hold:
    """Archives of a guest from before ``until`` (epoch seconds) stay: ``volid`` is the oldest
    suspicious one that nobody has acknowledged.
    """

    volid: str
    until: int

    @property
    def reason(self) -> str:
        """Why an archive is kept by it."""
        return (
            f"law 3: {self.volid} is suspicious, and until somebody acknowledges that nothing older "
            f"goes: `backupsvc archive acknowledge {self.volid}`"
        )


def holds(archives: Iterable[Archive]) -> dict[int, Hold]:
    """Given all archives that are known of some guests, return for each guest with suspicious ones
    what stays because of them. One that is gone is among them: that nobody can look at it any more
    makes none of the newer ones a good one.
    """
    found: dict[int, list[Archive]] = defaultdict(list)
    for archive in archives:
        if archive.suspicious and archive.vmid is not None:
            found[archive.vmid].append(archive)
    return {
        vmid: Hold(
            min(theirs, key=lambda one: (one.ctime, one.volid)).volid,
            max(one.ctime for one in theirs),
        )
        for vmid, theirs in sorted(found.items())
    }


# --- the first archive ----------------------------------------------------------------------------


def empty_boot_disk(disks: Iterable[DiskSigns], text: str) -> str | None:
    """Given what was read of an archive and the config in it, return the disk that the guest boots
    from if it, and every other disk in its boot order, holds nothing but zeros; else None.
    """
    config = guest_config.parse_config(text)
    dumped = guest_config.dumped_disks(config)
    order = config.get("boot", "").removeprefix("order=").split(";")
    names = [dumped[key].device for key in (*order, config.get("bootdisk", "")) if key in dumped]
    empty = {disk.name for disk in disks if disk.size and not disk.stored}
    return names[0] if names and all(name in empty for name in names) else None


# --- in words -------------------------------------------------------------------------------------


def sentence(one: Suspicion) -> Sentence:
    """Given a suspicion, return the sentence that says it, with the figures it is told by."""
    values: dict[str, object] = {"disk": one.disk, "since": one.since}
    if one.kind in (SuspicionKind.EMPTIED, SuspicionKind.SWOLLEN):
        was, now = round(one.was), round(one.now)
        values |= {"was": Size(was, (now,)), "now": Size(now, (was,))}
    else:
        values |= {"was": round(100 * one.was), "now": round(100 * one.now)}
    return Sentence(f"suspicion.{one.kind}", values)


def in_words(suspicions: Iterable[Suspicion]) -> str:
    """Given what is unusual of an archive, return it in one line of English."""
    return "; ".join(str(rendered(sentence(one), ENGLISH, "UTC")) for one in suspicions)
