"""Law 5: proof has rungs and none is skipped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.causes import Cause
from policies.check_kinds import CHECK_KINDS, Level, level_of
from policies.model import CheckResult, Outcome, Rung, Verdict
from policies.settle import NOT_DUE, NOT_WATCHED, Settled
from policies.settle import PASSED as LIVED_ON
from policies.verdict import NO_SERVICE_CHECK, Evidence, Judgement, decide

PASSED = CheckResult("web", Outcome.PASSED, "200 OK", kind="http")
ALIVE = CheckResult("agent", Outcome.PASSED, "it answers", kind="agent")
OPEN = CheckResult("tcp 22", Outcome.PASSED, "it accepts", kind="tcp")
FAILED = CheckResult("web", Outcome.FAILED, "500 Internal Server Error")
UNASKED = CheckResult("agent", Outcome.INCONCLUSIVE, "no agent is configured", kind="agent")
GREEN = Evidence(
    compressed_checksum=True, restored=True, isolation_ok=True, booted=True, checks=(PASSED,)
)


DIED = Settled(Outcome.FAILED, ("the copy went off",), Cause.SERVICE)
SILENT = Settled(Outcome.INCONCLUSIVE, ("PVE could not tell",), Cause.PLATFORM)


def judged(**changes: Any) -> Judgement:
    return decide(replace(GREEN, **changes))


def test_law_5_all_green_is_proven_and_healthy() -> None:
    assert decide(GREEN) == Judgement(
        Verdict.PROVEN, Rung.HEALTHY, ("restored, booted, 1 of 1 checks passed",)
    )


@pytest.mark.parametrize(
    ("changes", "verdict", "rung", "reason"),
    [
        ({"simulated": True}, Verdict.SIMULATED, Rung.RECORDED, "proves nothing"),
        ({"verified_intact": False}, Verdict.FAILED, Rung.RECORDED, "not intact"),
        (
            {"restored": False, "restore_error": "exit code 133"},
            Verdict.FAILED,
            Rung.RECORDED,
            "exit code 133",
        ),
        (
            {"restored": False, "restore_error": "no space", "verified_intact": True},
            Verdict.FAILED,
            Rung.INTACT,
            "no space",
        ),
        (
            {"restored": False, "isolation_ok": False, "booted": None, "checks": ()},
            Verdict.INCONCLUSIVE,
            Rung.RECORDED,
            "not restored",
        ),
        (
            {"missing_disks": ("scsi1",)},
            Verdict.FAILED,
            Rung.RESTORED,
            "disk scsi1 is not in the archive",
        ),
        (
            {"isolation_ok": False, "booted": None, "checks": ()},
            Verdict.INCONCLUSIVE,
            Rung.RESTORED,
            "not started",
        ),
        ({"booted": False, "checks": ()}, Verdict.FAILED, Rung.RESTORED, "no sign of life"),
        ({"booted": None, "checks": ()}, Verdict.INCONCLUSIVE, Rung.RESTORED, "nothing could tell"),
        (
            {"booted": None, "checks": (UNASKED,)},
            Verdict.INCONCLUSIVE,
            Rung.RESTORED,
            "check agent could not be asked: no agent",
        ),
        (
            {"checks": ()},
            Verdict.INCONCLUSIVE,
            Rung.BOOTED,
            "no health check was asked, so it is booted at most",
        ),
        (
            {"checks": (ALIVE,)},
            Verdict.INCONCLUSIVE,
            Rung.BOOTED,
            "no-service-check: only signs of life were asked for (agent)",
        ),
        ({"checks": (ALIVE, OPEN)}, Verdict.INCONCLUSIVE, Rung.BOOTED, "(agent, tcp 22)"),
        ({"checks": (ALIVE, PASSED)}, Verdict.PROVEN, Rung.HEALTHY, "2 of 2"),
        ({"checks": (ALIVE, FAILED)}, Verdict.FAILED, Rung.BOOTED, "check web failed: 500"),
        ({"checks": (FAILED,)}, Verdict.FAILED, Rung.BOOTED, "check web failed: 500"),
        ({"checks": (UNASKED,)}, Verdict.INCONCLUSIVE, Rung.BOOTED, "could not be asked"),
        ({"checks": (PASSED, UNASKED)}, Verdict.INCONCLUSIVE, Rung.BOOTED, "could not be asked"),
        ({"checks": (UNASKED, FAILED)}, Verdict.FAILED, Rung.BOOTED, "check web failed"),
        ({"compressed_checksum": False}, Verdict.INCONCLUSIVE, Rung.RECORDED, "flipped bits"),
        ({"settled": DIED}, Verdict.FAILED, Rung.BOOTED, "the copy went off"),
        ({"settled": SILENT}, Verdict.INCONCLUSIVE, Rung.BOOTED, "PVE could not tell"),
        (
            {"settled": NOT_WATCHED},
            Verdict.INCONCLUSIVE,
            Rung.BOOTED,
            "not watched after its checks",
        ),
        ({"settled": NOT_DUE}, Verdict.INCONCLUSIVE, Rung.BOOTED, "not watched after its checks"),
        (
            {"settled": NOT_WATCHED, "checks": (FAILED,)},
            Verdict.FAILED,
            Rung.BOOTED,
            "check web failed",
        ),
        ({"warnings": ("cancelled",)}, Verdict.INCONCLUSIVE, Rung.BOOTED, "cancelled"),
    ],
)
def test_law_5_each_thing_short_of_green_has_its_verdict_its_rung_and_its_reason(
    changes: dict[str, Any], verdict: Verdict, rung: Rung, reason: str
) -> None:
    found = judged(**changes)
    assert (found.verdict, found.rung) == (verdict, rung)
    assert any(reason in sentence for sentence in found.reasons)


def test_who_is_to_blame_for_a_copy_that_did_not_live_on() -> None:
    assert judged(settled=DIED).cause is Cause.SERVICE
    assert judged(settled=SILENT).cause is Cause.PLATFORM
    assert judged(settled=NOT_WATCHED).cause is Cause.OURS
    assert (
        judged(settled=NOT_WATCHED, cause=Cause.PLATFORM, warnings=("cancelled",)).cause
        is Cause.PLATFORM
    )
    assert judged(settled=NOT_DUE, checks=(replace(UNASKED, kind="http"),)).cause is Cause.NETWORK


def test_law_5_no_archive_is_blamed_for_a_failure_while_somebody_else_may_have_answered() -> None:
    found = judged(settled=DIED, answers=("somebody else answers at 10.0.0.8",))
    assert (found.verdict, found.cause) == (Verdict.INCONCLUSIVE, Cause.NETWORK)
    assert found.reasons == ("somebody else answers at 10.0.0.8", *DIED.said)


def test_what_a_copy_showed_while_it_lived_on_stands_in_the_verdict() -> None:
    assert judged(
        settled=Settled(Outcome.PASSED, ("it lived on for 30 s", "not seen: its boot"))
    ).reasons[1:] == (
        "it lived on for 30 s",
        "not seen: its boot",
    )


def test_law_5_a_plain_archive_that_we_verified_ourselves_can_be_proven() -> None:
    assert judged(compressed_checksum=False, verified_intact=True).verdict is Verdict.PROVEN


def test_law_5_a_passed_check_is_a_sign_of_life_where_nothing_else_could_look() -> None:
    assert judged(booted=None).verdict is Verdict.PROVEN


def test_for_lack_of_a_check_of_the_service_nobody_is_to_blame() -> None:
    for checks in ((), (ALIVE,), (OPEN, ALIVE)):
        found = judged(checks=checks)
        assert (
            found.cause is None
            and found.reasons[0].startswith(NO_SERVICE_CHECK)
            and len(found.reasons) == 1
        )


def test_a_question_that_did_not_get_through_is_the_networks_fault_and_a_missing_agent_is_nobodys() -> (
    None
):
    unreached = replace(UNASKED, name="ssh 22", kind="ssh")
    assert judged(checks=(PASSED, unreached)).cause is Cause.NETWORK
    assert judged(checks=(PASSED, UNASKED)).cause is None


def test_a_tier_that_wants_no_more_is_proven_by_a_sign_of_life_and_the_rung_says_so() -> None:
    for checks in ((), (ALIVE,), (OPEN, ALIVE)):
        found = judged(checks=checks, wanted_rung=Rung.BOOTED)
        assert (found.verdict, found.rung, found.cause) == (Verdict.PROVEN, Rung.BOOTED, None)
        assert "its service was not asked" in found.reasons[0]
    assert judged(wanted_rung=Rung.BOOTED) == decide(GREEN), (
        "a check of the service that passed shows more, wanted or not"
    )


def test_a_tier_that_wants_no_more_than_booted_is_not_proven_by_less_nor_despite_a_bad_answer() -> (
    None
):
    low = {"wanted_rung": Rung.BOOTED}
    assert judged(checks=(ALIVE, FAILED), **low).verdict is Verdict.FAILED
    assert judged(checks=(ALIVE, UNASKED), **low).verdict is Verdict.INCONCLUSIVE
    assert judged(checks=(ALIVE,), warnings=("cancelled",), **low).verdict is Verdict.INCONCLUSIVE
    assert judged(checks=(), booted=None, **low).verdict is Verdict.INCONCLUSIVE
    assert judged(checks=(), booted=False, **low).verdict is Verdict.FAILED
    assert judged(checks=(ALIVE,), missing_disks=("scsi1",), **low).verdict is Verdict.FAILED


OUTCOMES = st.builds(
    CheckResult,
    name=st.just("c"),
    outcome=st.sampled_from(Outcome),
    detail=st.just("d"),
    kind=st.sampled_from([*CHECK_KINDS, "of another version", ""]),
)
EVIDENCE = st.builds(
    Evidence,
    simulated=st.booleans(),
    compressed_checksum=st.booleans(),
    verified_intact=st.sampled_from([True, False, None]),
    restored=st.booleans(),
    restore_error=st.sampled_from([None, "error"]),
    isolation_ok=st.booleans(),
    booted=st.sampled_from([True, False, None]),
    checks=st.lists(OUTCOMES, max_size=3).map(tuple),
    settled=st.sampled_from([LIVED_ON, DIED, SILENT, NOT_DUE, NOT_WATCHED]),
    wanted_rung=st.sampled_from([Rung.BOOTED, Rung.HEALTHY]),
    missing_disks=st.sampled_from([(), ("scsi1",)]),
    warnings=st.sampled_from([(), ("w",)]),
)


@given(EVIDENCE)
def test_law_5_nothing_but_all_green_evidence_proves(evidence: Evidence) -> None:
    green = (
        not evidence.simulated
        and evidence.verified_intact is not False
        and (evidence.verified_intact or evidence.compressed_checksum)
        and evidence.restored
        and evidence.restore_error is None
        and evidence.isolation_ok
        and (evidence.booted or (evidence.booted is None and bool(evidence.checks)))
        and (
            evidence.wanted_rung is Rung.BOOTED
            or any(level_of(check.kind) is Level.SERVICE for check in evidence.checks)
        )
        and all(check.outcome is Outcome.PASSED for check in evidence.checks)
        and evidence.settled is LIVED_ON
        and not evidence.missing_disks
        and not evidence.warnings
    )
    assert (decide(evidence).verdict is Verdict.PROVEN) == bool(green)


@given(EVIDENCE)
def test_law_5_proven_and_the_rung_healthy_come_only_together_and_every_verdict_has_a_reason(
    evidence: Evidence,
) -> None:
    found = decide(evidence)
    if found.rung is Rung.HEALTHY or evidence.wanted_rung is Rung.HEALTHY:
        assert (found.verdict is Verdict.PROVEN) == (found.rung is Rung.HEALTHY)
    assert found.verdict is not Verdict.PROVEN or found.rung.height >= Rung.BOOTED.height
    assert found.reasons and all(found.reasons)


BETTER: dict[str, Any] = {
    "restored": True,
    "restore_error": None,
    "isolation_ok": True,
    "booted": True,
    "verified_intact": True,
    "compressed_checksum": True,
    "settled": LIVED_ON,
    "missing_disks": (),
    "warnings": (),
    "simulated": False,
}


@given(EVIDENCE, st.sampled_from(sorted(BETTER)))
def test_law_5_better_evidence_never_lowers_the_rung(evidence: Evidence, field: str) -> None:
    improved = replace(evidence, **{field: BETTER[field]})
    assert decide(improved).rung.height >= decide(evidence).rung.height


def test_law_5_an_answer_that_may_be_anothers_proves_nothing_and_costs_nothing() -> None:
    found = judged(answers=("it is not known that 10.0.0.8 was silent before",))
    assert (found.verdict, found.rung, found.cause) == (
        Verdict.INCONCLUSIVE,
        Rung.BOOTED,
        Cause.NETWORK,
    )
    assert found.reasons == ("it is not known that 10.0.0.8 was silent before",)
    assert judged(answers=("doubt",), missing_disks=("scsi1",)).cause is Cause.ARCHIVE
