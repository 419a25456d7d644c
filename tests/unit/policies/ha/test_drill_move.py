"""What follows while HA moves a guest: every state, every place, asked or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.ha.drill_move import (
    HEEDED,
    MOST_ASKED,
    Arrived,
    Ask,
    Leg,
    Returned,
    Stuck,
    Wait,
    Where,
    following,
    in_words,
)

LEG = Leg("clovis", "pve02")
HOME = Where("clovis", "clovis", "started")
THERE = Where("pve02", "pve02", "started")


def test_a_guest_at_rest_where_it_is_to_leave_from_is_asked_for() -> None:
    assert following(LEG, HOME) == Ask()


def test_a_guest_at_its_goal_has_arrived() -> None:
    assert following(LEG, THERE) == Arrived()


@pytest.mark.parametrize("state", ["migrate", "relocate"])
def test_a_guest_under_way_is_waited_for(state: str) -> None:
    found = following(LEG, replace(HOME, state=state))
    assert isinstance(found, Wait) and found.moving and not found.lost


@pytest.mark.parametrize("state", ["fence", "recovery"])
def test_a_guest_whose_node_is_lost_is_a_matter(state: str) -> None:
    found = following(LEG, replace(HOME, state=state))
    assert isinstance(found, Wait) and found.lost and not found.moving


@pytest.mark.parametrize(
    "where",
    [
        *(Where("pve02", "pve02", state) for state in ("starting", "request_start", "queued", "")),
        Where(None, "clovis", "started"),
        Where("pve02", "clovis", "started"),
        Where("clovis", None, "started"),
    ],
)
def test_what_is_not_at_rest_or_not_told_alike_is_looked_at_again(where: Where) -> None:
    found = following(LEG, where)
    assert isinstance(found, Wait) and not found.moving and not found.lost


@pytest.mark.parametrize("state", ["error", "stopped", "freeze", "ignored", "disabled", "strange"])
def test_what_ha_does_not_start_gets_nowhere(state: str) -> None:
    assert isinstance(following(LEG, replace(HOME, state=state)), Stuck)


def test_law_1_a_guest_where_this_drill_did_not_put_it_is_left_there() -> None:
    found = following(LEG, Where("third", "third", "started"))
    assert isinstance(found, Stuck) and "third" in found.why


def test_a_wish_is_given_time_then_repeated_and_then_given_up() -> None:
    asked = replace(LEG, waited=HEEDED - 1, asked=1)
    assert isinstance(following(asked, HOME), Wait)
    late = replace(asked, waited=HEEDED)
    assert following(late, HOME) == Ask()
    assert isinstance(following(replace(late, asked=MOST_ASKED), HOME), Stuck)
    assert following(replace(asked, waited=1.0), HOME, 0.5) == Ask()


def test_a_guest_that_was_away_and_is_where_it_was_has_returned() -> None:
    assert following(replace(LEG, waited=5.0, moved=True, asked=1), HOME) == Returned()


def test_a_guest_is_not_home_while_ha_may_still_take_up_an_earlier_wish() -> None:
    back = Leg("pve02", "clovis", pending=3.0)
    assert isinstance(following(back, HOME), Wait)
    assert following(replace(back, pending=HEEDED), HOME) == Arrived()
    assert following(replace(back, pending=None), HOME) == Arrived()


def test_where_it_is_is_said() -> None:
    assert in_words(HOME) == "on clovis (started)"
    assert in_words(Where(None, "pve02", "")) == "on pve02 (HA says nothing of it)"
    assert in_words(Where(None, None, "")) == "nobody knows where"
