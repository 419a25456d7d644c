"""Decide which copies at a target go: by the target's own keep rules, and under the same law 3 as
the archives.

A copy is judged by what lies at its target and by what is known of its archive, also when that
archive is long gone: the same bytes were proven, or found damaged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from policies import archive_signs, prune_marks, retention, segments
from policies.age_keys import fingerprint
from policies.copy_manifest import attempts, manifest_name, sidecar_names
from policies.model import (
    Archive,
    ArchiveCopy,
    CopyTarget,
    Guest,
    Job,
    Mark,
    Marked,
    Policy,
    Tombstone,
)
from policies.pve.calendar_event import zone
from policies.pve.volid import file_of, parse_name
from policies.whole import key

_SHOWN = 3  # copies that a sentence names
UNFIT = (
    "the archive that it was made from is not fit to stand for a good one ({}), so it is put aside "
    "and counts for no keep rule: look at it, and remove it there yourself"
)
DAMAGED = (
    "it was found damaged when it was read anew ({}), so it is put aside and counts for no keep "
    "rule until it is read as good or made anew"
)


@dataclass(frozen=True, slots=True)
class MarkedCopy:
    """A copy with what was decided of it, and why."""

    copy: ArchiveCopy
    mark: Mark
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """Every copy at a target with its mark. With a ``refusal``, a sentence, none of them may be
    removed.
    """

    marked: tuple[MarkedCopy, ...]
    refusal: str | None = None

    def going(self, vmid: int | None) -> list[ArchiveCopy]:
        """Return the copies of one guest that may be removed, the oldest first."""
        if self.refusal is not None:
            return []
        found = [one.copy for one in self.marked if one.mark is Mark.REMOVE]
        return sorted((one for one in found if one.route.vmid == vmid), key=lambda one: one.file)


def decide(
    copies: Sequence[ArchiveCopy],
    archives: Sequence[Archive],
    guests: Sequence[Guest],
    policy: Policy,
    target: CopyTarget,
    *,
    files: Mapping[str, int],
    in_use: Collection[str],
    now: int,
    unsure: Mapping[int, str] = MappingProxyType({}),
    gone: Collection[Tombstone] = (),
    opened_by: Collection[str] = (),
) -> Kept:
    """Given the copies that were verified at a target, the archives that they were made from (those
    that are gone among them), the cluster's guests and the policy, return what becomes of each copy.

    ``files`` are what lies in the target's folder, with sizes; ``in_use`` are the volids that open
    operations read or copy; ``now`` in epoch seconds; ``unsure`` and ``gone`` as in
    ``prune_marks.decide_all``. A suspicious one of ``archives`` holds copies that are older,
    whether it was copied or not. ``opened_by``: the fingerprints of the keys that were shown to
    open a copy there. Copies that no such key opens rotate among themselves: none that can surely
    be read goes in their favour.
    Of a guest that is gone everything is kept, but for what its tombstone lets go of. Nothing at
    all goes while a copy that was verified is not there as it was.
    """
    origin = {key(one): one for one in archives}
    # an archive whose storage came to be shared has two routes to one file
    files_of = {one.file: one for one in copies}
    found = {
        file: _as_archive(one, origin.get(one.route.archive), target, files, policy.timezone)
        for file, one in files_of.items()
    }
    aside = {
        file: (
            DAMAGED.format(damaged) if (damaged := files_of[file].damaged) else UNFIT.format(why)
        )
        for file, one in found.items()
        if (why := one.unfit)
    }
    everybody = replace(policy, jobs=(Job("copies", "", target.name, keep=target.keep),))
    holds = archive_signs.holds(archives)

    def guarded(some: Mapping[str, Archive]) -> tuple[dict[str, Marked], str | None]:
        usual = [one for file, one in some.items() if file not in aside]
        judged = iter(prune_marks.decide_all(usual, guests, everybody, unsure, gone))
        found = retention.guard(
            [
                Marked(one, Mark.KEEP, (aside[file],)) if file in aside else next(judged)
                for file, one in some.items()
            ],
            in_use=in_use,
            listed_before=None,
            now=now,
            rules=policy.prune,
            holds=holds,
        )
        return dict(zip(some, found.marked, strict=True)), found.refusal

    final, refusal = guarded(found)
    for readable in (True, False):
        alike = {
            file: one
            for file, one in found.items()
            if _surely_readable(files_of[file], opened_by) is readable
        }
        # what goes must be superfluous among all, and among those that are as surely readable
        going = {file for file, one in final.items() if one.mark is Mark.REMOVE}
        final |= {file: one for file, one in guarded(alike)[0].items() if file in going}
    return Kept(
        tuple(MarkedCopy(one, final[one.file].mark, final[one.file].reasons) for one in copies),
        _not_as_verified(copies, files, target) or refusal,
    )


def _surely_readable(copy: ArchiveCopy, opened_by: Collection[str]) -> bool:
    """Whether nothing encrypts a copy, or a key opens it that somebody showed."""
    return not copy.encrypted or any(fingerprint(who) in opened_by for who in copy.recipients)


def _not_as_verified(
    copies: Sequence[ArchiveCopy], files: Mapping[str, int], target: CopyTarget
) -> str | None:
    """Why nothing goes while a copy is not there as it was, None if all are."""
    names = [one.file for one in lost(copies, files)]
    if not names:
        return None
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"law 3: {', '.join(names[:_SHOWN])}{more} should be there and "
        f"{'is' if len(names) == 1 else 'are'} not as verified, and this service removed "
        "nothing of it: so no other copy goes, until somebody has looked and says so with "
        f"`backupsvc copy sync --to {target.name}`"
    )


def _as_archive(
    copy: ArchiveCopy,
    origin: Archive | None,
    target: CopyTarget,
    files: Mapping[str, int],
    timezone: str,
) -> Archive:
    """A copy as an archive of its own, that lies at its target: rules and law 3 judge it there."""
    route = copy.route
    if origin is None:  # a catalog that was rebuilt may not know it
        name = parse_name(file_of(route.volid))
        ctime = name.ctime(zone(timezone)) if name else None
        origin = Archive(route.volid, "", "", route.vmid, None, ctime or 0, copy.size)
    return replace(
        origin,
        node=target.name,
        storage=target.name,
        shared=False,
        size=copy.size,
        damaged=copy.damaged or origin.damaged,
        protected=sidecar_names(copy.file)[-1] + segments.END * copy.encrypted in files,
    )


def lost(
    copies: Sequence[ArchiveCopy], files: Mapping[str, int], *, immutable: bool = False
) -> list[ArchiveCopy]:
    """Given copies that were verified in a folder, and what lies there now, return those that are
    not there as they were.

    At an immutable target the manifest has the archive's name, or that name with a number, whatever
    number the copy has: what came before it could not be had back.
    """
    found = []
    for copy in copies:
        if copy.encrypted:
            held = segments.unpacked(copy.file, copy.segments)
            manifest = segments.manifest_name(copy.file)
            # segments of which the catalog knows nothing are not there
            there = bool(held) and all(files.get(one.file) == one.size for one in held)
            numbered = True
        else:
            manifest = manifest_name(file_of(copy.route.volid) if immutable else copy.file)
            there, numbered = files.get(copy.file) == copy.size, immutable
        # to look for a number costs a look at every file
        if not (there and (manifest in files or (numbered and attempts(manifest, files)))):
            found.append(copy)
    return found
