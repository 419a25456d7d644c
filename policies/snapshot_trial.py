"""Whether what would be needed on the worst day could be used: the newest snapshot of the catalog at
a target is brought back once a month and held against the catalog.

The catalog goes on meanwhile. So each row of the snapshot must be among the catalog's, as it was
then where it could not change since, and the snapshot must have each row that the catalog had then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from policies.copy_folders import folder_of
from policies.model import CopyTarget, SnapshotTrial, TrialState

CATALOG, BUNDLE = "catalog", "bundle"  # what is brought back
KINDS = (CATALOG, BUNDLE)
DAY = 86400
EACH = 30 * DAY  # seconds between two trials by night
LATE = 35 * DAY  # for so long a trial counts: some nights may not reach their target
TOO_OLD = 8 * DAY  # a night writes one; a site may have but one night a week
_NOT_NOW = "its time is not of these days"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a catalog, for a comparison. ``number`` grows with each that is written; ``at`` is
    when it was written (epoch seconds), None where that does not tell.

    ``frozen`` is a digest of what never changes. ``final`` is one of what does not change any more
    as long as ``version`` stays the same, "" while all of it may.
    """

    key: str
    number: int
    frozen: str
    at: int | None = None
    version: str = ""
    final: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """How the rows of one subject compare: ``count`` of them in the snapshot, with their digest.

    ``lacking`` are keys that the snapshot should have, ``strange`` those that the catalog has not,
    ``differing`` those whose content is another one.
    """

    subject: str
    count: int
    digest: str
    lacking: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether the snapshot is what the catalog was."""
        return not (self.lacking or self.strange or self.differing)

    def __str__(self) -> str:
        found = [
            f"{len(keys)} {word} ({_shown(keys[0], 200)})"
            for word, keys in (
                ("missing in the snapshot", self.lacking),
                ("unknown to the catalog", self.strange),
                ("with other content", self.differing),
            )
            if keys
        ]
        # two digests of nothing are no evidence
        digest = f", digest {self.digest[:16]}" if self.count else ""
        return f"{self.subject}: {self.count}{digest}{''.join(f', {one}' for one in found)}"


def _shown(text: str, most: int) -> str:
    # it may be a stranger's, and is recorded: PostgreSQL takes no NUL
    return "".join(one if one.isprintable() else "?" for one in text[:most])


@dataclass(frozen=True, slots=True)
class Fetched:
    """A snapshot as it came back: its name, when it was taken by that (epoch seconds), its bytes'
    number and SHA-256.
    """

    file: str
    taken_at: int
    size: int
    sha256: str


def due(
    targets: Iterable[CopyTarget], trials: Collection[SnapshotTrial], now: int
) -> list[tuple[CopyTarget, tuple[str, ...]]]:
    """Given targets, the last trials and the time (epoch seconds), return the targets of which not
    all was found good within a month, each with the kinds that were not.
    """
    good = {
        (one.folder, one.what)
        for one in trials
        # a trial that lies in the future is of a clock that was set: it counts for nothing
        if one.good and 0 <= now - one.at < EACH
    }
    found = [
        (one, tuple(what for what in KINDS if (folder_of(one), what) not in good))
        for one in targets
    ]
    return [(one, kinds) for one, kinds in found if kinds]


def compare(subject: str, snapshot: Sequence[Row], live: Sequence[Row], taken_at: int) -> Compared:
    """Given the rows of one subject in the snapshot and in the catalog now, and when the snapshot was
    taken (epoch seconds), return how they compare.
    """
    past, now = {one.key: one for one in snapshot}, {one.key: one for one in live}
    last = max((one.number for one in snapshot), default=0)
    lacking = [
        one.key
        for one in live
        # with a day's leave: what was written down may be dated earlier than it was written
        if one.key not in past
        and (one.number <= last or (one.at is not None and one.at < taken_at - DAY))
    ]
    differing = [key for key, one in past.items() if key in now and not _same(one, now[key])]
    rows = sorted(f"{one.key} {one.frozen} {one.final}" for one in snapshot)
    return Compared(
        subject,
        len(snapshot),
        hashlib.sha256("\n".join(rows).encode()).hexdigest(),
        tuple(lacking),
        tuple(key for key in past if key not in now),
        tuple(differing),
    )


def _same(past: Row, now: Row) -> bool:
    if past.frozen != now.frozen:
        return False
    return not past.final or past.version != now.version or past.final == now.final


def compare_all(
    snapshot: Mapping[str, Sequence[Row]], live: Mapping[str, Sequence[Row]], taken_at: int
) -> tuple[Compared, ...]:
    """Given the rows of snapshot and catalog by subject, return how each compares."""
    return tuple(compare(one, rows, live[one], taken_at) for one, rows in snapshot.items())


def decide(
    fetched: Fetched | None,
    recorded: str | None,
    opened: Sequence[Compared] | str | None,
    now: int,
) -> tuple[TrialState, str]:
    """Given what came back (None: nothing is there), the SHA-256 that was recorded when it was
    written (None: nothing was), what its inside says (how it compares; why it cannot be read; None:
    it is encrypted and nobody gave a key) and the time, return what that makes, and the words.
    """
    if fetched is None:
        return TrialState.MISSING, "there is none at that target"
    if recorded is not None and recorded != fetched.sha256:
        return (
            TrialState.ALTERED,
            f"SHA-256 {fetched.sha256[:16]} came back, {recorded[:16]} was written",
        )
    if isinstance(opened, str):
        return TrialState.UNREADABLE, _shown(opened, 1000)
    said = "; ".join(map(str, opened or ()))
    if opened is not None and not all(one.same for one in opened):
        # a clock that was ahead explains what it lacks, and nothing else
        ahead = now < fetched.taken_at
        if ahead and not any(one.strange or one.differing for one in opened):
            return TrialState.OLD, f"{_NOT_NOW}; {said}"
        return TrialState.DIFFERS, said
    if opened is None and recorded is None:
        return TrialState.UNKNOWN, "encrypted, and nothing says what was written"
    said = said or f"encrypted: as written, SHA-256 {fetched.sha256[:16]}; its inside was not seen"
    if not -DAY < now - fetched.taken_at <= TOO_OLD:
        return TrialState.OLD, f"{_NOT_NOW}; {said}"
    return TrialState.SEALED if opened is None else TrialState.COMPARED, said
