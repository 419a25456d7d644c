"""What a drill showed: nothing is well of which it is not sure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.ha.drill_measure import Measured
from policies.ha.drill_told import Drilled, Worth

HEARD = Measured(30.0, 300, 4, 0.6, 0.5, 0.02)
GOOD = Drilled("migrate", True, True, True, HEARD, Measured(20.0, 200, 2, 0.3, 0.4))


def test_both_ways_are_told_together() -> None:
    assert (GOOD.interruption, GOOD.longest_gap, GOOD.unwatched) == (0.9, 0.5, 0.0)
    assert GOOD.worth is Worth.MEASURED and GOOD.well and not GOOD.at_least


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"went": False}, "did not get to the other node"),
        ({"answered": False}, "was not heard on the other node"),
        ({"lost": True}, "its node was lost"),
        ({"stranger": "bc:24:11:00:00:09"}, "another machine (MAC bc:24:11:00:00:09)"),
        ({"how": "relocate", "out": replace(HEARD, failed=0)}, "something else answers there too"),
    ],
)
def test_a_doubt_makes_it_unknown(changes: dict[str, object], said: str) -> None:
    found = replace(GOOD, **changes)  # type: ignore[arg-type]
    assert found.worth is Worth.UNKNOWN and not found.well
    assert any(said in doubt for doubt in found.doubts)


def test_a_guest_that_is_kept_running_may_answer_all_the_while() -> None:
    assert replace(GOOD, out=replace(HEARD, failed=0)).well
    assert replace(GOOD, how="relocate").well


def test_a_relocation_of_which_nothing_was_heard_says_nothing_of_others() -> None:
    assert replace(GOOD, how="relocate", out=Measured()).doubts == ()


@pytest.mark.parametrize("home", [False, None])
def test_what_is_not_surely_home_is_not_well(home: bool | None) -> None:
    assert not replace(GOOD, home=home).well


def test_law_5_a_modelled_guest_is_never_well() -> None:
    found = replace(GOOD, simulated=True)
    assert found.worth is Worth.SIMULATED and not found.well


def test_what_was_not_watched_makes_it_a_lower_bound() -> None:
    assert replace(GOOD, out=replace(HEARD, unwatched=3.0)).at_least
    assert replace(GOOD, back=replace(HEARD, at_least=True)).at_least
