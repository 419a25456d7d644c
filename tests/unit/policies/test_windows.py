"""When scheduled restore tests may run, through clock changes too."""

from __future__ import annotations

from datetime import datetime
from itertools import islice, pairwise
from types import MappingProxyType
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import windows
from policies.model import Job, Policy, PolicyError, Scratch, Window
from policies.pve import calendar_event
from policies.windows import MARGIN, Slot

PARIS = ZoneInfo("Europe/Paris")


def at(text: str, fold: int = 0) -> int:
    """Given a local time in Paris, return epoch seconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=PARIS, fold=fold).timestamp())


def shown(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, PARIS).strftime("%Y-%m-%d %H:%M %Z")


def policy(window: str | None, *schedules: str) -> Policy:
    jobs = tuple(Job(f"j{number}", schedule, "local") for number, schedule in enumerate(schedules))
    scratch = Scratch(9000, 9099, window=windows.parse(window) if window else None)
    return Policy(
        "s",
        "Europe/Paris",
        "en",
        jobs,
        MappingProxyType({}),
        MappingProxyType({}),
        scratch,
        "standard",
    )


def span(window: str, now: int) -> Slot:
    return windows.span(windows.parse(window), "Europe/Paris", now)


def slot(window: str | None, now: int, *schedules: str) -> Slot:
    found = windows.slot(policy(window, *schedules), now)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "opens", "closes", "days"),
    [
        ("01:00-06:00", 60, 360, tuple(range(7))),
        ("22:00 - 05:30", 1320, 330, tuple(range(7))),
        ("mon..fri 22:00-05:30", 1320, 330, (0, 1, 2, 3, 4)),
        ("Sat,sun 00:00-24:00", 0, 1440, (5, 6)),
        ("fri..mon 01:00-02:00", 60, 120, (0, 4, 5, 6)),
    ],
)
def test_a_window_is_read(text: str, opens: int, closes: int, days: tuple[int, ...]) -> None:
    found = windows.parse(text)
    assert (found.opens, found.closes, found.days) == (opens, closes, days)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01:00",
        "1-6",
        "01:00-25:00",
        "24:00-06:00",
        "01:60-02:00",
        "01:00-01:00",
        "xyz 01:00-02:00",
    ],
)
def test_what_is_no_window_is_refused_and_told_what_is_allowed(text: str) -> None:
    with pytest.raises(PolicyError, match="allowed: HH:MM-HH:MM"):
        windows.parse(text)


def test_a_window_that_passes_midnight_belongs_to_the_day_on_which_it_opens() -> None:
    friday = "fri 22:00-05:00"  # 2026-03-13 is a Friday
    found = span(friday, at("2026-03-14 04:59"))
    assert (shown(found.opens), shown(found.closes or 0)) == (
        "2026-03-13 22:00 CET",
        "2026-03-14 05:00 CET",
    )
    assert found.is_open(at("2026-03-14 04:59"))
    assert not span(friday, at("2026-03-14 05:00")).is_open(at("2026-03-14 05:00"))
    assert not span(friday, at("2026-03-14 23:00")).is_open(at("2026-03-14 23:00"))


@pytest.mark.parametrize(
    ("window", "opens", "closes"),
    [  # on 2026-03-29 there is no 02:00 to 03:00
        ("01:00-06:00", "2026-03-29 01:00 CET", "2026-03-29 06:00 CEST"),
        ("01:00-02:30", "2026-03-29 01:00 CET", "2026-03-29 03:00 CEST"),
        ("02:30-06:00", "2026-03-29 03:00 CEST", "2026-03-29 06:00 CEST"),
        ("02:10-02:50", "2026-03-30 02:10 CEST", "2026-03-30 02:50 CEST"),
    ],
)
def test_in_spring_the_jump_opens_and_closes(window: str, opens: str, closes: str) -> None:
    found = span(window, at("2026-03-29 00:30"))
    assert (shown(found.opens), shown(found.closes or 0)) == (opens, closes)


@pytest.mark.parametrize(
    ("window", "opens", "closes"),
    [  # on 2026-10-25 02:00 to 03:00 comes twice
        ("01:00-06:00", "2026-10-25 01:00 CEST", "2026-10-25 06:00 CET"),
        ("01:00-02:30", "2026-10-25 01:00 CEST", "2026-10-25 02:30 CEST"),
        ("02:30-06:00", "2026-10-25 02:30 CEST", "2026-10-25 06:00 CET"),
    ],
)
def test_in_autumn_the_first_of_two_hours_counts(window: str, opens: str, closes: str) -> None:
    found = span(window, at("2026-10-25 00:30"))
    assert (shown(found.opens), shown(found.closes or 0)) == (opens, closes)


def test_a_window_closed_by_the_first_hour_does_not_open_in_the_second() -> None:
    again = at("2026-10-25 02:15", fold=1)
    assert not span("01:00-02:30", again).is_open(again)


def test_tests_are_over_before_the_next_backup_starts() -> None:
    found = slot("01:00-06:00", at("2026-03-10 01:30"), "21:00", "04:00")
    assert found == Slot(at("2026-03-10 01:30"), at("2026-03-10 04:00") - MARGIN)


def test_once_that_backup_has_started_tests_may_go_on() -> None:
    found = slot("01:00-06:00", at("2026-03-10 03:57"), "04:00")
    assert found == Slot(at("2026-03-10 04:00"), at("2026-03-10 06:00"))


def test_without_a_window_only_backups_close() -> None:
    now = at("2026-03-10 22:00")
    assert slot(None, now, "21:00") == Slot(now, at("2026-03-11 21:00") - MARGIN)
    assert slot(None, now) == Slot(now, None)


def test_a_closed_window_names_the_next_opening() -> None:
    assert slot("01:00-06:00", at("2026-03-10 21:10"), "21:00") == Slot(
        at("2026-03-11 01:00"), at("2026-03-11 06:00")
    )


def test_backups_that_leave_no_room_leave_no_slot() -> None:
    assert windows.slot(policy(None, "*:0/5"), at("2026-03-10 21:00")) is None


def test_a_test_fits_if_it_is_over_before_the_close() -> None:
    found = Slot(1000, 2000)
    assert found.fits(1000, 1000) and not found.fits(1001, 1000) and not found.fits(900, 10)
    assert Slot(1000, None).fits(5000, 1e9)


def test_a_slot_is_open_from_its_first_second_to_the_one_before_its_last() -> None:
    found = Slot(1000, 2000)
    assert [found.is_open(now) for now in (999, 1000, 1999, 2000)] == [False, True, True, False]
    assert Slot(1000, None).is_open(10**12) and not Slot(1000, None).is_open(999)


def test_a_test_is_over_five_minutes_before_a_backup_and_none_begins_in_these() -> None:
    assert slot("01:00-06:00", at("2026-03-10 03:54"), "04:00").closes == at("2026-03-10 03:55")
    assert slot("01:00-06:00", at("2026-03-10 03:55"), "04:00") == Slot(
        at("2026-03-10 04:00"), at("2026-03-10 06:00")
    )


@pytest.mark.parametrize(
    ("text", "opens", "closes", "days"),
    [
        ("23:59-00:59", 1439, 59, tuple(range(7))),
        ("mon 00:00-00:01", 0, 1, (0,)),
        ("tue..tue,thu 10:00-11:00", 600, 660, (1, 3)),
        ("sun..mon 10:00-11:00", 600, 660, (0, 6)),
    ],
)
def test_the_edges_of_a_day_and_of_a_week_are_read(
    text: str, opens: int, closes: int, days: tuple[int, ...]
) -> None:
    found = windows.parse(text)
    assert (found.opens, found.closes, found.days) == (opens, closes, days)


@pytest.mark.parametrize(
    "text",
    [
        "mon.. 01:00-02:00",
        "mon..xyz 01:00-02:00",
        "xyz..mon 01:00-02:00",
        "01:00-24:01",
        "00:60-02:00",
    ],
)
def test_half_a_range_of_days_and_a_minute_too_many_are_refused(text: str) -> None:
    with pytest.raises(PolicyError, match="allowed: HH:MM-HH:MM"):
        windows.parse(text)


def test_the_jump_in_spring_opens_and_closes_to_the_second() -> None:
    jump = 1774746000
    assert span("02:30-06:00", at("2026-03-29 00:30")).opens == jump
    assert span("01:00-02:30", at("2026-03-29 00:30")).closes == jump


def test_wherever_in_the_hour_that_is_left_out_a_window_begins_it_opens_at_the_jump() -> None:
    opened = {span(f"02:{minute:02}-06:00", at("2026-03-29 00:30")).opens for minute in range(60)}
    assert opened == {1774746000}


def test_a_window_of_one_weekday_is_looked_for_until_it_comes() -> None:
    assert shown(span("wed 01:00-02:00", at("2026-03-12 12:00")).opens) == "2026-03-18 01:00 CET"
    assert shown(span("wed 01:00-02:00", at("2026-03-11 01:30")).opens) == "2026-03-11 01:00 CET"


NIGHTS = st.integers(at("2026-01-01 00:00"), at("2027-01-01 00:00"))
MINUTES = st.integers(0, 1439)


@given(NIGHTS, MINUTES, MINUTES, st.sets(st.integers(0, 6), min_size=1))
def test_a_span_is_never_over_never_empty_and_shows_its_own_ends(
    now: int, opens: int, closes: int, days: set[int]
) -> None:
    if opens == closes:
        return
    window = Window(opens, closes, tuple(sorted(days)), "")
    found = windows.span(window, "Europe/Paris", now)
    assert found.closes is not None and found.opens < found.closes and now < found.closes
    assert datetime.fromtimestamp(found.opens, PARIS).weekday() in days
    for moment, minutes in ((found.opens, opens), (found.closes, closes)):
        local = datetime.fromtimestamp(moment, PARIS)
        before = datetime.fromtimestamp(moment - 1, PARIS)
        jumped = local.utcoffset() != before.utcoffset()
        assert local.hour * 60 + local.minute == minutes or jumped


@given(
    NIGHTS,
    st.sampled_from([None, "01:00-06:00", "mon..fri 22:00-02:30"]),
    st.lists(st.sampled_from(["21:00", "02:30", "hourly"])),
)
def test_slots_follow_one_another_and_never_reach_into_a_backups_start(
    now: int, window: str | None, schedules: list[str]
) -> None:
    site = policy(window, *schedules)
    found = list(islice(windows.slots(site, now), 6))
    for first, second in pairwise(found):
        assert first.closes is not None and first.opens < first.closes <= second.opens
    for one in found:
        for schedule in schedules:
            backup = calendar_event.parse(schedule, "Europe/Paris").next_after(one.opens)
            assert one.closes is not None and backup is not None and one.closes <= backup - MARGIN
