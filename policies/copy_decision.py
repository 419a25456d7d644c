"""Decide what a copy does with what it finds at its target: begin, go on, check, be content, or
refuse.

It asks nobody: the caller looks at the target anew after each thing that it did, and decides again.
Three things are never
taken for a copy: bytes without a manifest, a manifest without its bytes, and anybody else's file
under the archive's name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count

from policies.copy_manifest import (
    Manifest,
    attempts,
    manifest_name,
    numbered,
    part_name,
    sidecar_names,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The archive that is to be copied. ``modified`` in epoch seconds; ``sha256`` where it is known
    beforehand, else None.
    """

    volid: str
    name: str
    size: int
    modified: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a copy was when that was last recorded: ``sent`` bytes with this SHA-256 are in
    ``file``, and were synced there.

    Of an encrypted copy they are in ``segments`` (``policies.segments.packed``, with hashes), each
    encrypted to ``recipients``, and ``file`` is what their names begin with.
    """

    volid: str
    size: int
    modified: int
    file: str
    sent: int
    sha256: str
    recipients: tuple[str, ...] = ()
    segments: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies in the target's folder: sizes by name, and the manifests that can be read, by the
    name of their file, in the order in which those were tried.
    """

    files: Mapping[str, int]
    manifests: Mapping[str, Manifest]


class Action(StrEnum):
    """What is to be done."""

    SEND = "send"  # from the first byte, into a new file
    RESUME = "resume"  # from ``offset`` on, if the bytes before it are still those of the archive
    CHECK = "check"  # it is there in full length: read it back, and compare it with the archive
    DONE = "done"  # a verified copy is there
    REFUSE = "refuse"  # something else has the archive's name


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with ``file``, after ``remove`` was removed. ``litter`` is of no use, and
    not ours to remove.
    """

    action: Action
    file: str
    reasons: tuple[str, ...]
    offset: int = 0
    remove: tuple[str, ...] = ()
    litter: tuple[str, ...] = ()
    manifest: Manifest | None = None


def decide(
    wanted: Wanted,
    seen: Seen,
    progress: Progress | None,
    *,
    immutable: bool = False,
    refuted: Collection[str] = (),
    damaged: str = "",
) -> Decision:
    """Given an archive, what lies at the target and how far an earlier attempt came, return what is
    to be done.

    ``immutable``: nothing there can be renamed or removed. ``refuted`` are the files that turned
    out, in this attempt, to hold other bytes than the archive, or not to be written on.
    ``damaged`` is the file of an earlier copy that is to be replaced, "" if there is none: it is
    left alone until another one was read back in its stead.
    """
    mine = {
        file: found for file, found in seen.manifests.items() if attempts(wanted.name, [found.file])
    }
    # the last attempt is the one that came to its end
    for found in reversed(mine.values()):
        # what was read back as other bytes is no copy, whatever a manifest says of it
        if found.file == damaged or found.file in refuted:
            continue
        same = (found.volid, found.size) == (wanted.volid, wanted.size)
        same = same and wanted.sha256 in (None, found.sha256)
        if not same or seen.files.get(found.file) != wanted.size:
            continue
        why, part = f"a verified copy is there: {found.file}", part_name(wanted.name)
        remove = () if immutable or part not in seen.files else (part,)
        litter = tuple(_litter(wanted, seen, mine, damaged)) if immutable else ()
        return Decision(
            Action.DONE, found.file, (why,), remove=remove, litter=litter, manifest=found
        )
    if immutable:
        return _on_immutable(wanted, seen, mine, progress, refuted, damaged)
    return _on_renameable(wanted, seen, progress, refuted, damaged)


def _on_renameable(
    wanted: Wanted,
    seen: Seen,
    progress: Progress | None,
    refuted: Collection[str],
    damaged: str,
) -> Decision:
    name, part = wanted.name, part_name(wanted.name)
    there = seen.files.get(name)
    sent = progress is not None and (progress.file, progress.sent) == (part, wanted.size)
    # what has the archive's name may be what was sent by now, and no longer what was damaged
    renamed = sent and part not in seen.files and there == wanted.size
    if name == damaged and (name in refuted or not renamed):
        there = None
    if there is not None and there != wanted.size:
        return Decision(
            Action.REFUSE, name, (f"{name} is there already with {there} bytes, not {wanted.size}",)
        )
    if there is not None and name in refuted:
        return Decision(
            Action.REFUSE,
            name,
            (f"{name} is there already, as long as the archive and with other bytes",),
        )
    if there is not None:
        return Decision(
            Action.CHECK,
            name,
            (f"{name} is there in full length, and nothing says that it was verified",),
        )
    if part not in seen.files:
        return Decision(Action.SEND, part, ("nothing of it is there",))
    known = _usable(part, wanted, seen, progress, refuted)
    if isinstance(known, str):
        return Decision(Action.SEND, part, (known,), remove=(part,))
    return Decision(
        Action.RESUME, part, (f"{known.sent} bytes of it are there",), offset=known.sent
    )


def _on_immutable(
    wanted: Wanted,
    seen: Seen,
    mine: Mapping[str, Manifest],
    progress: Progress | None,
    refuted: Collection[str],
    damaged: str,
) -> Decision:
    if other := next(
        (
            found
            for found in mine.values()
            if found.file not in (damaged, *refuted) and seen.files.get(found.file) == found.size
        ),
        None,
    ):
        why = (
            f"a verified copy of another archive has the name {other.file}: {other.volid}, "
            f"{other.size} bytes, {other.sha256}"
        )
        return Decision(Action.REFUSE, other.file, (why,))
    litter = _litter(wanted, seen, mine, damaged)
    reasons = [f"{damaged} is damaged"] if damaged else []
    for file in attempts(wanted.name, seen.files):
        if file == damaged:
            continue
        rest = tuple(one for one in litter if one != file)
        if seen.files[file] == wanted.size and file not in refuted:
            why = f"{file} is there in full length, and nothing says that it was verified"
            return Decision(Action.CHECK, file, (*reasons, why), litter=rest)
        known = _usable(file, wanted, seen, progress, refuted)
        if not isinstance(known, str):
            why = f"{known.sent} bytes of it are there"
            return Decision(Action.RESUME, file, (*reasons, why), offset=known.sent, litter=rest)
        reasons.append(known)
    # what holds other bytes keeps its name there for good, so this attempt gets the next one
    new = free_name(wanted.name, seen.files)
    return Decision(
        Action.SEND, new, tuple(reasons) or ("nothing of it is there",), litter=tuple(litter)
    )


def free_name(name: str, taken: Collection[str]) -> str:
    """Given a name and those that are taken, return the first of ``name``, ``name~2``, ``name~3``
    ... that is free.
    """
    return next(one for one in (numbered(name, number) for number in count(1)) if one not in taken)


def holds(wanted: Wanted, progress: Progress, sha256: str) -> bool:
    """Given the SHA-256 of the archive's first ``progress.sent`` bytes now, return whether they are
    what was sent then.
    """
    return progress.sha256 == sha256 and is_of(wanted, progress)


def _usable(
    file: str, wanted: Wanted, seen: Seen, progress: Progress | None, refuted: Collection[str]
) -> Progress | str:
    """How far an unfinished file came, or why nothing can be added to it."""
    if file in refuted:
        return f"{file} does not hold what was sent, or cannot be written on"
    if progress is None or progress.file != file or progress.segments:
        return f"of {file} nobody recorded how far it came"
    if not is_of(wanted, progress):
        return f"{file} is of an archive that has changed since"
    if not 0 < progress.sent <= seen.files[file] <= wanted.size:
        return f"{file} has {seen.files[file]} bytes, recorded are {progress.sent} of {wanted.size}"
    return progress


def is_of(wanted: Wanted, progress: Progress) -> bool:
    """Whether what was recorded is of the archive as it is now, by all but its bytes."""
    return (progress.volid, progress.size, progress.modified) == (
        wanted.volid,
        wanted.size,
        wanted.modified,
    )


def _litter(wanted: Wanted, seen: Seen, mine: Mapping[str, Manifest], damaged: str) -> list[str]:
    """What earlier attempts left at an immutable target and no manifest speaks of, sorted; a
    damaged copy with all that is its own.
    """
    good = {file: found for file, found in mine.items() if found.file != damaged}
    used = {found.file for found in good.values()} | set(good)
    used |= {there for found in mine.values() for _, there in found.sidecars}
    bases = [wanted.name, manifest_name(wanted.name), *sidecar_names(wanted.name)]
    return sorted(file for base in bases for file in attempts(base, seen.files) if file not in used)
