"""The gate: shut until all that it stands for is seen, and shut for what cannot be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import gate
from policies.compliance.facts import GuestFacts, SiteFacts
from policies.gate import Asked, AtWork, Gate, GuestGate
from policies.lineage import Identity
from policies.model import GuestType, Verdict
from tests.unit.report.langeo import (
    DAY,
    HOUR,
    NAMES,
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

MACHINE = Identity("uuid-108", 1_700_000_000)


def right() -> SiteFacts:
    """A site of which all is proven, each guest with a config that was read."""
    facts = put_right()
    return replace(facts, guests=tuple(replace(one, machine=Identity()) for one in facts.guests))


def of(facts: SiteFacts, vmid: int) -> GuestFacts:
    return next(one for one in facts.guests if one.vmid == vmid)


def asked(facts: SiteFacts, *working: AtWork, now: int = NOW, **wanted: Any) -> Gate:
    return gate.decide(facts, policy(), working, Asked(**wanted), now)


def only(
    facts: SiteFacts, *working: AtWork, now: int = NOW, within: int | None = None
) -> GuestGate:
    (found,) = asked(facts, *working, now=now, vmids=(108,), within=within).guests
    return found


def test_it_is_open_where_each_guest_was_proven_lately_and_nothing_is_at_work() -> None:
    found = asked(right())
    assert found.open and [one.vmid for one in found.guests] == list(NAMES)
    assert {(one.proven_ago, one.data) for one in found.guests} == {(10 * HOUR, 12 * HOUR)}
    assert not any(one.reasons or one.notes for one in found.guests)


def test_law_5_it_is_shut_on_what_was_never_proven_and_says_what_came_of_the_last_test() -> None:
    facts = replace(
        documented(),
        guests=tuple(replace(one, machine=Identity()) for one in documented().guests),
    )
    assert only(facts).reasons == ("no restore of it was ever tested",)
    tried = proof(108, NIGHTS[-1], verdict=Verdict.INCONCLUSIVE, reason="the probe was silent")
    assert only(changed(facts, 108, proofs=(tried,))).reasons == (
        "never proven; the latest restore test ended inconclusive: the probe was silent",
    )
    mute = replace(tried, reasons=())
    assert only(changed(facts, 108, proofs=(mute,))).reasons == (
        "never proven; the latest restore test ended inconclusive",
    )
    assert not asked(facts).open


def test_law_5_nothing_is_proven_on_a_simulated_cluster() -> None:
    assert only(replace(right(), simulated=True)).reasons == (
        "the cluster is simulated: nothing there proves anything",
    )


def test_a_proof_is_as_old_as_it_may_be_and_not_a_second_older() -> None:
    facts = right()
    assert only(facts, within=12 * HOUR).ok
    # twelve hours ago the backup was made that was proven two hours later
    assert only(facts, within=12 * HOUR - 1).reasons == (
        "what was proven is a backup of 12 h ago, older than 11 h 59 min",
    )
    assert only(facts, within=10 * HOUR - 1).reasons == (
        "last proven 10 h ago, more than 9 h 59 min",
    )
    tier = next(iter(policy().tiers.values()))
    assert only(facts, now=NOW + tier.proof_age + DAY).reasons[0].startswith("last proven")


def test_a_test_of_today_of_an_old_backup_is_no_way_back_to_today() -> None:
    old = proof(108, NIGHTS[0], ended=NOW - HOUR)
    found = only(changed(right(), 108, proofs=(old,)), within=2 * DAY)
    assert (found.proven_ago, found.data) == (HOUR, NOW - NIGHTS[0])
    assert found.reasons == ("what was proven is a backup of 2 d 12 h ago, older than 2 d",)


def test_of_several_proofs_the_youngest_data_that_was_proven_lately_counts() -> None:
    both = (proof(108, NIGHTS[0], ended=NOW - HOUR), proof(108, NIGHTS[2]))
    found = only(changed(right(), 108, proofs=both), within=2 * DAY)
    assert (found.ok, found.proven_ago, found.data) == (True, HOUR, 12 * HOUR)


def test_law_5_a_later_failure_of_a_backup_at_least_as_new_shuts_it() -> None:
    facts = right()
    bad = proof(108, NIGHTS[2], ended=NOW - HOUR, verdict=Verdict.FAILED, reason="no boot")
    good = proof(108, NIGHTS[1], ended=NOW - 2 * HOUR)
    found = only(changed(facts, 108, proofs=(good, bad)))
    assert found.reasons == ("a restore test of a backup at least as new failed since: no boot",)
    mute = replace(bad, reasons=())
    assert "no reason was recorded" in only(changed(facts, 108, proofs=(good, mute))).reasons[0]
    older = replace(bad, archive_ctime=NIGHTS[0])
    assert only(changed(facts, 108, proofs=(good, older))).ok


def test_what_was_proven_and_is_gone_or_out_of_reach_shuts_it() -> None:
    facts = right()
    assert only(changed(facts, 108, archives=())).reasons == (
        "what was proven of it is gone, out of reach, changed or has failed since",
    )
    beyond = changed(facts, 108, archives=(), unreachable=of(facts, 108).archives)
    assert only(beyond).reasons == (
        "its archives are out of reach: whether a proven one is among them is not known",
    )


def test_law_10_the_proofs_of_another_machine_under_its_vmid_open_nothing() -> None:
    facts = right()
    old = tuple(replace(one, uuid="uuid-of-before") for one in of(facts, 108).archives)
    found = only(changed(facts, 108, archives=old, machine=MACHINE))
    assert found.reasons == ("the archives under its VMID are of another machine",)
    assert found.proven_ago is None
    beyond = changed(facts, 108, archives=(), unreachable=old, machine=MACHINE)
    assert only(beyond).reasons == ("the archives under its VMID are of another machine",)
    mine = tuple(replace(one, uuid="uuid-108") for one in old)
    both = changed(facts, 108, archives=old[:2], unreachable=mine[2:], machine=MACHINE)
    assert "out of reach" in only(both).reasons[0]
    own = tuple(replace(one, uuid="uuid-108") for one in old)
    assert only(changed(facts, 108, archives=own, machine=MACHINE)).ok


def test_law_10_whose_config_cannot_be_read_may_be_anybody_but_a_containers_never_is() -> None:
    facts = changed(right(), 108, machine=None)
    assert only(facts).reasons == (
        "its configuration cannot be read, so whose the archives are is not known",
    )
    assert only(changed(facts, 108, guest=guest(108, type=GuestType.LXC))).ok


def test_law_4_a_guest_that_is_not_there_locked_or_on_a_node_that_is_down_shuts_it() -> None:
    facts = right()
    assert only(changed(facts, 108, guest=None)).reasons == ("the cluster does not list it",)
    assert only(changed(facts, 108, guest=guest(108, lock="backup"))).reasons == (
        "PVE holds it locked (backup)",
    )
    down = replace(facts, nodes=(replace(facts.nodes[0], online=False), facts.nodes[1]))
    assert "its node clovis is offline: what it does is not known" in only(down).reasons
    silent = replace(facts, silent={"clovis": "timed out"})
    assert "its node clovis is silent: what it does is not known" in only(silent).reasons


def test_a_proof_from_the_future_shuts_it() -> None:
    ahead = proof(108, NIGHTS[-1], ended=NOW + HOUR)
    found = only(changed(right(), 108, proofs=(ahead,)))
    assert found.reasons == ("its last proof is dated in the future: a clock is wrong",)
    assert found.proven_ago == 0


@pytest.mark.parametrize(("later", "ok"), [(0, True), (30, True), (31, False)])
def test_a_proof_and_its_data_may_be_ahead_by_as_much_as_clocks_may_differ(
    later: int, ok: bool
) -> None:
    assert policy().max_clock_drift == 30
    ahead = proof(108, NIGHTS[-1], ended=NOW + later)
    assert only(changed(right(), 108, proofs=(ahead,))).ok is ok
    of_then = (archive(108, NOW + later), archive(108, NOW + later, "lge-pve02"))
    young = proof(108, NOW + later, ended=NOW)
    found = only(changed(right(), 108, archives=of_then, proofs=(young,)))
    assert (found.ok, found.data) == (ok, 0)


def test_what_is_asked_by_node_are_the_guests_on_it_and_those_that_are_named() -> None:
    facts = changed(right(), 108, guest=guest(108, "lge-pve02"))
    facts = changed(facts, 100, guest=guest(100, template=True))
    by_node = asked(facts, nodes=("lge-pve02",))
    assert [one.vmid for one in by_node.guests] == [108] and by_node.open
    both = asked(facts, nodes=("lge-pve02",), vmids=(105, 108))
    assert [one.vmid for one in both.guests] == [105, 108]
    assert 100 not in {one.vmid for one in asked(facts).guests}
    (template,) = asked(facts, vmids=(100,)).guests
    assert template.reasons == ("it is a template, of which no restore is tested",)
    (template,) = asked(changed(facts, 100, machine=None), vmids=(100,)).guests
    assert template.reasons == ("it is a template, of which no restore is tested",)


def test_a_vmid_that_nobody_knows_and_a_node_without_guests_open_nothing() -> None:
    (unknown,) = asked(right(), vmids=(999,)).guests
    assert unknown.reasons == ("neither the cluster nor the policy knows a guest of that VMID",)
    (scratch,) = asked(right(), vmids=(policy().scratch.first,)).guests
    assert scratch.reasons == ("it is a scratch VMID: what is there is a copy, and no guest",)
    empty = asked(right(), nodes=("lge-pve02",))
    assert empty.guests == () and not empty.open


def test_whatever_works_on_a_guest_or_on_all_of_them_shuts_it_and_elsewhere_it_does_not() -> None:
    dump, prune = AtWork("backup 01A is at work", 108, "clovis"), AtWork("prune 01B is at work")
    elsewhere = AtWork("restore-test 01C is at work", 105, "lge-pve02")
    assert only(right(), dump, elsewhere).reasons == ("backup 01A is at work",)
    assert only(right(), prune).reasons == ("prune 01B is at work",)
    assert asked(right(), elsewhere, vmids=(108,)).at_work == ()
    assert asked(right(), elsewhere).at_work == (elsewhere,)


def test_a_copy_that_is_tested_on_the_node_that_is_asked_for_shuts_it() -> None:
    test = AtWork("restore-test 01C is at work", 105, "lge-pve02")
    facts = changed(right(), 108, guest=guest(108, "lge-pve02"))
    found = asked(facts, test, nodes=("lge-pve02",))
    assert (found.open, found.at_work, found.guests[0].ok) == (False, (test,), True)


def test_what_is_lost_with_the_guests_node_is_noted() -> None:
    alone = tuple(one for one in of(right(), 108).archives if one.node == "clovis")
    found = only(changed(right(), 108, archives=alone))
    assert found.ok
    assert found.notes == ("what was proven of it lies on clovis alone, where the guest is",)
    assert only(changed(right(), 108, archives=alone, guest=None)).notes == ()


@pytest.mark.parametrize(
    ("rights", "said"),
    [
        (None, "the token's rights could not be read"),
        ({"/": frozenset({"Sys.Audit"})}, "it lacks VM.Audit on /vms)"),
        (
            {"/vms": frozenset({"VM.Audit"}), "/vms/110": frozenset({"VM.Backup"})},
            "it lacks VM.Audit on /vms/110)",
        ),
    ],
)
def test_law_4_guests_that_the_token_may_not_see_shut_a_node_and_no_guest_that_is_named(
    rights: Mapping[str, frozenset[str]] | None, said: str
) -> None:
    facts = replace(right(), permissions=rights)
    both: list[dict[str, Any]] = [{}, {"nodes": ("clovis",)}]
    for wanted in both:
        found = asked(facts, **wanted)
        assert not found.open and [said in why for why in found.unseen] == [True]
    assert asked(facts, vmids=(108,)).open


@given(
    ended=st.integers(NOW - 9 * DAY, NOW + 9 * DAY),
    verdict=st.sampled_from(Verdict),
    night=st.sampled_from(NIGHTS),
    within=st.integers(1, 9 * DAY),
    gone=st.booleans(),
)
def test_law_5_it_is_never_open_without_a_proof_of_an_archive_that_is_there(
    ended: int, verdict: Verdict, night: int, within: int, gone: bool
) -> None:
    facts = changed(right(), 108, proofs=(proof(108, night, ended=ended, verdict=verdict),))
    if gone:
        facts = changed(facts, 108, archives=())
    found = asked(facts, vmids=(108,), within=within)
    assert found.open == (
        not gone
        and verdict is Verdict.PROVEN
        and -policy().max_clock_drift <= NOW - ended <= within
        and NOW - night <= within
    )


@pytest.mark.parametrize("wanted", [{}, {"nodes": ("clovis",)}, {"vmids": (108,)}])
def test_it_is_open_only_if_every_guest_is(wanted: dict[str, Any]) -> None:
    assert asked(right(), **wanted).open
    assert not asked(changed(right(), 108, proofs=()), **wanted).open


def test_a_proof_is_lately_enough_up_to_its_last_second() -> None:
    facts = right()
    ended = proof(108, NIGHTS[-1]).ended
    within = 2 * DAY
    assert only(facts, now=ended + within, within=within).reasons == (
        "what was proven is a backup of 2 d 2 h ago, older than 2 d",
    )
    late = only(facts, now=ended + within + 1, within=within).reasons
    assert late[0].startswith("last proven 2 d ago, more than 2 d")
    data_old = NIGHTS[-1] + within
    assert only(facts, now=data_old, within=within).ok
    assert not only(facts, now=data_old + 1, within=within).ok


def test_of_all_that_was_proven_lately_the_youngest_data_count_the_last_second_too() -> None:
    younger, older = proof(108, NIGHTS[-1]), proof(108, NIGHTS[0], ended=NOW - HOUR)
    facts = changed(right(), 108, proofs=(younger, older))
    within = NOW - younger.ended
    found = only(facts, within=within)
    assert (found.proven_ago, found.data) == (HOUR, NOW - NIGHTS[-1])
    # what was proven before that is not asked for what it proved
    assert only(facts, within=within - 1).data == NOW - NIGHTS[0]


def test_work_on_what_is_no_guest_keeps_the_whole_site_shut_and_no_single_guest() -> None:
    scratch = AtWork("restore-test 01TEST is at work", 9001, "lge-pve02")
    assert not asked(right(), scratch).open
    assert asked(right(), scratch, vmids=(108,)).open


def test_a_guest_that_is_expected_and_not_there_is_asked_for_with_the_whole_site() -> None:
    found = asked(changed(right(), 105, guest=None))
    (one,) = [one for one in found.guests if one.vmid == 105]
    assert "the cluster does not list it" in one.reasons and not found.open


def test_what_nobody_knows_has_no_name() -> None:
    (one,) = asked(right(), vmids=(4711,)).guests
    assert (one.name, one.node) == ("", None)


def test_what_is_only_out_of_reach_is_not_called_another_machines() -> None:
    away = (archive(108, NIGHTS[-1], "third"),)
    facts = changed(right(), 108, archives=(), unreachable=away, proofs=())
    assert only(facts).reasons == (
        "its archives are out of reach: whether a proven one is among them is not known",
    )


def test_it_notes_where_the_proven_backup_lies_and_not_where_others_do() -> None:
    held = (archive(108, NIGHTS[-1]), archive(108, NIGHTS[0], "lge-pve02"))
    facts = changed(right(), 108, archives=held)
    assert only(facts).notes == ("what was proven of it lies on clovis alone, where the guest is",)
