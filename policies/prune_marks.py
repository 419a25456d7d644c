"""Apply retention to all archives of the site, before law 3 has the last word: kept, put aside, or judged by keep rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from policies import lineage, retention, whole
from policies.jobs import job_for
from policies.model import Archive, Guest, GuestType, Mark, Marked, Policy
from policies.pve import prune_backups

SMALL = (
    "it is less than half as large as those before it, so it counts for no keep rule until a restore test proves it whole: "
    "`backupsvc restore-test VMID --archive VOLID`"
)
CHANGED = "it was changed since it was recorded ({}), so it is put aside and counts for no keep rule: look at it"
ANOTHER = "law 10: it is of another machine than guest {} is now, so it is kept until somebody decides, and counts not"
ASIDE = (
    "as far as can be seen it holds no disk, so it is put aside and counts for no keep rule: look at it, and remove it in PVE "
    "yourself"
)


def decide_all(
    archives: Sequence[Archive], guests: Sequence[Guest], policy: Policy, unsure: Mapping[int, str] = MappingProxyType({})
) -> list[Marked]:
    """Given every archive, the cluster's guests and the policy, return every archive marked, in the order given.

    Retention is that of the job which covers the guest, applied storage by storage as PVE does. Archives of a guest that no job
    covers, or that no longer exists, are kept: what remains of a deleted guest must not rotate out, also when its VMID went to
    a guest of the other kind. So are those of ``unsure``: VMIDs of which it is not known whether a guest stands there, and why.
    Archives without any disk, those that were changed, those of another machine and those whose size has collapsed are put
    aside, so that none counts in place of a whole one.
    """
    hollow, collapsed, others = whole.hollow(archives), whole.collapsed(archives), lineage.others(archives)
    present = {guest.vmid: guest.type for guest in guests}
    marks: dict[tuple[str, str], Marked] = {}
    groups: dict[tuple[str, str, str], list[Archive]] = {}
    for archive in archives:
        why = (
            unsure.get(archive.vmid or 0) or _kept_because(archive, present, policy) or _aside(archive, hollow, others, collapsed)
        )
        if why:
            mark = Mark.PROTECTED if archive.protected else Mark.KEEP
            marks[whole.key(archive)] = Marked(archive, mark, (why,))
        else:
            job = job_for(policy, archive.vmid or 0)
            groups.setdefault((whole.key(archive)[0], archive.storage, job.keep if job else ""), []).append(archive)
    for (_, _, keep), group in groups.items():
        for marked in retention.mark_all(group, prune_backups.parse_keep(keep), policy.timezone):
            marks[whole.key(marked.archive)] = marked
    return [marks[whole.key(archive)] for archive in archives]


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
