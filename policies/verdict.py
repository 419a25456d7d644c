"""Law 5, decided: what a restore test showed -> how far the archive is proven, and the verdict.

Rungs are climbed one by one and none is skipped. Only a test in which nothing is missing, unanswered or doubtful proves; a
question that could not be asked is no answer, so it makes a test inconclusive and never good.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.causes import Cause
from policies.model import CheckResult, Outcome, Rung, Verdict


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one restore test saw.

    Args:
        simulated: the guest was only modelled, so nothing about it proves anything.
        compressed_checksum: the archive's compression carries a checksum of the data (zst, gz, lzo); a plain .vma has none.
        verified_intact: our own one-pass verification: True, False, or None when the archive was not read.
        restored: PVE's restore task ended well.
        restore_error: what PVE said when it did not and the archive is to blame; None also when no restore was tried.
        cause: who is to blame for what went wrong before the copy ran, None if nothing did.
        isolation_ok: law 2 held and the copy was allowed to start.
        booted: a sign of life was seen (True), was looked for and not seen (False), or could not be looked for (None).
        checks: the last answer of every configured health check.
        missing_disks: disks of the guest that the copy does not have, by key.
        answers: why it is not certain that what answered over the network was the copy.
        warnings: what cut the test short or leaves a doubt. Not the warnings of a PVE task, which are no errors (FIELD D9).
    """

    simulated: bool = False
    compressed_checksum: bool = False
    verified_intact: bool | None = None
    restored: bool = False
    restore_error: str | None = None
    cause: Cause | None = None
    isolation_ok: bool = False
    booted: bool | None = None
    checks: tuple[CheckResult, ...] = ()
    missing_disks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, the highest rung reached, the sentences that say why it is not more, and who is to blame (None: nobody)."""

    verdict: Verdict
    rung: Rung
    reasons: tuple[str, ...]
    cause: Cause | None = None


def decide(evidence: Evidence) -> Judgement:
    """Given what a restore test saw, return the verdict on the archive: proven exactly when the rung healthy is reached."""
    if evidence.simulated:
        return Judgement(Verdict.SIMULATED, Rung.RECORDED, ("the guest is only simulated: this proves nothing",))
    rung = _rung(evidence)
    if rung is Rung.HEALTHY:
        return Judgement(
            Verdict.PROVEN, rung, (f"restored, booted, {len(evidence.checks)} of {len(evidence.checks)} checks passed",)
        )
    failures, doubts = _failures(evidence), _doubts(evidence)
    verdict = Verdict.FAILED if failures else Verdict.INCONCLUSIVE
    return Judgement(verdict, rung, failures + doubts, _cause(evidence, failed=bool(failures)))


def _cause(evidence: Evidence, *, failed: bool) -> Cause | None:
    """The first thing on the way up that went wrong, of those that the verdict rests on."""
    if failed and (evidence.missing_disks or evidence.verified_intact is False):
        return Cause.ARCHIVE
    if evidence.restore_error or not failed:
        unsure = evidence.answers or _said(evidence, Outcome.INCONCLUSIVE)
        return evidence.cause or (Cause.NETWORK if unsure else None)
    return Cause.BOOT if evidence.booted is False else Cause.SERVICE


def within_one_time(judgement: Judgement, jump: float, most: int) -> Judgement:
    """Given a verdict, the seconds by which the wall clock was set during the test, and those allowed, return what may be said.

    The stages are timed by a clock that never jumps, but what is dated by the wall clock is not: nothing is proven then.
    """
    if judgement.verdict is not Verdict.PROVEN or abs(jump) <= most:
        return judgement
    why = f"this machine's clock was set by {jump:+.0f} s during the test, more than the {most} s allowed (max-clock-drift)"
    return Judgement(Verdict.INCONCLUSIVE, judgement.rung, (why, *judgement.reasons), Cause.TIME)


def _rung(evidence: Evidence) -> Rung:
    climb = (
        (Rung.INTACT, _intact(evidence)),
        (Rung.RESTORED, evidence.restored and not evidence.restore_error),
        (Rung.BOOTED, _alive(evidence) and evidence.isolation_ok and not evidence.missing_disks),
        (Rung.HEALTHY, _healthy(evidence) and not evidence.answers and not evidence.warnings),
    )
    reached = Rung.RECORDED
    for rung, holds in climb:
        if not holds:
            break
        reached = rung
    return reached


def _intact(evidence: Evidence) -> bool:
    """Read by us, or restored by PVE from an archive with a checksum: a restore reads all of it and misses no cluster.

    Without a checksum one flipped bit restores with TASK OK (OBSERVED 20).
    """
    if evidence.verified_intact is not None:
        return evidence.verified_intact
    return evidence.restored and evidence.compressed_checksum


def _alive(evidence: Evidence) -> bool:
    """A passed check is a sign of life, where nothing else could look for one."""
    passed = any(check.outcome is Outcome.PASSED for check in evidence.checks)
    return evidence.booted if evidence.booted is not None else passed


def _healthy(evidence: Evidence) -> bool:
    return bool(evidence.checks) and all(check.outcome is Outcome.PASSED for check in evidence.checks)


def _failures(evidence: Evidence) -> tuple[str, ...]:
    """What speaks against the archive."""
    found = [f"disk {disk} is not in the archive" for disk in evidence.missing_disks]
    if evidence.verified_intact is False:
        found.append("the archive is not intact")
    if evidence.restore_error:
        found.append(f"the restore failed: {evidence.restore_error}")
    if evidence.restored and evidence.isolation_ok and evidence.booted is False:
        found.append("the copy showed no sign of life in its time")
    return (*found, *_said(evidence, Outcome.FAILED))


def _doubts(evidence: Evidence) -> tuple[str, ...]:
    """What the test could not decide."""
    started = evidence.restored and evidence.isolation_ok
    found = [
        (not evidence.restored and not evidence.restore_error, "the archive was not restored"),
        (evidence.restored and not evidence.isolation_ok, "the copy was not started"),
        (started and evidence.booted is None and not _alive(evidence), "nothing could tell whether the copy boots"),
        (started and not evidence.checks, "no health check was asked, so it is booted at most"),
        (
            evidence.restored and _unread(evidence),
            "the archive has no checksum and was not verified, so it may hold flipped bits",
        ),
    ]
    said = (*evidence.answers, *_said(evidence, Outcome.INCONCLUSIVE))
    return (*(sentence for holds, sentence in found if holds), *said, *evidence.warnings)


def _unread(evidence: Evidence) -> bool:
    return evidence.verified_intact is None and not evidence.compressed_checksum


def _said(evidence: Evidence, outcome: Outcome) -> tuple[str, ...]:
    word = "failed" if outcome is Outcome.FAILED else "could not be asked"
    return tuple(f"check {check.name} {word}: {check.detail}" for check in evidence.checks if check.outcome is outcome)
