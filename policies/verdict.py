"""Decide what a restore test showed: how far the archive is proven, and the verdict (law 5).

Rungs are climbed one by one and none is skipped. Only a test in which nothing is missing,
unanswered or doubtful proves; a question that could not be asked is no answer, so it makes a test
inconclusive and never good.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies import settle
from policies.causes import Cause
from policies.check_kinds import asks_service
from policies.model import CheckResult, Outcome, Rung, Verdict

# begins the reason of a test that is one rung short for lack of a check
NO_SERVICE_CHECK = "no-service-check"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one restore test saw.

    Args:
        simulated: the guest was only modelled, so nothing about it proves anything.
        compressed_checksum: the archive's compression carries a checksum of the data (zst, gz,
        lzo); a plain .vma has none.
        verified_intact: our own one-pass verification: True, False, or None when the archive was
        not read.
        restored: PVE's restore task ended well.
        restore_error: what PVE said when it did not and the archive is to blame; None also when no
        restore was tried.
        cause: who is to blame for what went wrong before the copy ran, None if nothing did.
        isolation_ok: law 2 held and the copy was allowed to start.
        booted: a sign of life was seen (True), was looked for and not seen (False), or could not be
        looked for (None).
        checks: the last answer of every configured health check.
        settled: whether the copy lived on after its checks.
        wanted_rung: what the guest's tier asks for: healthy, or booted where a sign of life
        suffices.
        missing_disks: disks of the guest that the copy does not have, by key.
        wrong: what speaks against the archive itself: it was changed, or is another machine's.
        basis: what the word intact rests on, "" where nothing needs to be said.
        unread: why the archive's bytes were not read in this test, "" if they were.
        answers: why it is not certain that what answered over the network was the copy.
        warnings: what cut the test short or leaves a doubt. Not the warnings of a PVE task, which
        are no errors (pve-facts 2.2).
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
    settled: settle.Settled = settle.PASSED
    wanted_rung: Rung = Rung.HEALTHY
    missing_disks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    basis: str = ""
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, the highest rung reached, the sentences that say why it is not more, and who is
    to blame (None: nobody).
    """

    verdict: Verdict
    rung: Rung
    reasons: tuple[str, ...]
    cause: Cause | None = None


def decide(evidence: Evidence) -> Judgement:
    """Given what a restore test saw, return the verdict on the archive: proven when the wanted rung
    is reached cleanly.
    """
    if evidence.simulated:
        return Judgement(
            Verdict.SIMULATED, Rung.RECORDED, ("the guest is only simulated: this proves nothing",)
        )
    rung = _rung(evidence)
    if _clean(evidence) and rung.height >= Rung.BOOTED.height:
        # it booted and every check passed: whether that suffices depends on what was asked
        passed = f"{len(evidence.checks)} of {len(evidence.checks)} checks passed"
        beside = (*filter(None, (evidence.basis,)), *evidence.settled.said)
        if rung is Rung.HEALTHY:
            return Judgement(Verdict.PROVEN, rung, (f"restored, booted, {passed}", *beside))
        if evidence.wanted_rung is not Rung.HEALTHY:
            why = (
                f"restored, booted, {passed}; its service was not asked, and its tier wants no "
                "more than booted"
            )
            return Judgement(Verdict.PROVEN, rung, (why, *beside))
        names = ", ".join(check.name for check in evidence.checks)
        what = (
            f"only signs of life were asked for ({names})" if names else "no health check was asked"
        )
        why = (
            f"{NO_SERVICE_CHECK}: {what}, so it is booted at most: healthy needs a check of the "
            "service, such as http, ssh or ldap"
        )
        return Judgement(Verdict.INCONCLUSIVE, rung, (why,))
    failures, doubts = _failures_and_doubts(evidence)
    verdict = Verdict.FAILED if failures else Verdict.INCONCLUSIVE
    return Judgement(verdict, rung, failures + doubts, _cause(evidence, failed=bool(failures)))


def _cause(evidence: Evidence, *, failed: bool) -> Cause | None:
    """The first thing on the way up that went wrong, of those that the verdict rests on."""
    if evidence.missing_disks or evidence.wrong or evidence.verified_intact is False:
        return Cause.ARCHIVE
    if evidence.restore_error or not failed:
        # whether a question did not get through; that a guest has no agent is not the network's
        # fault
        unreached = any(
            check.outcome is Outcome.INCONCLUSIVE and check.kind != "agent"
            for check in evidence.checks
        )
        unanswered = Cause.NETWORK if evidence.answers or unreached else None
        return (
            evidence.cause
            or unanswered
            or (None if _settled(evidence, Outcome.PASSED) else evidence.settled.cause)
        )
    return Cause.BOOT if evidence.booted is False else Cause.SERVICE


def within_one_time(judgement: Judgement, jump: float, most: int) -> Judgement:
    """Given a verdict, the seconds by which the wall clock was set during the test, and those
    allowed, return what may be said.

    The stages are timed by a clock that never jumps, but what is dated by the wall clock is not:
    nothing is proven then.
    """
    if judgement.verdict is not Verdict.PROVEN or abs(jump) <= most:
        return judgement
    why = (
        f"this machine's clock was set by {jump:+.0f} s during the test, more than the {most} s "
        "allowed (max-clock-drift)"
    )
    return Judgement(Verdict.INCONCLUSIVE, judgement.rung, (why, *judgement.reasons), Cause.TIME)


def _rung(evidence: Evidence) -> Rung:
    # A restore reads all of the archive and misses no cluster, but without a checksum one flipped
    # bit restores with TASK OK (pve-facts 7.6).
    intact = evidence.verified_intact
    if intact is None:
        intact = evidence.restored and evidence.compressed_checksum
    climb = (
        (Rung.INTACT, intact and not evidence.wrong),
        (Rung.RESTORED, evidence.restored and not evidence.restore_error),
        (Rung.BOOTED, _alive(evidence) and evidence.isolation_ok and not evidence.missing_disks),
        (Rung.HEALTHY, _clean(evidence) and asks_service(check.kind for check in evidence.checks)),
    )
    reached = Rung.RECORDED
    for rung, holds in climb:
        if not holds:
            break
        reached = rung
    return reached


def _alive(evidence: Evidence) -> bool:
    """A passed check is a sign of life, where nothing else could look for one."""
    passed = any(check.outcome is Outcome.PASSED for check in evidence.checks)
    return evidence.booted if evidence.booted is not None else passed


def _clean(evidence: Evidence) -> bool:
    """Every check that there is passed, by the copy's own answers; it lived on after that, and
    nothing leaves a doubt.
    """
    return (
        _answered(evidence)
        and not evidence.answers
        and _settled(evidence, Outcome.PASSED)
        and not evidence.warnings
    )


def _answered(evidence: Evidence) -> bool:
    return all(check.outcome is Outcome.PASSED for check in evidence.checks)


def _failures_and_doubts(evidence: Evidence) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What speaks against the archive, and what the test could not decide."""
    started = evidence.restored and evidence.isolation_ok
    failures = [
        *evidence.wrong,
        *(f"disk {disk} is not in the archive" for disk in evidence.missing_disks),
    ]
    if evidence.verified_intact is False:
        failures.append("the archive is not intact")
    if evidence.restore_error:
        failures.append(f"the restore failed: {evidence.restore_error}")
    if started and evidence.booted is False:
        failures.append("the copy showed no sign of life in its time")
    failures += _said(evidence, Outcome.FAILED)
    found = [
        (not evidence.restored and not evidence.restore_error, "the archive was not restored"),
        (evidence.restored and not evidence.isolation_ok, "the copy was not started"),
        (
            started and evidence.booted is None and not _alive(evidence),
            "nothing could tell whether the copy boots",
        ),
        (started and not evidence.checks, "no health check was asked, so it is booted at most"),
        (
            evidence.restored
            and evidence.verified_intact is None
            and not evidence.compressed_checksum,
            "the archive has no checksum and was not verified, so it may hold flipped bits"
            + (f": {evidence.unread}" if evidence.unread else ""),
        ),
    ]
    doubts = [sentence for holds, sentence in found if holds]
    doubts += (*evidence.answers, *_said(evidence, Outcome.INCONCLUSIVE))
    if _settled(evidence, Outcome.FAILED):
        # who else answers may as well be what made a check fail
        (doubts if evidence.answers else failures).extend(evidence.settled.said)
    elif _settled(evidence, Outcome.INCONCLUSIVE) and started and _answered(evidence):
        doubts += evidence.settled.said or settle.NOT_WATCHED.said
    return tuple(failures), (*doubts, *evidence.warnings)


def _settled(evidence: Evidence, outcome: Outcome) -> bool:
    return evidence.settled.outcome is outcome


def _said(evidence: Evidence, outcome: Outcome) -> tuple[str, ...]:
    word = "failed" if outcome is Outcome.FAILED else "could not be asked"
    return tuple(
        f"check {check.name} {word}: {check.detail}"
        for check in evidence.checks
        if check.outcome is outcome
    )
