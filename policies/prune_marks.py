"""Apply retention to all archives of the site, before law 3 has the last word: kept, put aside, or
judged by keep rules.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from policies import archive_signs, chains, lineage, retention, tombstones, whole
from policies.jobs import job_for
from policies.model import Archive, Guest, GuestType, Mark, Marks, Policy, Said, Tombstone
from policies.pve import prune_backups

_NOWHERE = ("", "")
SMALL = (
    "it is less than half as large as those before it, so it counts for no keep rule until a "
    "restore test proves it whole: `backupsvc restore-test VMID --archive VOLID`"
)
CHANGED = (
    "it was changed since it was recorded ({}), so it is put aside and counts for no keep rule: "
    "look at it"
)
DAMAGED = (
    "its bytes were found damaged ({}), so it is put aside and counts for no keep rule: look at the "
    "storage's disk, and remove it in PVE yourself"
)
SUSPICIOUS = (
    "it is suspicious ({}), so it is put aside and counts for no keep rule until somebody "
    "acknowledges it: `backupsvc archive acknowledge VOLID`"
)
ANOTHER = (
    "law 10: it is of another machine than guest {} is now, so it is kept until somebody decides, "
    "and counts not"
)
ASIDE = (
    "as far as can be seen it holds no disk, so it is put aside and counts for no keep rule: look "
    "at it, and remove it in PVE yourself"
)


def decide_all(
    archives: Sequence[Archive],
    guests: Sequence[Guest],
    policy: Policy,
    unsure: Mapping[int, str] = MappingProxyType({}),
    gone: Collection[Tombstone] = (),
) -> Marks:
    """Given every archive, the cluster's guests and the policy, return every archive marked, in the
    order given.

    Retention is that of the job which covers the guest, applied storage by storage as PVE does.
    Archives of a guest that no job
    covers, or that no longer exists, are kept: what remains of a deleted guest must not rotate out,
    also when its VMID went to a guest of the other kind. So are those of ``unsure``: VMIDs of which
    it is not known whether a guest stands there, and why. Archives without any disk, those that
    were changed or damaged or are suspicious, those of another machine and those whose size has
    collapsed are put aside, so that none counts in place of a whole one. What remains of machines
    that are ``gone`` is kept as their tombstones say. While it is not known whether two chains of a
    VMID are one machine, none of its archives goes. Each archive is given once.
    """
    present = {guest.vmid: guest.type for guest in guests}
    asked = chains.asked(archives)
    remains = tombstones.fates(archives, gone, policy.tombstone)
    # a guest may have thousands of archives, all with one fate
    fates: dict[tuple[GuestType | None, int | None], _Fate] = {}
    aside, foreign = _apart(archives)
    either = aside | foreign
    marks: list[Said] = [(Mark.KEEP, ())] * len(archives)
    # the indexes of those that keep rules judge together; a million objects would take 32 MB more
    groups: dict[tuple[str, str, str], array[int]] = defaultdict(partial(array, "q"))
    for index, archive in enumerate(archives):
        whose = archive.type, archive.vmid
        if (fate := fates.get(whose)) is None:
            fate = fates[whose] = _fate(*whose, present, policy, unsure, asked)
        # of nearly every site nothing is said of an archive alone
        here = whole.key(archive) if remains or either else _NOWHERE
        if remains and here in remains and not fate.unsure:
            mark, why = remains[here]
            if mark is Mark.REMOVE and (looked := aside.get(here)):
                mark, why = Mark.KEEP, *looked
            marks[index] = (Mark.PROTECTED if archive.protected else mark), (why,)
        elif reasons := fate.kept or either.get(here):
            marks[index] = (Mark.PROTECTED if archive.protected else Mark.KEEP), reasons
        else:
            # each storage by itself, as PVE does: what is elsewhere neither keeps nor removes
            groups["" if archive.shared else archive.node, archive.storage, fate.keep].append(index)
    while groups:
        (_, _, keep), indexes = groups.popitem()
        group = [archives[index] for index in indexes]
        judged = retention.mark_all(group, prune_backups.parse_keep(keep), policy.timezone)
        for index, said in zip(indexes, judged.said, strict=True):
            marks[index] = said
    return Marks(archives, marks)


@dataclass(frozen=True, slots=True)
class _Fate:
    """What all archives of a guest have in common: why they are kept, () if nothing says so, and
    the rules that judge them. ``unsure``: whose they are, or whether there is a guest, is not known.
    """

    kept: tuple[str, ...]
    keep: str = ""
    unsure: bool = False


def _fate(
    type: GuestType | None,
    vmid: int | None,
    present: Mapping[int, GuestType],
    policy: Policy,
    unsure: Mapping[int, str],
    asked: Mapping[tuple[int, GuestType | None], str],
) -> _Fate:
    if why := unsure.get(vmid or 0) or asked.get((vmid or 0, type)):
        return _Fate((why,), unsure=True)
    if vmid is None:
        return _Fate(("its name is not a vzdump name, so nobody knows whose it is",))
    if vmid not in present:
        return _Fate(
            (f"guest {vmid} no longer exists: its archives are kept until somebody decides",)
        )
    if type not in (None, present[vmid]):
        kinds = {GuestType.QEMU: "VM", GuestType.LXC: "container"}
        before, now = kinds[type or present[vmid]], kinds[present[vmid]]
        return _Fate(
            (
                f"{vmid} is a {now} by now: the archives of the {before} before it are kept until "
                "somebody decides",
            )
        )
    if (job := job_for(policy, vmid)) is None:
        return _Fate((f"no job of the policy covers guest {vmid}, so no retention applies",))
    return _Fate((), job.keep)


def another(archive: Archive) -> str:
    """Given an archive of another machine than its guest is now, return why it is kept."""
    return ANOTHER.format(archive.vmid)


def _apart(
    archives: Sequence[Archive],
) -> tuple[dict[tuple[str, str], tuple[str]], dict[tuple[str, str], tuple[str]]]:
    """The archives that count for no keep rule, each by its key, and why: those that are put aside,
    and those of another machine than their guest is now.
    """
    small = dict.fromkeys(whole.collapsed(archives), (SMALL,))
    hollow = dict.fromkeys(whole.hollow(archives), (ASIDE,))
    changed = {whole.key(one): (CHANGED.format(one.changed),) for one in archives if one.changed}
    damaged = {whole.key(one): (DAMAGED.format(one.damaged),) for one in archives if one.damaged}
    suspicious = {
        whole.key(one): (SUSPICIOUS.format(archive_signs.in_words(one.suspicious)),)
        for one in archives
        if one.suspicious
    }
    others = lineage.others(archives)
    foreign = {
        whole.key(one): (another(one),)
        for one in (archives if others else ())
        # of those that are unfit that is told instead
        if whole.key(one) in others and not one.unfit
    }
    # of several reasons the last of these is told
    return small | hollow | suspicious | damaged | changed, foreign
