"""Objectives at their edges, and what is said where: just enough is met, and each sentence stands
only where it is true.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.compliance.facts import Gap, SiteFacts
from policies.compliance.objectives import GuestAssessment, Objective, Status, assess, worst
from policies.model import Proof, Rung, Verdict
from tests.unit.report.langeo import (
    DAY,
    HOUR,
    NIGHTS,
    NOW,
    archive,
    changed,
    policy,
    proof,
    put_right,
)

SLACK = policy().max_clock_drift
BLIND = (Gap("listing", "local (clovis)", "403"),)
ELSEWHERE = "lge-pve02"


def of(facts: SiteFacts, **policy_changes: object) -> GuestAssessment:
    return next(item for item in assess(facts, policy(**policy_changes), NOW) if item.vmid == 108)


def seen(name: str, facts: SiteFacts) -> Objective:
    return next(found for found in of(facts).objectives if found.name == name)


def proven_at(start: int) -> SiteFacts:
    """The only backup began then, and was proven an hour ago."""
    return changed(
        put_right(),
        108,
        archives=(archive(108, start),),
        proofs=(proof(108, start, ended=NOW - HOUR),),
    )


@pytest.mark.parametrize(
    ("name", "facts", "status"),
    [
        ("rpo", proven_at(NOW - 36 * HOUR), Status.MET),
        ("rpo", proven_at(NOW - 36 * HOUR - 1), Status.BREACHED),
        ("rpo", proven_at(NOW + SLACK), Status.MET),
        ("rpo", proven_at(NOW + SLACK + 1), Status.UNKNOWN),
        ("rto", changed(put_right(), 108, proofs=(proof(108, NIGHTS[-1], rto=900.0),)), Status.MET),
        (
            "rto",
            changed(put_right(), 108, proofs=(proof(108, NIGHTS[-1], rto=900.5),)),
            Status.BREACHED,
        ),
        (
            "proof",
            changed(put_right(), 108, proofs=(proof(108, NIGHTS[-1], ended=NOW - 2 * DAY),)),
            Status.MET,
        ),
        (
            "proof",
            changed(put_right(), 108, proofs=(proof(108, NIGHTS[-1], ended=NOW - 2 * DAY - 1),)),
            Status.BREACHED,
        ),
        ("depth", changed(put_right(), 108, archives=(archive(108, NOW - 2 * DAY),)), Status.MET),
        (
            "depth",
            changed(put_right(), 108, archives=(archive(108, NOW - 2 * DAY + 1),)),
            Status.BREACHED,
        ),
    ],
)
def test_what_is_just_enough_is_met_and_a_second_more_is_not(
    name: str, facts: SiteFacts, status: Status
) -> None:
    assert seen(name, facts).status is status


def test_what_is_dated_a_little_ahead_is_of_now() -> None:
    item = of(proven_at(NOW + SLACK))
    assert (item.rpo, item.rpo_recorded, item.depth) == (0, 0, 0)


TRUNCATED = changed(
    put_right(), 108, archives=(archive(108, NIGHTS[0]),), proofs=(proof(108, NIGHTS[-1]),)
)


@pytest.mark.parametrize(
    ("name", "facts", "status", "says"),
    [
        (
            "rpo",
            changed(put_right(), 108, proofs=()),
            Status.UNKNOWN,
            "no backup of this guest is proven",
        ),
        ("rpo", TRUNCATED, Status.BREACHED, "the archive that was proven is no longer there"),
        ("rpo", replace(TRUNCATED, gaps=BLIND), Status.UNKNOWN, "not every storage could be read"),
        ("rpo", put_right(), Status.MET, "the last proven backup began 12 h ago"),
        ("rto", changed(put_right(), 108, proofs=()), Status.UNKNOWN, "never measured"),
        (
            "rto",
            TRUNCATED,
            Status.UNKNOWN,
            "the archive whose restore was measured is no longer there",
        ),
        ("proof", changed(put_right(), 108, proofs=()), Status.UNKNOWN, "never proven"),
        ("proof", TRUNCATED, Status.BREACHED, "prove one that is"),
        ("proof", replace(TRUNCATED, gaps=BLIND), Status.UNKNOWN, "prove one that is"),
        ("copies", changed(put_right(), 108, archives=()), Status.BREACHED, "there is no archive"),
        (
            "copies",
            replace(changed(put_right(), 108, archives=()), gaps=BLIND),
            Status.UNKNOWN,
            "0 place(s) seen of 2 wanted",
        ),
        ("copies", put_right(), Status.MET, "in 2 place(s): clovis"),
        (
            "depth",
            replace(changed(put_right(), 108, archives=()), gaps=BLIND),
            Status.UNKNOWN,
            "0 days of history seen",
        ),
        ("depth", put_right(), Status.MET, "the history goes back 2 days"),
        ("depth", replace(put_right(), gaps=BLIND), Status.MET, "the history goes back 2 days"),
        ("copies", replace(put_right(), gaps=BLIND), Status.MET, "in 2 place(s)"),
    ],
)
def test_each_sentence_stands_where_it_is_true(
    name: str, facts: SiteFacts, status: Status, says: str
) -> None:
    found = seen(name, facts)
    assert found.status is status and says in found.reason
    assert (found.measured is None) == (
        status is Status.UNKNOWN or "no longer there" in found.reason
    )


@pytest.mark.parametrize(
    ("kind", "blind"), [("listing", True), ("node", True), ("storages", True), ("agent", False)]
)
def test_only_a_storage_that_was_not_read_makes_copies_unknown(kind: str, blind: bool) -> None:
    facts = replace(changed(put_right(), 108, archives=()), gaps=(Gap(kind, "x", "y"),))
    assert (seen("copies", facts).status is Status.UNKNOWN) is blind


def failed(night: int, ended: int, *reasons: str, node: str = "clovis") -> Proof:
    return replace(
        proof(108, night, ended=ended, verdict=Verdict.FAILED), reasons=reasons, node=node
    )


GOOD = proof(108, NIGHTS[1], ended=NOW - 9 * HOUR)


@pytest.mark.parametrize(
    ("tests", "status", "says"),
    [
        (
            (failed(NIGHTS[2], NOW - HOUR, "it hangs"),),
            Status.BREACHED,
            "failed after the last proof: it hangs",
        ),
        (
            (failed(NIGHTS[1], NOW - HOUR, "it hangs", node=ELSEWHERE),),
            Status.BREACHED,
            "failed after the last proof: it hangs",
        ),
        ((failed(NIGHTS[0], NOW - HOUR, "it hangs"),), Status.MET, "proven 9 h ago"),
        ((failed(NIGHTS[2], NOW - 9 * HOUR, "it hangs"),), Status.MET, "proven 9 h ago"),
        (
            (failed(NIGHTS[2], NOW - 2 * HOUR, "first"), failed(NIGHTS[2], NOW - HOUR, "then")),
            Status.BREACHED,
            "proof: then",
        ),
        ((failed(NIGHTS[2], NOW - HOUR),), Status.BREACHED, "proof: no reason was recorded"),
    ],
)
def test_a_later_failure_of_a_backup_at_least_as_new_is_held_against_the_proof_with_its_reason(
    tests: tuple[Proof, ...], status: Status, says: str
) -> None:
    found = seen("proof", changed(put_right(), 108, proofs=(GOOD, *tests)))
    assert found.status is status and says in found.reason and found.measured == 9 * HOUR


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (Verdict.FAILED, Status.BREACHED),
        (Verdict.INCONCLUSIVE, Status.UNKNOWN),
        (Verdict.SIMULATED, Status.UNKNOWN),
    ],
)
def test_a_guest_that_was_never_proven_shows_what_its_latest_test_came_to(
    verdict: Verdict, status: Status
) -> None:
    bare = replace(proof(108, NIGHTS[-1], verdict=verdict), reasons=())
    found = seen("proof", changed(put_right(), 108, proofs=(bare,)))
    assert found.status is status and found.reason.endswith(": no reason was recorded")
    told = seen(
        "proof", changed(put_right(), 108, proofs=(replace(bare, reasons=("why", "more")),))
    )
    assert told.reason.endswith(": why")


def test_a_proof_that_failed_since_says_why() -> None:
    withdrawn = (proof(108, NIGHTS[-1]), failed(NIGHTS[-1], NOW - HOUR, "it is corrupt"))
    found = seen(
        "proof", changed(put_right(), 108, archives=(archive(108, NIGHTS[-1]),), proofs=withdrawn)
    )
    assert (
        found.status is Status.BREACHED
        and found.measured is None
        and found.reason.endswith("it is corrupt")
    )


def test_a_later_proof_that_is_healthy_is_not_said_to_be_booted_only() -> None:
    tiers = {name: replace(tier, proof_rung=Rung.BOOTED) for name, tier in policy().tiers.items()}
    low = replace(proof(108, NIGHTS[-1]), rung=Rung.BOOTED)
    both = changed(put_right(), 108, proofs=(low, proof(108, NIGHTS[1], ended=NOW - HOUR)))
    reason = next(
        found.reason for found in of(both, tiers=tiers).objectives if found.name == "proof"
    )
    assert "as far as booting" not in reason
    edge = changed(put_right(), 108, proofs=(replace(low, ended=NOW - 2 * DAY),))
    reason = next(
        found.reason for found in of(edge, tiers=tiers).objectives if found.name == "proof"
    )
    assert "as far as booting" in reason


def test_the_facts_beside_the_objectives_are_the_latest_of_each_kind() -> None:
    later, skipped = (
        proof(108, NIGHTS[0], ended=NOW - HOUR, rto=99.0),
        proof(108, NIGHTS[2], ended=NOW, verdict=Verdict.SKIPPED),
    )
    item = of(changed(put_right(), 108, proofs=(proof(108, NIGHTS[2]), later, skipped)))
    assert item.last_good == later == item.last_test
    assert (item.last_proven, item.last_backup, item.rto, item.proof_age) == (
        NIGHTS[2],
        NIGHTS[2],
        99.0,
        HOUR,
    )
    assert (item.archives, item.copies, item.depth) == (6, 2, 2)


def test_a_restore_that_was_not_measured_is_no_measure() -> None:
    tests = (proof(108, NIGHTS[1], rto=50.0), proof(108, NIGHTS[2], ended=NOW - HOUR, rto=None))
    assert of(changed(put_right(), 108, proofs=tests)).rto == 50.0


def test_of_two_recent_backups_the_better_held_one_counts_with_its_places() -> None:
    older = (archive(108, NIGHTS[1]), archive(108, NIGHTS[1], ELSEWHERE))
    found = seen("copies", changed(put_right(), 108, archives=(*older, archive(108, NIGHTS[2]))))
    assert found.measured == 2 and "clovis" in found.reason and ELSEWHERE in found.reason


def test_an_absent_guest_has_an_objective_more_than_others() -> None:
    (presence,) = [
        found
        for found in of(changed(put_right(), 108, guest=None)).objectives
        if found.name == "presence"
    ]
    assert (presence.objective, presence.measured, presence.status) == (1, 0, Status.BREACHED)
    assert "presence" not in {found.name for found in of(put_right()).objectives}


def test_the_worst_of_all_is_a_breach_and_what_is_unknown_is_worse_than_what_is_met() -> None:
    assert worst([Status.MET, Status.UNKNOWN, Status.BREACHED]) is Status.BREACHED
    assert worst([Status.MET, Status.UNKNOWN]) is Status.UNKNOWN
    assert worst([Status.MET]) is worst([]) is Status.MET
    assert [status.value for status in Status] == ["met", "breached", "unknown"]
