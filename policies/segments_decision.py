"""Decide what an encrypted copy does with what it finds at its target: be content, refuse, or send
the segments that are not there yet.

As of a plain copy (``policies/copy_decision.py``), the caller looks anew after what it did. Age
encrypts nothing twice alike: a segment is kept whole or written anew, and which one is whole is told
by its hash alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from policies.copy_decision import Progress, Wanted, is_of
from policies.copy_manifest import part_name
from policies.segments import (
    END,
    SegmentManifest,
    Stored,
    Unreadable,
    own_files,
    ranges,
    unpacked,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies in the target's folder: sizes by name, and the manifests of encrypted copies under
    the archive's name, by the name of their file, in the order in which those were tried.
    """

    files: Mapping[str, int]
    manifests: Mapping[str, SegmentManifest | Unreadable]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done: nothing if ``manifest`` is there already, or nothing because of a
    ``refusal``; else, after ``remove`` was removed, to send the segments that are not among
    ``kept`` (by number), once those were read back.

    The first ``known`` segments were recorded as sent. ``litter`` is of no use, and not ours to
    remove.
    """

    reasons: tuple[str, ...]
    manifest: SegmentManifest | None = None
    refusal: str | None = None
    kept: Mapping[int, Stored] = field(default_factory=dict)
    known: int = 0
    remove: tuple[str, ...] = ()
    litter: tuple[str, ...] = ()


def label(name: str) -> str:
    """Given an archive's name, return as which file its encrypted copy is recorded under way."""
    return f"{name}{END}"


def decide(
    wanted: Wanted,
    recipients: tuple[str, ...],
    seen: Seen,
    progress: Progress | None,
    *,
    length: int,
    immutable: bool = False,
    refuted: Collection[str] = (),
    damaged: Collection[str] = (),
) -> Decision:
    """Given an archive, to whom it is encrypted, what lies at the target and how far an earlier
    attempt came, return what is to be done.

    ``length`` is how many bytes of the archive a segment holds; ``immutable``: nothing there can be
    renamed or removed; ``refuted`` are files that turned out, in this attempt, to hold other bytes
    than were sent. ``damaged`` are the segments of an earlier copy that is to be replaced: they are
    left alone until another one was read back in its stead.
    """
    mine = own_files(wanted.name, seen.files)
    manifests = {
        file: one for file, one in seen.manifests.items() if isinstance(one, SegmentManifest)
    }
    # a manifest of another archive stays what it is: whoever put it there must be told
    bad = {
        file: one
        for file, one in manifests.items()
        if _is_of(one, wanted) and not {part.file for part in one.segments}.isdisjoint(damaged)
    }
    manifests = {file: one for file, one in manifests.items() if file not in bad}
    used = {*manifests, *(file for one in manifests.values() for file in one.files())}
    litter = tuple(file for file in mine if file not in used) if immutable else ()
    # the last attempt is the one that came to its end
    whole = [
        one
        for one in reversed(manifests.values())
        if all(seen.files.get(part.file) == part.size for part in one.segments)
    ]
    if found := next((one for one in whole if _is_of(one, wanted)), None):
        why = f"a verified copy is there: {found.file}, encrypted"
        if set(found.recipients) != set(recipients):
            why += " to other recipients than the policy names now"
        good = {*manifests, *found.files()}
        rest = tuple(file for file in mine if file not in good) if damaged else ()
        return Decision((why,), manifest=found, remove=() if immutable else rest, litter=litter)
    if refusal := _refusal(wanted, seen, whole):
        return Decision((refusal,), refusal=refusal, litter=litter)
    kept, known, why = _kept(wanted, recipients, seen.files, progress, length, refuted)
    files = {one.file for one in kept.values()}
    if damaged and not immutable:
        files |= {
            *damaged,
            *seen.manifests,
            *(file for one in bad.values() for file in one.files()),
        }
    rest = tuple(file for file in mine if file not in files)
    if immutable:
        litter = tuple(file for file in litter if file not in files)
        return Decision((why,), kept=kept, known=known, litter=litter)
    # a manifest goes before what it speaks of: without it that is no copy
    first = tuple(file for file in rest if file in seen.manifests)
    plain = part_name(wanted.name)  # of before the target's copies were to be encrypted
    remove = (*first, *(file for file in rest if file not in first))
    remove += (plain,) if plain in seen.files else ()
    return Decision((why,), kept=kept, known=known, remove=remove)


def _is_of(manifest: SegmentManifest, wanted: Wanted) -> bool:
    same = (manifest.volid, manifest.file, manifest.size) == (
        wanted.volid,
        wanted.name,
        wanted.size,
    )
    return same and wanted.sha256 in (None, manifest.sha256)


def _refusal(wanted: Wanted, seen: Seen, whole: list[SegmentManifest]) -> str | None:
    """Why what has the archive's name there is left alone, None if nothing that counts has it."""
    if whole:
        other = whole[0]
        return (
            f"a verified copy of another archive has the name {wanted.name}: {other.volid}, "
            f"{other.size} bytes, {other.sha256}"
        )
    for file, one in seen.manifests.items():
        if isinstance(one, Unreadable) and one.later:
            return f"{file} {one.why}: another release may have written that copy"
        if isinstance(one, SegmentManifest) and one.volid != wanted.volid:
            return f"{file} speaks of another archive, {one.volid}, and not all of it is there"
    return None


def _kept(
    wanted: Wanted,
    recipients: tuple[str, ...],
    files: Mapping[str, int],
    progress: Progress | None,
    length: int,
    refuted: Collection[str],
) -> tuple[dict[int, Stored], int, str]:
    """Which segments need not be sent, how many were sent in all, and why so."""
    none: dict[int, Stored] = {}
    if progress is None or progress.file != label(wanted.name):
        return none, 0, "nothing of it was recorded to be there"
    if not is_of(wanted, progress):
        return none, 0, "what is there is of an archive that has changed since"
    if progress.recipients != recipients:
        return none, 0, "what is there was encrypted to other recipients"
    sent = unpacked(wanted.name, progress.segments)
    ends = [start + count for _, start, count in ranges(wanted.size, length)]
    if not 0 < len(sent) <= len(ends) or ends[len(sent) - 1] != progress.sent:
        return none, 0, "what is there is in segments of another size"
    kept = {
        number: one
        for number, one in enumerate(sent, 1)
        if one.sha256 and files.get(one.file) == one.size and one.file not in refuted
    }
    return kept, len(sent), f"{len(kept)} of {len(ends)} segments are there"
