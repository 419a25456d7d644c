"""Objectives against measures: only what is proven counts, and what is not known is not met."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.compliance.facts import Gap, GuestFacts, SiteFacts
from policies.compliance.objectives import GuestAssessment, Objective, Status, assess
from policies.model import Proof, Tier, Verdict
from tests.unit.report.langeo import (
    DAY,
    HOUR,
    NIGHTS,
    NOW,
    archive,
    changed,
    documented,
    guest,
    policy,
    proof,
    put_right,
)


def of(facts: SiteFacts, vmid: int = 108, **policy_changes: object) -> GuestAssessment:
    return next(item for item in assess(facts, policy(**policy_changes), NOW) if item.vmid == vmid)


def objective(item: GuestAssessment, name: str) -> Objective:
    return next(found for found in item.objectives if found.name == name)


def test_a_site_put_right_meets_every_objective() -> None:
    assert {item.status for item in assess(put_right(), policy(), NOW)} == {Status.MET}


def test_the_rpo_counts_from_the_start_of_the_last_proven_backup_not_from_its_proof_nor_from_the_last_archive() -> (
    None
):
    item = of(changed(put_right(), 108, proofs=(proof(108, NIGHTS[0], ended=NOW - 60),)))
    assert item.rpo == NOW - NIGHTS[0]
    assert item.rpo_recorded == NOW - NIGHTS[-1]
    assert item.last_proven == NIGHTS[0]
    assert objective(item, "rpo").status is Status.BREACHED


def test_the_newest_proven_backup_counts_even_if_an_older_one_was_tested_later() -> None:
    item = of(
        changed(
            put_right(), 108, proofs=(proof(108, NIGHTS[-1]), proof(108, NIGHTS[0], ended=NOW - 60))
        )
    )
    assert item.rpo == NOW - NIGHTS[-1]
    assert item.proof_age == 60


@pytest.mark.parametrize(
    "verdict", [Verdict.SIMULATED, Verdict.INCONCLUSIVE, Verdict.SKIPPED, Verdict.FAILED]
)
def test_law_5_no_other_verdict_moves_rpo_rto_or_the_date_of_proof(verdict: Verdict) -> None:
    old = proof(108, NIGHTS[0])
    newer = replace(proof(108, NIGHTS[-1], verdict=verdict), rto=1.0)
    item, alone = (
        of(changed(put_right(), 108, proofs=(old, newer))),
        of(changed(put_right(), 108, proofs=(newer,))),
    )
    assert (item.rpo, item.rto, item.proof_age) == (NOW - NIGHTS[0], old.rto, NOW - old.ended)
    assert (alone.rpo, alone.rto, alone.proof_age) == (None, None, None)
    assert alone.status is not Status.MET


def test_law_5_on_a_simulated_cluster_nothing_is_met_that_needs_a_proof() -> None:
    item = of(replace(put_right(), simulated=True))
    assert {objective(item, name).status for name in ("rpo", "rto", "proof")} == {Status.UNKNOWN}


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.sampled_from(list(Verdict)), st.sampled_from(NIGHTS), st.integers(1, 9 * DAY)),
        max_size=6,
    )
)
def test_law_5_without_a_proven_verdict_no_history_of_tests_is_ever_green(
    history: list[tuple[Verdict, int, int]],
) -> None:
    tests = tuple(
        proof(108, night, ended=NOW - ago, verdict=verdict) for verdict, night, ago in history
    )
    item = of(changed(put_right(), 108, proofs=tests))
    if not any(verdict is Verdict.PROVEN for verdict, _, _ in history):
        assert item.status is not Status.MET and item.rpo is None


def test_a_failure_of_a_backup_as_new_takes_the_proof_away_and_one_of_an_older_backup_does_not() -> (
    None
):
    good = proof(108, NIGHTS[1])
    same = proof(108, NIGHTS[1], ended=NOW - 60, verdict=Verdict.FAILED, reason="http answered 500")
    older = proof(108, NIGHTS[0], ended=NOW - 60, verdict=Verdict.FAILED)
    broken = objective(of(changed(put_right(), 108, proofs=(good, same))), "proof")
    assert broken.status is Status.BREACHED and "http answered 500" in broken.reason
    assert (
        objective(of(changed(put_right(), 108, proofs=(good, older))), "proof").status is Status.MET
    )


def test_a_guest_that_only_ever_failed_is_breached_with_the_reason_and_one_never_tested_is_unknown() -> (
    None
):
    failed = proof(108, NIGHTS[-1], verdict=Verdict.FAILED, reason="no sign of life")
    tried = objective(of(changed(put_right(), 108, proofs=(failed,))), "proof")
    assert tried.status is Status.BREACHED and "no sign of life" in tried.reason
    assert objective(of(changed(put_right(), 108, proofs=())), "proof").status is Status.UNKNOWN


def test_a_proof_grows_too_old() -> None:
    item = of(changed(put_right(), 108, proofs=(proof(108, NIGHTS[-1], ended=NOW - 3 * DAY),)))
    assert objective(item, "proof").status is Status.BREACHED


def test_a_restore_slower_than_its_objective_breaches_the_rto() -> None:
    item = of(changed(put_right(), 108, proofs=(proof(108, NIGHTS[-1], rto=901.0),)))
    assert objective(item, "rto").status is Status.BREACHED and item.rto == 901.0


def test_a_proof_whose_archive_is_gone_protects_nobody() -> None:
    facts = changed(
        put_right(),
        108,
        archives=(archive(108, NIGHTS[-1]), archive(108, NIGHTS[-1], "lge-pve02")),
        proofs=(proof(108, NIGHTS[0]),),
    )
    assert objective(of(facts), "rpo").status is Status.BREACHED
    blind = replace(facts, gaps=(Gap("listing", "local (clovis)", "403"),))
    assert objective(of(blind), "rpo").status is Status.UNKNOWN


def test_an_archive_from_the_future_makes_the_rpo_unknown_but_a_second_of_drift_does_not() -> None:
    for ahead, status in ((2 * HOUR, Status.UNKNOWN), (5, Status.MET)):
        start = NOW + ahead
        facts = changed(
            put_right(),
            108,
            archives=(archive(108, start),),
            proofs=(proof(108, start, ended=NOW),),
        )
        assert objective(of(facts), "rpo").status is status


def test_copies_count_places_of_one_backup_and_a_night_elsewhere_is_no_copy() -> None:
    alternating = (
        archive(108, NIGHTS[0]),
        archive(108, NIGHTS[1], "lge-pve02"),
        archive(108, NIGHTS[2]),
    )
    assert of(changed(put_right(), 108, archives=alternating)).copies == 1
    under_way = (
        archive(108, NIGHTS[1]),
        archive(108, NIGHTS[1], "lge-pve02"),
        archive(108, NIGHTS[2]),
    )
    assert of(changed(put_right(), 108, archives=under_way)).copies == 2
    stale = (
        archive(108, NIGHTS[0]),
        archive(108, NIGHTS[0], "lge-pve02"),
        archive(108, NIGHTS[1]),
        archive(108, NIGHTS[2]),
    )
    assert (
        objective(of(changed(put_right(), 108, archives=stale)), "copies").status is Status.BREACHED
    )


def test_copies_and_history_are_unknown_when_a_storage_could_not_be_read() -> None:
    facts = replace(
        changed(put_right(), 108, archives=(archive(108, NIGHTS[-1]),)),
        gaps=(Gap("node", "lge-pve02", "offline"),),
    )
    item = of(facts)
    assert (
        objective(item, "copies").status is Status.UNKNOWN
        and objective(item, "depth").status is Status.UNKNOWN
    )


def test_a_history_shorter_than_wanted_is_a_breach_and_a_tier_without_depth_asks_for_none() -> None:
    short = changed(
        put_right(),
        108,
        archives=tuple(archive(108, NIGHTS[-1], node) for node in ("clovis", "lge-pve02")),
    )
    assert objective(of(short), "depth").status is Status.BREACHED
    assert "depth" not in {item.name for item in of(put_right(), 101).objectives}


def test_law_4_an_absent_guest_is_breached_whatever_its_archives_are_worth() -> None:
    item = of(changed(put_right(), 105, guest=None), 105)
    assert item.status is Status.BREACHED and item.node is None
    assert objective(item, "presence").status is Status.BREACHED


def test_a_guest_without_anything_is_breached_or_unknown_in_every_objective() -> None:
    item = of(changed(put_right(), 108, archives=(), proofs=()))
    assert Status.MET not in {found.status for found in item.objectives}
    assert (item.archives, item.copies, item.depth, item.last_backup) == (0, 0, 0, None)


def test_a_guest_that_the_policy_does_not_name_has_the_default_tier() -> None:
    facts = replace(put_right(), guests=(GuestFacts(120, "new", guest(120)),))
    assert of(facts, 120).tier == "standard"
    strict = {"standard": Tier("standard", 1, 1, 1)}
    assert objective(of(facts, 120, tiers=strict), "rpo").objective == 1


def test_templates_and_scratch_copies_have_no_objectives() -> None:
    extra = (GuestFacts(130, "t", guest(130, template=True)), GuestFacts(9000, "copy", guest(9000)))
    assert assess(replace(put_right(), guests=extra), policy(), NOW) == ()


def test_reasons_are_in_the_policys_language() -> None:
    french = next(
        item for item in assess(documented(), policy(language="fr"), NOW) if item.vmid == 108
    )
    assert "aucune sauvegarde de cet invité n'est prouvée" in objective(french, "rpo").reason


def test_a_proof_below_healthy_is_none_even_if_a_record_calls_it_proven() -> None:
    from policies.model import Rung

    record: Proof = replace(proof(108, NIGHTS[-1]), rung=Rung.BOOTED)
    assert of(changed(put_right(), 108, proofs=(record,))).rpo is None


def test_a_proof_at_booted_counts_where_the_tier_wants_no_more_and_says_so() -> None:
    from policies.model import Rung

    tiers = {name: replace(tier, proof_rung=Rung.BOOTED) for name, tier in policy().tiers.items()}
    facts = changed(put_right(), 105, proofs=(replace(proof(105, NIGHTS[-1]), rung=Rung.BOOTED),))
    item = next(item for item in assess(facts, policy(tiers=tiers), NOW) if item.vmid == 105)
    assert item.status is Status.MET and item.last_good and item.last_good.rung is Rung.BOOTED
    assert "as far as booting" in objective(item, "proof").reason
    late = next(
        item for item in assess(facts, policy(tiers=tiers), NOW + 30 * 86400) if item.vmid == 105
    )
    assert objective(late, "proof").status is Status.BREACHED


BLIND = (Gap("listing", "local (clovis)", "403"),)


def test_what_could_not_be_listed_takes_no_proof_away_and_is_no_excuse_where_nothing_was_ever_proven() -> (
    None
):
    assert set(statuses(replace(put_right(), gaps=BLIND)).values()) == {Status.MET}
    never = changed(put_right(), 108, proofs=())
    assert objective(of(replace(never, gaps=BLIND)), "rpo") == objective(of(never), "rpo")


def test_what_is_proven_this_very_second_is_no_second_old() -> None:
    facts = changed(
        put_right(), 108, archives=(archive(108, NOW),), proofs=(proof(108, NOW, ended=NOW),)
    )
    item = of(facts)
    assert (item.rpo, item.rpo_recorded, item.proof_age, item.depth) == (0, 0, 0, 0)
    assert [objective(item, name).measured for name in ("rpo", "proof", "depth")] == [0, 0, 0]


def test_no_archive_is_no_copy_and_a_day_of_history_may_be_asked_for() -> None:
    assert objective(of(changed(put_right(), 108, archives=())), "copies").measured == 0
    tiers = {name: replace(tier, depth=1) for name, tier in policy().tiers.items()}
    assert objective(of(put_right(), tiers=tiers), "depth").objective == 1


def test_of_two_proofs_the_later_test_says_what_failed_since() -> None:
    old, new = proof(108, NIGHTS[0], ended=NOW - 600), proof(108, NIGHTS[-1], ended=NOW - 60)
    between = proof(108, NIGHTS[-2], ended=NOW - 300, verdict=Verdict.FAILED)
    assert (
        objective(of(changed(put_right(), 108, proofs=(old, between, new))), "proof").status
        is Status.MET
    )


def statuses(facts: SiteFacts) -> dict[str, Status]:
    item = of(facts)
    return {name: objective(item, name).status for name in ("rpo", "rto", "proof")}


def test_law_5_a_proof_ends_with_the_bytes_it_was_of() -> None:
    """An archive that was truncated after its proof: the catalog forgot that proof when it saw the
    new size.
    """
    facts = put_right()
    guest_facts = next(item for item in facts.guests if item.vmid == 108)
    truncated = tuple(
        replace(one, size=one.size // 2, proven_at=None) for one in guest_facts.archives
    )
    after = replace(
        facts,
        guests=tuple(
            replace(item, archives=truncated) if item.vmid == 108 else item for item in facts.guests
        ),
    )
    assert set(statuses(facts).values()) == {Status.MET}
    assert Status.MET not in statuses(after).values()
    assert of(after).last_proven is None


def test_law_5_a_later_failure_withdraws_a_proof_from_every_objective_whatever_was_proven_after_it() -> (
    None
):
    newest, failed = (
        proof(108, NIGHTS[-1]),
        proof(108, NIGHTS[-1], ended=NOW - 120, verdict=Verdict.FAILED),
    )
    older = proof(108, NIGHTS[0], ended=NOW - 60, rto=99.0)
    item = of(changed(put_right(), 108, proofs=(newest, failed, older)))
    assert (item.rpo, item.rto, item.last_proven) == (NOW - NIGHTS[0], 99.0, NIGHTS[0])
    assert objective(item, "rpo").status is Status.BREACHED


def test_law_5_a_proof_of_an_archive_on_one_node_says_nothing_of_the_file_with_that_name_on_another() -> (
    None
):
    elsewhere = replace(archive(108, NIGHTS[-1], "lge-pve02"), proven_at=NOW - 60)
    assert Status.MET not in statuses(changed(put_right(), 108, archives=(elsewhere,))).values()


def test_on_a_shared_storage_a_proof_counts_from_whichever_node_it_was_restored() -> None:
    shared = replace(archive(108, NIGHTS[-1], "lge-pve02", shared=True), proven_at=NOW - 60)
    assert set(statuses(changed(put_right(), 108, archives=(shared,))).values()) == {Status.MET}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Verdict)),
            st.sampled_from(NIGHTS),
            st.sampled_from(["clovis", "lge-pve02"]),
            st.integers(1, 9),
        ),
        max_size=7,
    )
)
def test_law_5_only_an_archive_that_the_catalog_still_calls_proven_meets_anything(
    history: list[tuple[Verdict, int, str, int]],
) -> None:
    tests = tuple(
        replace(proof(108, night, ended=NOW - hours * HOUR, verdict=verdict), node=node)
        for verdict, night, node, hours in history
    )
    facts = changed(put_right(), 108, proofs=tests)
    archives = next(item for item in facts.guests if item.vmid == 108).archives
    if not any(one.proven_at for one in archives):
        assert Status.MET not in statuses(facts).values()
