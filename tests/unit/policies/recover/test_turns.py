"""Whose turn it is: in the plan's order, one at a time on each node, each guest once, with one
outcome.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from policies.model import Guest
from policies.recover import turns
from policies.recover.plan import Planned, Way
from policies.recover.turns import Ended, Outcome, Seat
from policies.restore_verdict import Health

NODE, NOW = "clovis", 1_773_100_000


def planned(vmid: int, way: Way = Way.RESTORE, **other: Any) -> Planned:
    return replace(
        Planned(vmid, f"guest-{vmid}", "critical", True, way, target="lge-pve02"), **other
    )


def back(vmid: int, outcome: Outcome = Outcome.BACK) -> dict[int, Ended]:
    return {vmid: Ended(vmid, outcome, NOW)}


def test_the_first_of_the_plan_comes_first_and_the_next_one_when_its_node_is_free() -> None:
    plan = (planned(100), planned(101), planned(102, target="pve3"))
    assert turns.next_up(plan, (), ()) == plan[0]
    assert turns.next_up(plan, (100,), ()) == plan[2]  # another node is free
    assert turns.next_up(plan, (100,), (), alone=True) is None
    assert turns.next_up(plan, (100,), (100,), alone=True) == plan[1]
    assert turns.next_up(plan, (100, 102), ()) is None
    # one that runs, and is only asked by its checks, keeps no other away from its node
    assert turns.next_up(plan, (100, 102), (), started=(100,)) == plan[1]
    assert turns.next_up(plan, (100,), (), started=(100,), alone=True) is None
    assert turns.next_up(plan, (100, 101, 102), (100, 101, 102)) is None


def test_a_guest_waits_for_what_starts_before_it_on_whatever_node() -> None:
    plan = (planned(100, target="pve3"), planned(101, after=(100,)))
    assert turns.next_up(plan, (100,), ()) is None
    assert turns.next_up(plan, (100,), (100,)) == plan[1]
    # what is held back, or has failed, keeps nobody away
    assert turns.next_up(plan, (), (), held=(100,)) == plan[1]
    assert turns.first_missing(plan[1], back(100, Outcome.FAILED)) == (
        "100, which it starts after, is not back"
    )
    assert turns.first_missing(plan[1], back(100)) == turns.first_missing(plan[1], {}) == ""


def test_nothing_waits_for_what_is_not_restored_here() -> None:
    plan = (planned(99, Way.LOST), planned(100, Way.HA), planned(101, after=(99, 100)))
    assert turns.next_up(plan, (), ()) == plan[2]


def test_what_stands_under_a_vmid() -> None:
    assert turns.seat(None, NODE) is Seat.FREE
    assert turns.seat(Guest(108, "x", NODE, status="unknown"), NODE) is Seat.LEFT
    assert turns.seat(Guest(108, "x", "pve3", status="running"), NODE) is Seat.RUNS
    assert turns.seat(Guest(108, "x", "pve3", status="stopped"), NODE) is Seat.EXISTS


def test_a_guest_that_runs_elsewhere_is_back_whoever_did_that() -> None:
    there = Guest(108, "x", "lge-pve02", status="running")
    by_ha = turns.seen(planned(108, Way.HA, managed=True), there, NODE, NOW)
    assert by_ha == Ended(108, Outcome.BACK, NOW, "HA brought it back", node="lge-pve02")
    by_hand = turns.seen(planned(108, Way.BY_HAND), there, NODE, NOW)
    assert by_hand and by_hand.why == "somebody brought it back meanwhile"
    assert turns.seen(planned(108), None, NODE, NOW) is None
    assert turns.seen(planned(108), replace(there, status="stopped"), NODE, NOW) is None
    # where the storage is lost too it runs without its disks as well
    assert turns.seen(planned(108), there, NODE, NOW, {"lge-pve02"}) is None


def test_ha_is_waited_for_until_it_gives_up_or_does_nothing() -> None:
    one, there = planned(108, Way.HA), Guest(108, "x", NODE, ha_state="fence")
    assert turns.given_up(one, there, NODE, 100.0, NOW) is None
    moved = replace(there, ha_state="error", node="lge-pve02")
    found = turns.given_up(one, moved, NODE, 0.0, NOW)
    assert found and found.why == "it is left to HA, and is in state error on lge-pve02"
    assert f"ha-manager remove vm:{one.vmid}; mv /etc/pve/nodes/lge-pve02/" in found.hint
    stays = turns.given_up(one, replace(moved, node=NODE), NODE, 0.0, NOW)
    assert stays and stays.hint.startswith("see `ha-manager status`")
    late = turns.given_up(one, None, NODE, turns.HA_WAIT, NOW)
    assert late and late.outcome is Outcome.NOT_DONE and "in state unknown" in late.why


def test_how_a_guest_ends_that_no_restore_brings_back() -> None:
    lost = turns.unrestored(planned(100, Way.LOST, reasons=("no archive",)), NOW)
    assert (lost.outcome, lost.why) == (Outcome.LOST, "no archive")
    full = turns.unrestored(planned(100, Way.NO_PLACE, reasons=("no room",)), NOW)
    assert (full.outcome, full.why) == (Outcome.NOT_DONE, "no room")
    hand = turns.unrestored(planned(100, Way.BY_HAND, commands=("a", "b")), NOW)
    assert (hand.outcome, hand.why) == (Outcome.BY_HAND, "it comes back by hand, from ")


def test_one_that_is_cut_short_ends_each_guest_that_it_did_not_come_to() -> None:
    plan = (planned(100), planned(101), planned(102), planned(103, Way.LOST))
    ends = turns.cut_short(plan, (100, 101), (100,), "cancelled", NOW)
    assert [(one.vmid, one.outcome, one.why) for one in ends] == [
        (102, Outcome.NOT_DONE, "cancelled"),
        (103, Outcome.LOST, ""),
    ]


def test_what_is_missing_and_whether_the_most_urgent_are_well() -> None:
    plan = (planned(100), planned(101, urgent=False), planned(102))
    ends = {**back(100), **back(101, Outcome.FAILED)}
    assert turns.missing(plan, ends) == (101, 102)
    assert not turns.well(plan, ends)
    ends |= back(102)
    assert turns.well(plan, ends)
    for health, well in (
        (Health.RUNNING, True),
        (Health.SIMULATED, True),
        (Health.FAILED, False),
        (Health.INCONCLUSIVE, False),
    ):
        ends[102] = replace(ends[102], health=health)
        assert turns.well(plan, ends) is well
    ends[102] = replace(ends[102], health=None, outcome=Outcome.FAILED)
    assert not turns.well(plan, ends)


@st.composite
def plans(draw: st.DrawFn) -> tuple[Planned, ...]:
    """A plan in the order that what-if keeps: what starts before a guest stands before it."""
    made: list[Planned] = []
    for vmid in range(100, 100 + draw(st.integers(1, 6))):
        earlier = [one.vmid for one in made]
        after = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        made.append(
            planned(
                vmid,
                draw(st.sampled_from(Way)),
                target=draw(st.sampled_from(["lge-pve02", "pve3"])),
                after=tuple(after),
            )
        )
    return tuple(made)


class Recovering(RuleBasedStateMachine):
    """Restores begin, are held back, end well or badly, and somebody may end it all."""

    @initialize(plan=plans(), alone=st.booleans())
    def opened(self, plan: tuple[Planned, ...], alone: bool) -> None:
        self.plan, self.alone = plan, alone
        self.begun: list[int] = []
        self.ended: list[Ended] = []
        self.held: set[int] = set()

    @property
    def ends(self) -> dict[int, Ended]:
        return {one.vmid: one for one in self.ended}

    @property
    def running(self) -> list[Planned]:
        return [one for one in self.plan if one.vmid in self.begun and one.vmid not in self.ends]

    def next(self) -> Planned | None:
        return turns.next_up(self.plan, self.begun, self.ends, self.held, alone=self.alone)

    @rule()
    def begins(self) -> None:
        if one := self.next():
            assert all(
                other in self.ends or other in self.held
                for other in one.after
                if self.of(other).way is Way.RESTORE
            )
            self.begun.append(one.vmid)

    @rule()
    def is_held_back(self) -> None:
        if one := self.next():
            self.held.add(one.vmid)

    @rule()
    def is_free_again(self) -> None:
        self.held.clear()

    @rule(outcome=st.sampled_from([Outcome.BACK, Outcome.FAILED]), place=st.integers(0, 9))
    def ends_one(self, outcome: Outcome, place: int) -> None:
        if self.running:
            one = self.running[place % len(self.running)]
            self.ended.append(Ended(one.vmid, outcome, NOW))

    @rule()
    def is_refused(self) -> None:
        if one := self.next():
            self.ended.append(Ended(one.vmid, Outcome.NOT_DONE, NOW, "refused"))

    def of(self, vmid: int) -> Planned:
        return next(one for one in self.plan if one.vmid == vmid)

    @invariant()
    def none_is_restored_twice_nor_unseen_nor_two_at_once_on_a_node(self) -> None:
        assert max(Counter(self.begun).values(), default=1) == 1
        assert all(self.of(vmid).way is Way.RESTORE for vmid in self.begun)
        assert max(Counter(one.target for one in self.running).values(), default=1) == 1
        assert not self.alone or len(self.running) <= 1

    def teardown(self) -> None:
        """Whatever happened, all that runs ends and the rest is cut short: each guest ends once."""
        self.held.clear()
        while (one := self.next()) or self.running:
            if one:
                self.begun.append(one.vmid)
            else:
                self.ended += [Ended(other.vmid, Outcome.BACK, NOW) for other in self.running]
        self.ended += turns.cut_short(self.plan, self.begun, self.ends, "over", NOW)
        assert sorted(one.vmid for one in self.ended) == [one.vmid for one in self.plan]
        restored = {one.vmid for one in self.plan if one.way is Way.RESTORE}
        assert restored == set(self.begun) | {
            one.vmid for one in self.ended if one.why == "refused"
        }


TestRecovering = Recovering.TestCase
TestRecovering.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
