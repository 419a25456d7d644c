"""What questions, asked ten times a second, say of how long a service was away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.ha.drill_measure import EVERY, STALL, Measured, Sample, answers_now, measure, plus


def asked(*answers: tuple[float, bool], took: float = 0.01) -> list[Sample]:
    return [Sample(at, took if good else 1.0, good) for at, good in answers]


def steady(first: float, last: float, good: bool = True) -> list[tuple[float, bool]]:
    return [
        (round(number / 10, 1), good) for number in range(round(first * 10), round(last * 10) + 1)
    ]


def test_a_service_that_always_answers_was_never_away() -> None:
    found = measure(asked(*steady(0, 5)), 5.05)
    assert (found.samples, found.failed, found.interruption, found.at_least) == (51, 0, 0.0, False)
    assert found.longest_gap == pytest.approx(0.1) and found.slowest == 0.01
    assert (found.seconds, found.unwatched) == (5.05, 0.0)


def test_an_interruption_lasts_from_the_last_good_answer_to_the_next() -> None:
    found = measure(asked(*steady(0, 1), *steady(1.1, 2.9, good=False), *steady(3, 4)), 4)
    assert found.failed == 19
    assert found.interruption == pytest.approx(2.01)  # from 1.0 to 3.0 and what that answer took
    assert found.longest_gap == pytest.approx(2.01) and not found.at_least


def test_several_interruptions_are_added_and_the_longest_gap_is_one_of_them() -> None:
    away = [*steady(0, 1), (1.1, False), *steady(1.2, 2), (2.1, False), (2.2, False), (2.3, True)]
    found = measure(asked(*away), 2.3)
    assert found.interruption == pytest.approx(0.21 + 0.31)
    assert found.longest_gap == pytest.approx(0.31)


def test_the_order_in_which_answers_came_is_of_no_matter() -> None:
    samples = asked(*steady(0, 1), *steady(1.1, 1.9, good=False), *steady(2, 3))
    assert measure(samples[::-1], 3) == measure(samples, 3)


def test_a_time_in_which_nobody_asked_is_neither_an_interruption_nor_health() -> None:
    found = measure(asked(*steady(0, 1), *steady(9, 10)), 10)
    assert (found.failed, found.interruption, found.at_least) == (0, 0.0, False)
    assert found.unwatched == pytest.approx(7.9) and found.seconds == pytest.approx(2.1)
    assert found.longest_gap == pytest.approx(0.1)


@pytest.mark.parametrize(
    "answers",
    [
        [*steady(0, 1), *steady(1.1, 2, good=False)],
        [*steady(0, 1, good=False), *steady(1.1, 2)],
        [*steady(0, 1), (1.1, False), *steady(9, 10)],
    ],
    ids=["it never came back", "it was away before", "nobody watched when it came back"],
)
def test_what_borders_on_the_unwatched_is_a_lower_bound(answers: list[tuple[float, bool]]) -> None:
    found = measure(asked(*answers), answers[-1][0])
    assert found.at_least and found.interruption > 0


def test_the_edges_of_a_watch_may_be_unwatched_too() -> None:
    found = measure(asked(*steady(2, 3)), 6)
    assert found.unwatched == pytest.approx(1.9 + 2.9)


def test_without_a_question_nothing_is_known() -> None:
    assert measure([], 4.0) == Measured(unwatched=4.0)


def test_two_watches_are_one_with_a_hole() -> None:
    one = measure(asked(*steady(0, 1), (1.1, False)), 1.1)
    other = measure(asked(*steady(0, 2)), 2)
    both = plus(one, other, 30)
    assert both.samples == one.samples + other.samples and both.at_least
    assert both.interruption == one.interruption and both.longest_gap == one.longest_gap
    assert both.unwatched == pytest.approx(30) and both.seconds == one.seconds + other.seconds
    assert plus(one, other, -5).unwatched == 0.0


def test_it_answers_when_the_last_answers_were_all_good() -> None:
    good = asked(*steady(0, 1))
    assert answers_now(good, 5) and not answers_now(good, 50)
    assert not answers_now([*good, Sample(1.1, 1.0, False)], 5)


@given(
    st.lists(
        st.builds(Sample, st.floats(0, 100), st.floats(0, 1), st.booleans()),
        min_size=1,
        max_size=80,
    )
)
def test_no_time_is_counted_twice(samples: list[Sample]) -> None:
    lasted = max(one.at + one.took for one in samples)
    found = measure(samples, lasted)
    assert found.seconds + found.unwatched == pytest.approx(lasted, abs=0.01)
    assert 0 <= found.slowest <= 1 and found.failed <= found.samples == len(samples)
    assert (found.interruption > 0) <= (found.failed > 0)
    assert found.longest_gap >= 0 and found.unwatched >= 0
    assert EVERY < STALL
