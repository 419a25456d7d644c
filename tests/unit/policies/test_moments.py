"""The seconds between two moments: by the clock that nobody sets, where the machine was the same."""

from __future__ import annotations

import pytest

from policies.moments import Moment


@pytest.mark.parametrize(
    ("earlier", "later", "seconds", "jump"),
    [
        (Moment(100, 5, "a"), Moment(110, 15, "a"), 10, 0),
        (Moment(100, 5, "a"), Moment(100, 15, "a"), 10, -10),  # the wall clock was set back
        (Moment(100, 5, "a"), Moment(110, 5, "a"), 0, 10),  # and on, within no time at all
        (Moment(100, 5, "a"), Moment(130, 90, "b"), 30, 0),  # another boot: its ticks say nothing
        (Moment(100, 5, "a"), Moment(90, 90, "b"), 0, 0),
        (Moment(100, 50, "a"), Moment(130, 5, "a"), 30, 0),  # ticks that fell are of another boot
    ],
)
def test_time_is_told_by_the_ticks_of_one_boot_and_else_by_the_wall(
    earlier: Moment, later: Moment, seconds: float, jump: float
) -> None:
    assert earlier.until(later) == seconds
    assert earlier.jump_until(later) == jump
