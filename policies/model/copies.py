"""What is known of copies of archives at the targets of the policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class CopyRoute:
    """Which archive is copied where. ``node`` is the archive's own, "" where it lies on a shared
    storage.

    ``folder`` names the target's folder, ``place`` what would be lost together with a copy there:
    the node that has it, or the target.
    """

    target: str
    folder: str
    place: str
    node: str
    volid: str
    vmid: int | None

    @property
    def archive(self) -> tuple[str, str]:
        """Which archive it is a copy of, as ``whole.key`` tells archives apart."""
        return self.node, self.volid


@dataclass(frozen=True, slots=True)
class ArchiveCopy:
    """A copy of an archive that was read back at its target, and is what was sent there.

    ``verified_at`` in epoch seconds, by the operation ``operation``; ``how`` says how it was read
    back. ``size`` and ``sha256`` are those of the archive, also where what lies there is encrypted:
    then ``recipients`` says to whom, ``segments`` which files hold it (``policies.segments``), and
    ``rung`` what was known of the archive when it left. ``checked_at`` (epoch seconds) is when it was
    last read anew there, None: never since it was verified; ``damaged`` what was found wrong with
    it then, "" if it is as it was verified.
    """

    route: CopyRoute
    file: str
    size: int
    sha256: str
    verified_at: int
    how: str
    operation: str
    recipients: tuple[str, ...] = ()
    segments: str = ""
    rung: str = ""
    checked_at: int | None = None
    damaged: str = ""

    @property
    def encrypted(self) -> bool:
        """Whether it must be decrypted before anybody can use it."""
        return bool(self.recipients)


@dataclass(frozen=True, slots=True)
class DamagedCopy:
    """A copy that was found damaged and is to be made anew: its file, or what its segments were
    (``policies.segments``), as an ArchiveCopy has them; ``damaged`` says what is wrong with it.
    """

    file: str
    segments: str
    damaged: str


@dataclass(frozen=True, slots=True)
class Canary:
    """That the service tried, at ``at`` (epoch seconds), to harm a file of its own at an immutable
    target, with the credentials that it copies with.

    ``overwritten`` and ``deleted`` say whether it could; ``said`` are the target's own words.
    """

    target: str
    folder: str
    at: int
    overwritten: bool
    deleted: bool
    said: str

    @property
    def held(self) -> bool:
        """Whether the target kept what it was given."""
        return not self.overwritten and not self.deleted


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """That an encrypted copy was brought back from its target at ``at`` (epoch seconds), decrypted
    with a key that a person gave, and found to be the archive, whole.

    ``key`` is the fingerprint of that key's recipient; ``seconds`` is how long all of it took.
    """

    target: str
    folder: str
    at: int
    vmid: int | None
    volid: str
    file: str
    size: int
    sha256: str
    key: str
    seconds: float


class TrialState(StrEnum):
    """What came of bringing a snapshot of the catalog back.

    COMPARED: it was opened and is what the catalog was then. SEALED: it is encrypted to people's
    keys alone, and is to the byte what was written. All others are bad: DIFFERS from the catalog,
    UNREADABLE, ALTERED since it was written, OLD, MISSING, UNKNOWN (encrypted, and nothing says what
    was written).
    """

    COMPARED = "compared"
    SEALED = "sealed"
    DIFFERS = "differs"
    UNREADABLE = "unreadable"
    ALTERED = "altered"
    OLD = "old"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SnapshotPut:
    """That a snapshot of the catalog, or a bundle with one, was brought to a target's folder at
    ``at`` (epoch seconds) and read back there.
    """

    folder: str
    file: str
    at: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SnapshotTrial:
    """That the newest snapshot at a target was brought back at ``at`` (epoch seconds), and what came
    of it.

    ``what`` is ``catalog`` (a snapshot alone) or ``bundle`` (one in a break-glass bundle), ``file``
    its name ("" if there is none), ``taken_at`` when it was taken by that, ``sha256`` that of its
    bytes as they came back. ``said``: what was compared, or what is wrong, for the evidence.
    """

    target: str
    folder: str
    at: int
    what: str
    file: str
    taken_at: int | None
    size: int
    sha256: str
    state: TrialState
    said: str
    seconds: float

    @property
    def good(self) -> bool:
        """Whether it could be used on the worst day, as far as this service can tell."""
        return self.state in (TrialState.COMPARED, TrialState.SEALED)
