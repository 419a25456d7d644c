"""What could be brought back tonight: nothing that is not seen counts, and the order is that of the
tiers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.compliance.facts import Gap
from policies.model import Node, Rehearsal, Verdict
from policies.what_if.decide import critical_tiers
from policies.what_if.loss import Loss
from policies.what_if.sources import Kind
from tests.unit.policies.what_if.sites import (
    CLOVIS,
    NEEDS,
    asked,
    disk,
    of,
    replica,
    site,
    with_guests,
)
from tests.unit.policies.what_if.test_sources import OUTSIDE, copy
from tests.unit.report.langeo import (
    DAY,
    GIB,
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
)


def test_with_copies_on_the_other_node_everything_comes_back_in_the_order_of_the_tiers() -> None:
    found = asked(site())
    assert found.well and [one.vmid for one in found.guests][:2] == [108, 100]
    assert len(found.guests) == len(NAMES)
    one = of(found)
    assert (one.recoverable, one.target, one.age, one.rto) == (True, "lge-pve02", 12 * HOUR, 41.5)
    assert one.notes == ("proven 10 h ago",) and one.reasons == ()
    assert found.serial == found.parallel == 41.5 * len(NAMES) and not found.unmeasured


def test_as_the_document_has_it_everything_is_lost_with_its_node() -> None:
    found = asked(documented())
    assert not found.well and not any(one.recoverable for one in found.guests)
    assert of(found).reasons == (
        "all of its archives are lost with it, and there is no copy elsewhere",
    )
    assert (found.serial, found.parallel, found.unmeasured) == (0, 0, ())


def test_it_says_why_nothing_is_left() -> None:
    bare = changed(documented(), 108, archives=())
    assert of(asked(bare)).reasons == ("it has no archive at all",)
    away = changed(bare, 108, unreachable=(replace(archive(108, NIGHTS[-1]), size=0),))
    assert "out of reach" in of(asked(away)).reasons[0]


def test_what_is_not_proven_says_so_and_a_test_that_never_was_measures_nothing() -> None:
    facts = changed(site(), 108, proofs=())
    one = of(asked(facts))
    assert one.notes == ("never proven",) and one.rto is None
    assert asked(facts).unmeasured == (108,)


def test_only_a_good_test_measures() -> None:
    failed = proof(108, NIGHTS[-1], verdict=Verdict.FAILED, ended=NOW)
    facts = changed(site(), 108, proofs=(proof(108, NIGHTS[-1]), replace(failed, rto=1.0)))
    assert of(asked(facts)).rto == 41.5


def test_a_replica_starts_without_a_restore_and_loses_what_came_since_it_was_sent() -> None:
    one = of(asked(site(), replicas=[replica("lge-pve02", NOW - 60)]))
    assert one.source and one.source.kind is Kind.REPLICA
    assert (one.age, one.rto) == (60, 29.5)  # the restore took 12 s of it


def test_a_replica_from_the_future_is_not_younger_than_now() -> None:
    assert of(asked(site(), replicas=[replica("lge-pve02", NOW + 60)])).age == 0


def test_a_copy_is_as_slow_as_the_last_one_that_was_brought_back() -> None:
    facts = site()
    mine = archive(108, NIGHTS[-1])
    gone = changed(facts, 108, archives=(mine,), copies=(copy(mine),))
    one = of(asked(gone, copies=(OUTSIDE,)))
    assert one.source and one.source.kind is Kind.COPY and one.rto is None
    last = Rehearsal("vault", "f", NOW, 108, mine.volid, "file", GIB // 2, "ab", "key", 30.0)
    old = replace(last, at=NOW - DAY, seconds=900.0)
    told = replace(gone, rehearsals=(old, last, replace(last, target="usb", at=NOW + 1)))
    assert of(asked(told, copies=(OUTSIDE,))).rto == 101.5
    nothing = replace(gone, rehearsals=(replace(last, size=0), replace(last, seconds=0.0)))
    assert of(asked(nothing, copies=(OUTSIDE,))).rto is None


def test_a_source_that_no_node_can_take_is_passed_over_for_one_that_can() -> None:
    facts = site()
    third = Node("third", True, 64 * GIB, 32 * GIB)
    full = Node("lge-pve02", True, 32 * GIB, 32 * GIB)
    moved = tuple(replace(one, node="third") for one in facts.storages if one.node == "clovis")
    bridges = tuple(replace(one, node="third") for one in facts.bridges or ())
    older = archive(108, NIGHTS[0], "third")
    newest = archive(108, NIGHTS[-1], "lge-pve02")
    changed_site = replace(
        changed(facts, 108, archives=(older, newest), proofs=()),
        nodes=(facts.nodes[0], full, third),
        storages=(*facts.storages, *moved),
        bridges=(*(facts.bridges or ()), *bridges),
    )
    one = of(asked(changed_site))
    assert (one.target, one.recoverable, one.age) == ("third", True, NOW - NIGHTS[0])
    assert "archive at lge-pve02 was passed over: lge-pve02 has 0 B of memory" in one.reasons[0]
    # what is not known is better than what cannot be
    mute = replace(changed_site, nodes=(facts.nodes[0], full, Node("third", True)))
    one = of(asked(mute))
    assert (one.target, one.recoverable) == ("third", None)
    none = replace(changed_site, nodes=(facts.nodes[0], full))
    one = of(asked(none))
    assert (one.target, one.recoverable) == ("lge-pve02", False) and not asked(none).well


def test_the_urgent_come_first_where_not_all_find_room() -> None:
    facts = site()
    tight = replace(facts, nodes=(facts.nodes[0], Node("lge-pve02", True, 64 * GIB, 60 * GIB)))
    found = asked(tight)
    assert [one.vmid for one in found.guests if one.recoverable] == [108, 100]
    assert found.well and found.serial == 83.0


def test_within_a_tier_the_start_order_decides() -> None:
    facts = changed(site(), 105, needs=replace(NEEDS, order=1))
    facts = changed(facts, 110, needs=replace(NEEDS, order=0))
    assert [one.vmid for one in asked(facts).guests][:4] == [108, 110, 105, 100]


def test_nodes_work_side_by_side_and_each_takes_one_after_the_other() -> None:
    facts = site()
    third = Node("third", True, 64 * GIB, 24 * GIB)
    spread = replace(
        facts,
        nodes=(*facts.nodes, third),
        storages=(
            *facts.storages,
            *(replace(one, node="third") for one in facts.storages if one.node == "clovis"),
        ),
        bridges=(
            *(facts.bridges or ()),
            *(replace(one, node="third") for one in facts.bridges or ()),
        ),
    )
    for vmid in list(NAMES)[:5]:
        spread = changed(spread, vmid, archives=(archive(vmid, NIGHTS[-1], "third"),), proofs=())
    for vmid in list(NAMES)[:5]:
        spread = changed(spread, vmid, proofs=(replace(proof(vmid, NIGHTS[-1]), node="elsewhere"),))
    found = asked(spread)
    assert found.serial == 41.5 * 11 and found.parallel == 41.5 * 6


def test_a_lost_storage_takes_the_guests_whose_disks_lie_there() -> None:
    lost = Loss(storages=frozenset({"local-lvm"}))
    facts = changed(site(), 105, needs=replace(NEEDS, disks=(disk("nas:1", GIB),)))
    found = asked(facts, lost)
    assert 105 not in {one.vmid for one in found.guests} and len(found.guests) == len(NAMES) - 1
    assert found.quorum.quorate is True
    unknown = changed(facts, 108, needs=None)
    told = asked(unknown, lost)
    assert 108 not in {one.vmid for one in told.guests} and not told.well
    assert told.hidden == ("whether disks of guest 108 lie on what is lost is not known",)
    template = changed(facts, 108, needs=None, guest=guest(108, template=True))
    assert asked(template, lost).hidden == ()
    assert asked(unknown, CLOVIS).hidden == ()
    assert asked(changed(facts, 104, needs=None), lost).hidden == (), "it is not that urgent"


def test_a_guest_that_lives_on_without_any_backup_is_named() -> None:
    facts = changed(documented(), 105, guest=guest(105, "lge-pve02"))
    facts = changed(facts, 104, guest=guest(104, "lge-pve02"), archives=())
    assert asked(facts).exposed == (105,)
    away = changed(facts, 105, unreachable=(archive(105, NIGHTS[0], "third"),))
    assert asked(away).exposed == ()
    copied = changed(facts, 105, copies=(copy(archive(105, NIGHTS[-1])),))
    assert asked(copied, copies=(OUTSIDE,)).exposed == ()


def test_a_guest_that_is_not_there_is_not_lost_with_anything() -> None:
    found = asked(changed(site(), 105, guest=None))
    assert 105 not in {one.vmid for one in found.guests}


def test_after_the_whole_site_only_what_lies_outside_is_left() -> None:
    facts = site()
    assert not asked(facts, Loss(site=True)).well
    for vmid in NAMES:
        mine = archive(vmid, NIGHTS[-1])
        facts = changed(facts, vmid, copies=(copy(mine),))
    found = asked(facts, Loss(site=True), copies=(OUTSIDE,))
    assert found.well and {one.source.kind for one in found.guests if one.source} == {Kind.COPY}
    assert found.quorum.quorate is False


def test_what_could_not_be_seen_is_told() -> None:
    facts = replace(site(), simulated=True, gaps=(Gap("node", "third", "offline"),))
    assert asked(facts).unseen == (
        "the cluster is simulated: nothing there proves anything",
        "everything that lies on the node third (offline)",
    )


@pytest.mark.parametrize(
    ("permissions", "said"),
    [(None, "could not be read"), ({"/": frozenset[str]()}, "lacks VM.Audit on /vms")],
)
def test_where_there_may_be_guests_that_nobody_sees_it_is_not_well(
    permissions: Any, said: str
) -> None:
    found = asked(replace(site(), permissions=permissions))
    assert all(one.recoverable for one in found.guests) and not found.well
    assert said in found.hidden[0]


def test_the_most_urgent_tiers_are_those_with_the_shortest_rto() -> None:
    assert critical_tiers(policy()) == ("critical",)
    tiers = policy().tiers
    two = {**tiers, "gold": replace(tiers["critical"], name="gold")}
    assert critical_tiers(policy(tiers=two)) == ("critical", "gold")


def test_a_less_urgent_guest_that_is_lost_does_not_make_it_bad_and_an_unknown_urgent_one_does() -> (
    None
):
    assert asked(changed(site(), 105, archives=(), proofs=())).well
    assert not asked(changed(site(), 108, needs=None)).well


@given(
    spare=st.integers(0, 30),
    room=st.integers(0, 200),
    lost=st.sampled_from([CLOVIS, Loss(frozenset({"lge-pve02"})), Loss(site=True)]),
    needs=st.sampled_from([NEEDS, None]),
    silent=st.booleans(),
)
def test_nothing_comes_back_from_or_to_what_is_lost_nor_takes_more_than_there_is(
    spare: int, room: int, lost: Loss, needs: object, silent: bool
) -> None:
    facts = site()
    facts = replace(
        with_guests(facts, needs=needs),
        nodes=(facts.nodes[0], Node("lge-pve02", True, 64 * GIB, (64 - spare) * GIB)),
        storages=tuple(replace(one, available=room * GIB, type="lvm") for one in facts.storages),
        silent={"lge-pve02": "timed out"} if silent else {},
    )
    found = asked(facts, lost)
    back = [one for one in found.guests if one.recoverable]
    for one in back:
        assert one.source and one.target and not lost.node(one.target)
        assert one.target not in facts.silent
        assert one.source.archive and not lost.archive(one.source.archive)
    assert 2 * len(back) <= max(spare, 0) and 16 * len(back) <= room
    assert not (needs is None and back)
