"""The lab's reader of calendar events: PVE's own cases, and beside the service's reader, which is
written independently of it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies.model import PolicyError
from policies.pve import calendar_event
from pvelab.calendar_event import BadEvent, read
from tests.unit.policies.pve.test_calendar_event import WRONG

PARIS = "Europe/Paris"
HOUR, DAY = 3600, 86400
# What PVE's own reader is held to (pve-common test/calendar_event_test.pl): event, seconds of 1970,
# UTC, and the next ones.
PVE_CASES = [
    ("*", [(0, 60), (30, 60), (59, 60), (60, 120)]),
    ("*/10", [(0, 600), (599, 600), (600, 1200), (3000, 3600)]),
    ("*/12:0", [(10, 12 * HOUR), (13 * HOUR, 24 * HOUR)]),
    (
        "1/12:0/15",
        [(0, HOUR), (HOUR, HOUR + 900), (HOUR + 960, HOUR + 1800), (HOUR + 2700, 13 * HOUR)],
    ),
    ("1/12:0/15", [(13 * HOUR + 1, 13 * HOUR + 900), (13 * HOUR + 2700, 25 * HOUR)]),
    ("1,4,6", [(0, 60), (60, 240), (300, 360), (360, HOUR + 60)]),
    ("Mon", [(0, 4 * DAY), (4 * DAY, 11 * DAY), (11 * DAY, 18 * DAY)]),
    ("sat..sun", [(0, 2 * DAY), (2 * DAY, 3 * DAY), (3 * DAY, 9 * DAY)]),
    ("22/1:0", [(0, 22 * HOUR), (22 * HOUR, 23 * HOUR), (22 * HOUR + 3540, 23 * HOUR)]),
    ("*/2:*", [(0, 60), (HOUR, 2 * HOUR), (2 * HOUR, 2 * HOUR + 60)]),
    ("20..22:*/30", [(0, 20 * HOUR), (20 * HOUR, 20 * HOUR + 1800), (22 * HOUR + 1800, 44 * HOUR)]),
]
PVE_REFUSES = [
    ("Fri..Mon", "wrong order in range 'fri..mon'"),
    ("61", "value '61' out of range"),
    ("*/61", "repetition '61' out of range"),
    ("0..80", "value '80' out of range"),
]
UNDERSTOOD = [
    "21:00", "daily", "weekly", "monthly", "quarterly", "semiannually", "semi-annually", "annually", "yearly",
    "minutely", "hourly", "30", "*/5", "*:*/5", "mon..wed 30/10", "mon..fri 22:30", "sat,sun", "8..17,22:0/15",
    "fri 12..13:5/20", "sat *-1..7 15:00", "*-*-1..7 15:00", "*/2-1 04:00", "2026-12-31 23:59:58", "*:*:*", "0..23:59",
    "02:30", "2,3:30", "wed,monday..tue,fri", "*-2-29",
]  # fmt: skip
ZONES = [
    "UTC",
    PARIS,
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
]


@pytest.mark.parametrize(("text", "pairs"), PVE_CASES)
def test_an_event_comes_next_when_pve_says(text: str, pairs: list[tuple[int, int]]) -> None:
    assert [(after, read(text).next_after(after, ZoneInfo("UTC"))) for after, _ in pairs] == pairs


def test_a_repetition_within_a_range_of_one_number_is_that_number() -> None:
    assert read("5..5/2:0").next_after(5 * HOUR, ZoneInfo("UTC")) == DAY + 5 * HOUR


@pytest.mark.parametrize(("text", "words"), PVE_REFUSES)
def test_what_pve_refuses_is_refused_in_its_words(text: str, words: str) -> None:
    with pytest.raises(BadEvent) as refused:
        read(text)
    assert str(refused.value) == words


# PVE repeats years as well, which the service's reader does not
REFUSED_BY_BOTH = [text for text in WRONG if text != "*/2-1-1"]


@pytest.mark.parametrize(
    "text",
    [*REFUSED_BY_BOTH, "*/5,3", "mon,", "mon-fri", "*,5", "/5", "5/", "1..", "mon 1-1 1:0 x"],
)
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(BadEvent):
        read(text)


@pytest.mark.parametrize("text", ["*-2-30", "2019-1-1", "sun 2026-01-01"])
def test_an_event_that_never_comes_again_has_no_next_time(text: str) -> None:
    assert read(text).next_after(1_780_000_000, ZoneInfo(PARIS)) is None


def test_nothing_comes_after_the_last_year_that_systemd_knows() -> None:
    last = int(datetime(2199, 12, 31, 23, tzinfo=ZoneInfo(PARIS)).timestamp())
    assert read("hourly").next_after(last - 1, ZoneInfo(PARIS)) == last
    assert read("hourly").next_after(last, ZoneInfo(PARIS)) is None
    assert read("hourly").next_after(10**12, ZoneInfo(PARIS)) is None


def in_the_service(text: str, zone: str, after: int) -> int | None:
    """When the service's own reader says that an event comes next."""
    return calendar_event.parse(text, zone).next_after(after)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("text", UNDERSTOOD)
def test_both_readers_agree_through_a_year(text: str, zone: str) -> None:
    event, place = read(text), ZoneInfo(zone)
    for hours in range(0, 366 * 24, 71):
        after = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) + hours * HOUR + 17
        assert event.next_after(after, place) == in_the_service(text, zone, after), (
            datetime.fromtimestamp(after, place)
        )


def fields(first: int, last: int) -> st.SearchStrategy[str]:
    """A field of an event: everything, a repetition of everything, or a list of numbers, ranges and
    repetitions.
    """
    number = st.integers(first, last)
    step = st.integers(1, max(1, last - first))
    pair = st.tuples(number, number).map(sorted)
    one = number.map(str) | pair.map(lambda p: f"{p[0]}..{p[1]}")
    # 5..5/2 is left out: the service's reader (oncalendar) takes it for 5/2, and in PVE it is 5
    wide = pair.filter(lambda p: p[0] < p[1]).map(lambda p: f"{p[0]}..{p[1]}")
    stepped = st.tuples(number.map(str) | wide, step).map(lambda p: f"{p[0]}/{p[1]}")
    lists = st.lists(one | stepped, min_size=1, max_size=3).map(",".join)
    return st.just("*") | step.map(lambda n: f"*/{n}") | lists


def joined(separator: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(separator.join)


NAMES = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
SPANS = (
    st.tuples(st.integers(0, 6), st.integers(0, 6))
    .map(sorted)
    .map(lambda p: f"{NAMES[p[0]]}..{NAMES[p[1]].title()}")
)
WEEKDAYS = st.lists(st.sampled_from(NAMES) | SPANS, min_size=1, max_size=3).map(",".join)
MONTH_AND_DAY = joined("-", fields(1, 12), fields(1, 31))
YEARS = (
    st.just("*")
    | st.integers(2024, 2032).map(str)
    | st.integers(2024, 2028).map(lambda year: f"{year}..{year + 3}")
)
DATES = MONTH_AND_DAY | joined("-", YEARS, MONTH_AND_DAY)
TIMES = (
    fields(0, 59)
    | joined(":", fields(0, 23), fields(0, 59))
    | joined(":", fields(0, 23), fields(0, 59), st.just("0") | fields(0, 59))
)
EVENTS = st.one_of(
    TIMES,
    DATES,
    WEEKDAYS,
    joined(" ", WEEKDAYS, TIMES),
    joined(" ", DATES, TIMES),
    joined(" ", WEEKDAYS, DATES, TIMES),
)
# The days on which a clock of ZONES is changed, and days on which none is. The service knows no
# year before 1970.
TURNS = [(3, 8), (3, 29), (4, 5), (10, 4), (10, 25), (11, 1), (6, 15), (12, 31)]
NEAR_A_TURN = st.tuples(st.sampled_from(TURNS), st.integers(-2 * DAY, 2 * DAY)).map(
    lambda near: int(
        (datetime(2026, *near[0], tzinfo=UTC) + timedelta(seconds=near[1])).timestamp()
    )
)
INSTANTS = NEAR_A_TURN | st.integers(2 * DAY, int(datetime(2040, 1, 1, tzinfo=UTC).timestamp()))


@given(
    EVENTS.filter(lambda text: len(text) <= calendar_event.MAX_LENGTH),
    st.sampled_from(ZONES),
    INSTANTS,
)
@example("*:*:*", PARIS, int(datetime(2026, 10, 25, 0, 59, 59, tzinfo=UTC).timestamp()))
@example("0:15", "America/Havana", int(datetime(2026, 3, 8, 4, tzinfo=UTC).timestamp()))
def test_both_readers_agree_on_whatever_is_an_event(text: str, zone: str, after: int) -> None:
    try:
        expected = in_the_service(text, zone, after)
    except PolicyError as error:
        assert "never happens" in error.message
        assert read(text).next_after(0, ZoneInfo(zone)) is None
        return
    assert read(text).next_after(after, ZoneInfo(zone)) == expected


@pytest.mark.parametrize("name", ["America/St_Johns", "America/Sao_Paulo"])
def test_a_clock_that_goes_back_over_midnight_skips_nothing(name: str) -> None:
    place, day = (
        ZoneInfo(name),
        {"America/St_Johns": date(2006, 10, 28), "America/Sao_Paulo": date(2018, 2, 17)}[name],
    )
    after = int(datetime(day.year, day.month, day.day, 22, 50, tzinfo=place).timestamp())
    shown = [
        at
        for at in range(after + 1, after + 4 * HOUR)
        if datetime.fromtimestamp(at, place).minute == at % 60 == 0
    ]
    event = read("hourly")
    found: list[int] = []
    while len(found) < len(shown):
        after = event.next_after(after, place) or 0
        found.append(after)
    assert found == shown
