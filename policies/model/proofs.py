"""What a restore test finds: checks, the rung that was reached, the verdict, and the proof of all
that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rung(StrEnum):
    """How far an archive has been proven. A rung is reached only through all below it (law 5)."""

    RECORDED = "recorded"
    INTACT = "intact"
    RESTORED = "restored"
    BOOTED = "booted"
    HEALTHY = "healthy"
    CURRENT = "current"

    @property
    def height(self) -> int:
        """Position from 0 (recorded) to 5 (current)."""
        return list(Rung).index(self)


class Verdict(StrEnum):
    """The outcome of a restore test. Only PROVEN moves the date of last proof (law 5)."""

    PROVEN = "proven"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"
    SIMULATED = "simulated"


class Outcome(StrEnum):
    """The outcome of one health check: INCONCLUSIVE means that the question could not be asked."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One health check's answer; ``seconds`` is how long the good or last attempt took."""

    name: str
    outcome: Outcome
    detail: str
    seconds: float = 0.0
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """One measured stage of an operation."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Proof:
    """What one restore test found. ``rto`` is seconds from the start of the restore to the first
    good check, or None.

    ``stripped`` and ``asserted`` are the isolation evidence (law 2), one sentence each; ``reasons``
    explain the verdict, and ``cause`` is who is to blame for it (a policies.causes.Cause), None if
    nobody is.
    """

    operation: str
    vmid: int
    volid: str
    node: str
    archive_ctime: int
    verdict: Verdict
    rung: Rung
    started: int
    ended: int
    rto: float | None = None
    stages: tuple[Stage, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    stripped: tuple[str, ...] = ()
    asserted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    scratch_vmid: int | None = None
    scratch_node: str | None = None
    cause: str | None = None
