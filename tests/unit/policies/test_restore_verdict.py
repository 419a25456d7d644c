"""How a guest fares that was brought back: never called proven, never good for want of an answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import settle
from policies.model import CheckResult, GuestPolicy, Outcome, Rung
from policies.restore_verdict import (
    IN_WORDS,
    MAX_UNSURE,
    Evidence,
    Health,
    Judgement,
    decide,
    is_well,
    pending,
)

WEB = CheckResult("http", Outcome.PASSED, "answers 200", 0.1, "http")
AGENT = CheckResult("agent", Outcome.PASSED, "answers", 0.1, "agent")
BAD, UNSURE = (replace(WEB, outcome=one) for one in (Outcome.FAILED, Outcome.INCONCLUSIVE))
GOOD = Evidence((WEB, AGENT), settled=settle.PASSED)
DIED = settle.Settled(Outcome.FAILED, ("the copy stopped",))
WANTED = GuestPolicy(108, "", "t", boot_timeout=600, check_timeout=300)


def test_all_checks_passed_and_it_lived_on_is_running_and_no_more() -> None:
    found = decide(GOOD)
    assert found.health is Health.RUNNING and found.reasons == ("2 of 2 checks passed",)
    assert "proven" not in IN_WORDS.values() and set(IN_WORDS) == set(Health)


@pytest.mark.parametrize("health", Health)
def test_only_what_failed_or_is_not_known_speaks_against_a_guest(health: Health) -> None:
    bad = health in (Health.FAILED, Health.INCONCLUSIVE)
    assert is_well(Judgement(health, ())) is not bad and is_well(None)


@pytest.mark.parametrize(
    ("evidence", "health", "said"),
    [
        (Evidence(), Health.INCONCLUSIVE, "started, nothing asked"),
        (replace(GOOD, simulated=True), Health.SIMULATED, "only simulated"),
        (replace(GOOD, checks=(BAD, AGENT)), Health.FAILED, "check http failed: answers 200"),
        (replace(GOOD, checks=(UNSURE, AGENT)), Health.INCONCLUSIVE, "check http could not be"),
        (replace(GOOD, checks=(UNSURE,)), Health.INCONCLUSIVE, "started, nothing asked"),
        (replace(GOOD, settled=DIED), Health.FAILED, "the guest stopped"),
        (
            replace(GOOD, settled=settle.NOT_WATCHED),
            Health.INCONCLUSIVE,
            "the guest was not watched",
        ),
        (replace(GOOD, checks=(AGENT,)), Health.INCONCLUSIVE, "only signs of life"),
        (replace(GOOD, missing_disks=("scsi1",)), Health.INCONCLUSIVE, "disk scsi1 is not in"),
        (replace(GOOD, doubts=("lge is back",)), Health.INCONCLUSIVE, "lge is back"),
        (replace(GOOD, unseen=True), Health.RUNNING, "no MAC tells who answers now"),
        (
            replace(GOOD, checks=(AGENT,), wanted_rung=Rung.BOOTED),
            Health.RUNNING,
            "its service was not asked",
        ),
        (
            replace(GOOD, checks=(AGENT,), wanted_rung=Rung.BOOTED, doubts=("lge is back",)),
            Health.RUNNING,
            "1 of 1 checks passed",  # the agent is its own, whoever came back
        ),
    ],
)
def test_what_is_bad_or_not_known_is_never_good(
    evidence: Evidence, health: Health, said: str
) -> None:
    found = decide(evidence)
    assert found.health is health and any(said in one for one in found.reasons), found
    assert not any("the copy" in one for one in found.reasons)


@given(
    st.lists(st.sampled_from([WEB, AGENT, BAD, UNSURE]), max_size=4),
    st.sampled_from([settle.PASSED, DIED, settle.NOT_WATCHED, settle.NOT_DUE]),
    st.sampled_from([(), ("scsi1",)]),
)
def test_running_needs_every_check_passed_and_watched_and_all_disks(
    checks: list[CheckResult], settled: settle.Settled, missing: tuple[str, ...]
) -> None:
    found = decide(Evidence(tuple(checks), settled=settled, missing_disks=missing))
    if found.health is Health.RUNNING:
        assert checks and all(one.outcome is Outcome.PASSED for one in checks)
        assert settled is settle.PASSED and not missing
    assert found.reasons


def again(
    *checks: CheckResult, unsure: int = 0, passed: float = 0.0, alive: float | None = None
) -> CheckResult | None:
    answers = {one.name: one for one in checks}
    return pending(answers, {"http": unsure}, WANTED, passed=passed, alive=alive)


def test_a_bad_answer_is_asked_again_within_the_boot_and_then_the_check_timeout() -> None:
    assert again(WEB, AGENT) is None and again() is None
    assert again(BAD, passed=600.0) is BAD and again(BAD, passed=600.1) is None
    assert again(BAD, passed=320.0, alive=20.0) is BAD
    assert again(BAD, passed=320.1, alive=20.0) is None


def test_what_cannot_be_put_is_put_a_few_times_and_what_got_no_answer_yet_until_its_time_is_up() -> (
    None
):
    assert again(UNSURE, unsure=MAX_UNSURE - 1) is UNSURE
    assert again(UNSURE, unsure=MAX_UNSURE) is None
    assert again(UNSURE, passed=599.0) is UNSURE
