"""Calendar events: PVE's forms, the site's time zone, and both days on which clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import PolicyError
from policies.pve.calendar_event import (
    MAX_LENGTH,
    clock_changes,
    occurrences,
    parse,
    time_of_day,
    zone,
)

PARIS = "Europe/Paris"
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)  # clocks change at 01:00 UTC on both


def epoch(text: str, tz: str = PARIS) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz)).timestamp())


def local(spec: str, after: str, until: str, tz: str = PARIS) -> list[str]:
    found = occurrences(spec, tz, epoch(after, tz), epoch(until, tz))
    return [datetime.fromtimestamp(at, ZoneInfo(tz)).strftime("%m-%d %H:%M %Z") for at in found]


def test_nine_in_the_evening_stays_nine_in_the_evening_through_spring() -> None:
    assert local("21:00", "2026-03-27", "2026-03-31") == [
        "03-27 21:00 CET",
        "03-28 21:00 CET",
        "03-29 21:00 CEST",
        "03-30 21:00 CEST",
    ]


def test_nine_in_the_evening_stays_nine_in_the_evening_through_autumn() -> None:
    assert local("21:00", "2026-10-24", "2026-10-27") == [
        "10-24 21:00 CEST",
        "10-25 21:00 CET",
        "10-26 21:00 CET",
    ]


def test_half_past_two_happens_once_in_autumn_at_the_first_of_both() -> None:
    assert local("02:30", "2026-10-24", "2026-10-27") == [
        "10-24 02:30 CEST",
        "10-25 02:30 CEST",
        "10-26 02:30 CET",
    ]


def test_half_past_two_happens_at_half_past_three_in_spring_when_it_is_absent() -> None:
    assert local("02:30", "2026-03-28", "2026-03-31") == [
        "03-28 02:30 CET",
        "03-29 03:30 CEST",
        "03-30 02:30 CEST",
    ]


def test_an_absent_time_and_the_time_it_moves_to_are_one_occurrence() -> None:
    assert local("2,3:30", "2026-03-29", "2026-03-30") == ["03-29 03:30 CEST"]


def test_asking_within_the_repeated_hour_does_not_go_back_in_time() -> None:
    second_pass = epoch("2026-10-25T02:10") + 3600
    found = parse("02:30", PARIS).next_after(second_pass)
    assert found == epoch("2026-10-26T02:30")


def test_an_event_of_every_hour_follows_elapsed_time_in_autumn() -> None:
    assert local("*/30", "2026-10-25T01:15", "2026-10-25T03:15") == [
        "10-25 01:30 CEST",
        "10-25 02:00 CEST",
        "10-25 02:30 CEST",
        "10-25 02:00 CET",
        "10-25 02:30 CET",
        "10-25 03:00 CET",
    ]


def test_an_event_of_every_hour_skips_nothing_but_the_absent_hour_in_spring() -> None:
    assert local("hourly", "2026-03-29T00:30", "2026-03-29T04:30") == [
        "03-29 01:00 CET",
        "03-29 03:00 CEST",
        "03-29 04:00 CEST",
    ]


@pytest.mark.parametrize(
    ("spec", "first"),
    [
        ("21:00", "2026-01-01 21:00:00"),
        ("daily", "2026-01-02 00:00:00"),
        ("weekly", "2026-01-05 00:00:00"),
        ("monthly", "2026-02-01 00:00:00"),
        ("quarterly", "2026-04-01 00:00:00"),
        ("semiannually", "2026-07-01 00:00:00"),
        ("semi-annually", "2026-07-01 00:00:00"),
        ("annually", "2027-01-01 00:00:00"),
        ("minutely", "2026-01-01 00:01:00"),
        ("30", "2026-01-01 00:30:00"),
        ("*/5", "2026-01-01 00:05:00"),
        ("*:*/5", "2026-01-01 00:05:00"),
        ("mon..wed 30/10", "2026-01-05 00:30:00"),
        ("mon..fri 22:30", "2026-01-01 22:30:00"),
        ("sat,sun", "2026-01-03 00:00:00"),
        ("8..17,22:0/15", "2026-01-01 08:00:00"),
        ("fri 12..13:5/20", "2026-01-02 12:05:00"),
        ("sat *-1..7 15:00", "2026-01-03 15:00:00"),
        ("*-*-1..7 15:00", "2026-01-01 15:00:00"),
        ("*-*/2-1 04:00", "2026-01-01 04:00:00"),
        ("*/2-1 04:00", "2026-01-01 04:00:00"),
        ("2026-12-31 23:59:58", "2026-12-31 23:59:58"),
    ],
)
def test_pve_forms_are_understood(spec: str, first: str) -> None:
    found = parse(spec, PARIS).next_after(epoch("2026-01-01"))
    assert found is not None
    assert datetime.fromtimestamp(found, ZoneInfo(PARIS)).strftime("%Y-%m-%d %H:%M:%S") == first


WRONG = [
    "",
    " ",
    "x",
    "25:00",
    "21:60",
    "mon..foo",
    "mon sun",
    "1 2 3",
    "*/2-1-1",
    "21:00 UTC",
    "²:00",
    "*:*:*:*",
    "0/0",
]


@pytest.mark.parametrize("spec", WRONG)
def test_a_wrong_schedule_is_refused_with_an_example_of_a_right_one(spec: str) -> None:
    with pytest.raises(PolicyError, match=r"not a calendar event.*allowed: .*21:00"):
        parse(spec, PARIS)


def test_a_schedule_that_never_happens_is_refused() -> None:
    with pytest.raises(PolicyError, match="never happens"):
        parse("*-2-30", PARIS)


def test_a_schedule_longer_than_pve_allows_is_refused() -> None:
    with pytest.raises(PolicyError, match="129 characters"):
        parse("1," * 64 + "1", PARIS)


@pytest.mark.parametrize("name", ["Europe", "Mars/Olympus", "", "../etc/passwd", "/etc/localtime"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(PolicyError, match="not a known time zone"):
        zone(name)


def test_an_event_of_the_past_has_no_next_occurrence() -> None:
    assert parse("2020-01-01 10:00", PARIS).next_after(epoch("2026-01-01")) is None


@given(st.text(alphabet="0123456789*/.,:-~ montuefri", max_size=20))
def test_any_text_is_read_or_refused_and_never_breaks(spec: str) -> None:
    try:
        parse(spec, PARIS)
    except PolicyError as error:
        assert "allowed:" in error.message


ZONES = st.sampled_from([PARIS, "America/New_York", "UTC", "Australia/Lord_Howe"])
DAYS = st.sampled_from(
    [
        SPRING,
        AUTUMN,
        date(2026, 3, 8),
        date(2026, 11, 1),
        date(2026, 4, 5),
        date(2026, 10, 4),
        date(2026, 6, 1),
    ]
)


@given(ZONES, DAYS, st.integers(0, 23), st.integers(0, 59), st.integers(-36 * 3600, 36 * 3600))
def test_a_daily_event_happens_exactly_once_for_every_day(
    tz: str, day: date, hour: int, minute: int, shift: int
) -> None:
    place = ZoneInfo(tz)
    days = [day + timedelta(days=offset) for offset in range(-4, 5)]
    every = sorted(
        int(datetime(d.year, d.month, d.day, hour, minute, tzinfo=place).timestamp()) for d in days
    )
    after = int(datetime(day.year, day.month, day.day, 12, tzinfo=place).timestamp()) + shift
    assert parse(f"{hour}:{minute:02}", tz).next_after(after) == next(
        at for at in every if at > after
    )


@given(
    ZONES,
    DAYS,
    st.sets(st.integers(0, 59), min_size=1, max_size=4),
    st.integers(-12 * 3600, 12 * 3600),
)
def test_an_event_of_every_hour_happens_at_every_minute_that_the_clock_shows(
    tz: str, day: date, minutes: set[int], shift: int
) -> None:
    place = ZoneInfo(tz)
    after = int(datetime(day.year, day.month, day.day, 12, tzinfo=place).timestamp()) + shift
    shown = (
        (at, datetime.fromtimestamp(at, place))
        for at in range(after - after % 60 + 60, after + 10800, 60)
    )
    assert parse(",".join(map(str, sorted(minutes))), tz).next_after(after) == next(
        at for at, t in shown if t.minute in minutes
    )


@given(
    ZONES,
    st.sampled_from(["21:00", "*/7", "mon..fri 2:15,45", "hourly", "1..3:0/20"]),
    st.integers(0, 4_000_000_000),
)
def test_occurrences_ascend_and_stay_within_what_was_asked(tz: str, spec: str, after: int) -> None:
    until = after + 2 * 86400
    found = occurrences(spec, tz, after, until)
    assert all(one < other for one, other in pairwise(found))
    assert all(after < at <= until for at in found)


@pytest.mark.parametrize(
    ("schedule", "plain"),
    [("21:00", (21, 0)), (" 7:05 ", (7, 5)), ("mon..fri 21:00", None), ("24:00", None)],
)
def test_only_a_plain_time_of_day_is_one(schedule: str, plain: tuple[int, int] | None) -> None:
    assert time_of_day(schedule) == plain


def test_both_clock_changes_of_a_year_are_found_to_the_second() -> None:
    year = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    spring = int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp())
    autumn = int(datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp())
    assert clock_changes("Europe/Paris", year, year + 365 * 86400) == [
        (spring, 3600),
        (autumn, -3600),
    ]
    assert clock_changes("Europe/Paris", spring, spring + 7 * 86400) == []
    assert clock_changes("UTC", year, year + 365 * 86400) == []


def test_a_schedule_as_long_as_pve_allows_is_read() -> None:
    assert len("1," * 63 + "11") == MAX_LENGTH
    assert parse("1," * 63 + "11", PARIS).next_after(0) is not None


def test_an_event_that_happens_once_occurs_once_and_both_ends_of_a_span_are_as_they_are_told() -> (
    None
):
    once = epoch("2026-05-01T10:00")
    assert occurrences("2026-05-01 10:00", PARIS, once - 1, once + 10 * 86400) == [once]
    assert occurrences("2026-05-01 10:00", PARIS, once - 60, once) == [once]
    assert occurrences("2026-05-01 10:00", PARIS, once, once + 60) == []


@pytest.mark.parametrize("change", [1774746000, 1792890000], ids=["spring", "autumn"])
def test_an_event_of_every_second_misses_none_while_the_clock_changes(change: int) -> None:
    assert occurrences("*:*:*", PARIS, change - 4, change + 3) == list(
        range(change - 3, change + 4)
    )


@pytest.mark.parametrize("before", range(1, 9))
def test_the_second_of_a_clock_change_does_not_depend_on_when_the_search_begins(
    before: int,
) -> None:
    spring = 1774746000
    assert clock_changes(PARIS, spring - before, spring) == [(spring, 3600)]
    assert clock_changes(PARIS, spring - before, spring + 8 - before) == [(spring, 3600)]
    assert clock_changes(PARIS, spring - before, spring - 1) == []


def test_an_event_of_every_hour_of_one_year_has_its_last_one_on_new_years_eve() -> None:
    last = epoch("2026-12-31T23:00")
    event = parse("2026-*-* *:00", PARIS)
    assert (event.next_after(last - 1), event.next_after(last)) == (last, None)
    assert occurrences("2026-*-* *:00", PARIS, last - 7200, last + 86400) == [last - 3600, last]
