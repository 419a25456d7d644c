"""Amounts of bytes: different ones in one sentence never read alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import i18n
from policies.amounts import apart, seconds, size

GIB = 1 << 30


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (107_374_182, "102.4 MiB"),
        (1_048_575, "1.0 MiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_an_amount_is_told_in_the_largest_unit_that_leaves_one_or_more(
    octets: int, told: str
) -> None:
    assert size(octets) == told


def test_free_and_needed_are_told_apart() -> None:
    assert apart(int(0.07 * GIB), int(0.11 * GIB)) == ("71.7 MiB", "112.6 MiB")
    assert apart(GIB, GIB + 20_000_000) == ("1.00 GiB", "1.02 GiB")
    assert apart(GIB, GIB + 1) == ("1073741824 bytes", "1073741825 bytes")
    assert apart(GIB, GIB + 1_000_000) == ("1.000 GiB", "1.001 GiB")
    assert apart(GIB, GIB + 100_000) == ("1073741824 bytes", "1073841824 bytes"), (
        "three digits behind the point at most"
    )
    assert apart(GIB, GIB) == ("1.0 GiB", "1.0 GiB")


@given(st.integers(0, 1 << 60), st.integers(-(1 << 20), 1 << 20))
def test_two_amounts_read_alike_only_if_they_are_equal(one: int, more: int) -> None:
    other = max(0, one + more)
    for told in (apart(one, other), i18n.sizes("en", one, other), i18n.sizes("fr", one, other)):
        assert (told[0] == told[1]) == (one == other)


def test_a_finding_tells_amounts_apart_in_its_own_language() -> None:
    assert i18n.sizes("fr", 1_000_000_000, 1_020_000_000) == ("1,00 Go", "1,02 Go")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("0s", 0),
        ("", None),
        ("7", None),
        ("d", None),
        ("7d ", None),
        ("-7d", None),
        ("1.5h", None),
        ("7 d", None),
        ("٣d", None),
        ("1234567890s", None),
    ],
)
def test_a_span_of_time_is_numbers_with_units_and_nothing_else(text: str, told: int | None) -> None:
    assert seconds(text) == told
