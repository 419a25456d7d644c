"""Which archives are read anew: the longest unread first, within the night's budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policies.model import Archive, GuestType, IntegrityRules
from policies.recheck_due import MAX_A_NIGHT, due

NOW, DAY = 1_773_000_000, 86_400
RULES = IntegrityRules(every=30 * DAY, budget=1000)


def archive(number: int, read: int | None = None, **changes: Any) -> Archive:
    """``read``: so many days ago, None never."""
    checked = None if read is None else NOW - read * DAY
    whole = Archive(
        f"local:backup/{number}", "a", "local", 108, GuestType.QEMU, NOW - number * DAY, 400
    )
    return replace(whole, checked_at=checked, **changes)


def test_what_was_read_within_the_cadence_is_left_alone() -> None:
    fresh, old = archive(1, 29), archive(2, 31)
    assert due([fresh, old], RULES, NOW) == (old,)
    assert due([archive(1, 30)], RULES, NOW) == (archive(1, 30),)


def test_the_longest_unread_come_first_and_the_budget_ends_the_night() -> None:
    never, older, old = archive(1), archive(2, 50), archive(3, 40)
    assert due([old, older, never], RULES, NOW) == (never, older)
    assert due([old, older, never], replace(RULES, budget=1200), NOW) == (never, older, old)


def test_of_those_never_read_the_oldest_comes_first() -> None:
    assert due([archive(1), archive(9)], RULES, NOW) == (archive(9), archive(1))


def test_an_archive_above_the_budget_is_read_alone() -> None:
    huge = archive(5, size=10_000)
    assert due([huge, archive(1, 40)], RULES, NOW) == (huge,)
    assert due([archive(6, size=900), huge], RULES, NOW) == (archive(6, size=900),)


def test_of_small_archives_a_night_reads_so_many_and_no_more() -> None:
    small = [archive(number, 40, size=1) for number in range(MAX_A_NIGHT + 1)]
    every = due(small, replace(RULES, budget=10**9), NOW, everything=True)
    assert due(small, replace(RULES, budget=10**9), NOW) == every[:MAX_A_NIGHT]


def test_a_reading_in_the_future_is_none() -> None:
    assert due([archive(1, -1)], RULES, NOW) == (archive(1, -1),)
    assert due([archive(1, 0)], RULES, NOW) == ()


def test_nobodys_archives_empty_ones_and_changed_ones_are_not_read() -> None:
    odd = [archive(1, vmid=None), archive(2, size=0), archive(3, changed="size 1 -> 2 bytes")]
    assert due(odd, RULES, NOW) == () == due(odd, RULES, NOW, everything=True)
    damaged = archive(4, 40, damaged="torn")  # its disk may have been mended
    assert due([damaged], RULES, NOW) == (damaged,)


def test_guests_may_be_chosen_and_everything_may_be_asked_for() -> None:
    mine, other = archive(1, 1), archive(2, 40, vmid=107)
    assert due([mine, other], RULES, NOW, only=[108]) == ()
    assert due([mine, other], RULES, NOW, only=[107]) == (other,)
    assert due([mine, other], replace(RULES, budget=1), NOW, everything=True) == (other, mine)


@given(
    days=st.lists(st.one_of(st.none(), st.integers(0, 90)), max_size=12),
    sizes=st.lists(st.integers(1, 900), min_size=12, max_size=12),
    budget=st.integers(1, 3000),
)
def test_a_night_reads_no_more_than_its_budget_and_skips_nobody(
    days: list[int | None], sizes: list[int], budget: int
) -> None:
    held = [archive(at, read, size=sizes[at]) for at, read in enumerate(days)]
    every = due(held, replace(RULES, budget=10**9), NOW)
    found = due(held, replace(RULES, budget=budget), NOW)
    assert found == every[: len(found)]
    assert bool(found) == bool(every)
    assert len(found) <= 1 or sum(one.size for one in found) <= budget
    if len(found) < len(every):
        assert sum(one.size for one in every[: len(found) + 1]) > budget
