"""The circuit breaker as a value: it keeps callers away after silence, lets one look, and closes at
the first answer.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import breaker
from policies.breaker import CLOSED, LONG_LIVED, ONE_COMMAND, Breaker, Pauses

SHARES = st.floats(0, 1)
TIMES = st.floats(0, 1e9)
PAUSES = st.builds(
    lambda first, more: Pauses(first, first + more), st.floats(0.1, 600), st.floats(0, 3600)
)
STEPS = st.lists(st.tuples(st.floats(0, 120), st.booleans(), SHARES), max_size=40)


@given(TIMES)
def test_who_was_never_silent_may_always_be_asked(now: float) -> None:
    assert breaker.may_ask(CLOSED, now)
    assert breaker.asking(CLOSED, now, 60) == CLOSED
    assert breaker.undecided(CLOSED, now) == CLOSED


@given(TIMES, PAUSES, SHARES)
def test_after_silence_nobody_asks_for_a_pause_and_somebody_may_when_it_is_over(
    now: float, pauses: Pauses, share: float
) -> None:
    shut = breaker.silent(CLOSED, now, "it says nothing", pauses, share)
    assert shut.words == "it says nothing"
    assert not breaker.may_ask(shut, now)
    assert breaker.may_ask(shut, now + pauses.longest + 1)


@given(TIMES, PAUSES, st.lists(SHARES, min_size=2, max_size=30))
def test_the_pause_grows_with_each_silence_and_never_passes_the_longest(
    now: float, pauses: Pauses, shares: list[float]
) -> None:
    one, before = CLOSED, 0.0
    for share in shares:
        one = breaker.silent(one, now, "", pauses, share)
        pause = one.until - now
        assert pauses.first / 2 < pause <= pauses.longest + 1e-6
        assert pause >= min(before, pauses.longest * 0.75) - 1e-6  # jitter is less than a doubling
        before, now = pause, one.until
        one = breaker.asking(one, now, 60)


@given(TIMES, PAUSES, SHARES)
def test_while_one_looks_the_others_are_kept_away_but_not_longer_than_a_look_may_last(
    now: float, pauses: Pauses, share: float
) -> None:
    shut = breaker.silent(CLOSED, now, "", pauses, share)
    looking = breaker.asking(shut, shut.until, 60)
    assert not breaker.may_ask(looking, shut.until + 1)
    assert breaker.may_ask(looking, shut.until + 61)  # the one who looked may have died


@given(TIMES, PAUSES, SHARES)
def test_a_look_that_shows_nothing_lets_the_next_one_look_at_once(
    now: float, pauses: Pauses, share: float
) -> None:
    shut = breaker.silent(CLOSED, now, "", pauses, share)
    looking = breaker.asking(shut, shut.until, 60)
    assert breaker.may_ask(breaker.undecided(looking, shut.until + 1), shut.until + 1)
    assert breaker.undecided(shut, now) == shut


@given(TIMES, PAUSES, SHARES, st.integers(1, 50))
def test_callers_that_all_waited_for_the_same_silence_count_once(
    now: float, pauses: Pauses, share: float, many: int
) -> None:
    one = breaker.silent(CLOSED, now, "first", pauses, share)
    later = one
    for _ in range(many):
        later = breaker.silent(later, now, "later", pauses, share)
    assert later == one


@pytest.mark.slow
@given(STEPS)
def test_however_long_it_lasts_a_node_that_is_back_is_seen_within_the_longest_pause(
    steps: list[tuple[float, bool, float]],
) -> None:
    one, now = CLOSED, 0.0
    for passed, heard, share in steps:
        now += passed
        if not breaker.may_ask(one, now):
            continue
        one = (
            CLOSED
            if heard
            else breaker.silent(breaker.asking(one, now, 60), now, "", LONG_LIVED, share)
        )
        assert one.until <= now + LONG_LIVED.longest
    assert breaker.may_ask(one, now + LONG_LIVED.longest)


@given(TIMES, SHARES, st.floats(0, 400))
def test_a_command_asks_nobody_twice(now: float, share: float, passed: float) -> None:
    assert not breaker.may_ask(breaker.silent(CLOSED, now, "", ONE_COMMAND, share), now + passed)


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("version", [("h",), ("h", "", "version")]),
        ("/cluster/resources", [("h",), ("h", "", "cluster/resources")]),
        ("nodes", [("h",), ("h", "", "nodes")]),
        ("nodes/clovis/time", [("h",), ("", "clovis"), ("h", "clovis"), ("h", "clovis", "time")]),
        (
            "nodes/clovis/storage/nfs/content/nfs:backup/a",
            [("h",), ("", "clovis"), ("h", "clovis"), ("h", "clovis", "storage/nfs")],
        ),
        (
            "nodes/clovis/storage/X",
            [("h",), ("", "clovis"), ("h", "clovis"), ("h", "clovis", "storage/X")],
        ),
        (
            "nodes/clovis/lxc/200/config",
            [("h",), ("", "clovis"), ("h", "clovis"), ("h", "clovis", "lxc/200")],
        ),
        (
            "nodes/clovis/tasks/UPID:x/log",
            [("h",), ("", "clovis"), ("h", "clovis"), ("h", "clovis", "tasks")],
        ),
        ("nodes/clovis", [("h",), ("", "clovis"), ("h", "clovis"), ("h", "clovis", "")]),
        ("cluster/ha/resources/vm:108", [("h",), ("h", "", "cluster/ha")]),
        (
            "nodes/clovis/qemu/108/agent/ping",
            [("h",), ("", "clovis"), ("h", "clovis"), ("h", "clovis", "qemu/108")],
        ),
    ],
)
def test_a_call_needs_its_host_its_node_and_what_it_is_about(
    path: str, needed: list[breaker.Place]
) -> None:
    assert list(breaker.places("h", path)) == needed


def test_what_is_said_of_a_breaker_is_what_was_said_of_the_silence() -> None:
    assert breaker.asking(Breaker(1, 5.0, "words"), 6.0, 10.0).words == "words"


def test_each_silence_doubles_the_pause_up_to_the_longest() -> None:
    one, found = CLOSED, []
    for _ in range(5):
        one = breaker.silent(one, one.until, "", Pauses(5.0, 60.0), 0.0)
        found.append((one.failures, one.until))
    assert found == [(1, 5.0), (2, 15.0), (3, 35.0), (4, 75.0), (5, 135.0)]
    assert breaker.silent(CLOSED, 0.0, "", Pauses(8.0, 60.0), 1.0).until == 6.0, (
        "a quarter less at most"
    )


def test_whatever_the_clock_shows_who_was_never_silent_may_be_asked_and_is_kept_away_from_after_a_silence() -> (
    None
):
    """Nothing says from when a clock that never jumps counts."""
    assert breaker.may_ask(CLOSED, -100.0)
    assert breaker.silent(CLOSED, -100.0, "it says nothing", Pauses(5.0, 60.0), 0.0).until == -95.0


def test_who_looked_and_was_not_to_know_looks_no_more() -> None:
    looking = breaker.asking(breaker.silent(CLOSED, 0.0, "", LONG_LIVED, 0.0), 5.0, 60)
    assert looking.trying and not breaker.undecided(looking, 6.0).trying
    assert CLOSED.words == ""
