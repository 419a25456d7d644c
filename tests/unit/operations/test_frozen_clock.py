"""The tick by the machine's own clock, which is stopped where it matters: around both clock
changes, and over an absence.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from types import MappingProxyType, SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from freezegun import freeze_time

from backupsvc.clock import SystemClock
from backupsvc.operations import build_engine, tick
from backupsvc.settings import Settings
from policies.model import Job, Policy, Scratch
from tests.unit.operations.worlds import World, world

PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture
def site(catalog_url: str) -> Iterator[World]:
    made = world(catalog_url)
    nothing: Any = MappingProxyType({})
    job = Job("nightly", "21:00", "local", window=4 * 3600)
    made.clock = SystemClock()  # type: ignore[assignment]
    made.policy = Policy(
        "s", "Europe/Paris", "en", (job,), nothing, nothing, Scratch(9000, 9009), "standard"
    )
    made.settings = Settings.model_construct()
    made.pve = SimpleNamespace(
        cluster=SimpleNamespace(guests=lambda max_age=0.0: [], nodes=lambda max_age=0.0: [])
    )
    made.engine = build_engine(made, foreground=False)
    yield made
    made.catalog.close()


def ticks(site: World, first: str, last: str, minutes: int = 10) -> None:
    """A tick at each of these moments, told in Paris time as the wall clock shows it."""
    now, end = (
        datetime.fromisoformat(text).replace(tzinfo=PARIS).astimezone(ZoneInfo("UTC"))
        for text in (first, last)
    )
    # stopped once and moved: to stop it takes longer than a tick
    with freeze_time(now.replace(tzinfo=None)) as frozen:
        while now <= end:
            frozen.move_to(now.replace(tzinfo=None))
            tick.told(site, tick.tick(site))
            now += timedelta(minutes=minutes)


def nights(site: World) -> list[tuple[str, str]]:
    """The nights by their local time, oldest first, each open or missed."""
    found = [
        (int(str(one.occurrence).partition("@")[2]), one)
        for one in site.catalog.operations.find(kind="night")
    ]
    return [
        (f"{datetime.fromtimestamp(at, PARIS):%m-%d %H:%M}", str(one.state))
        for at, one in sorted(found, key=lambda pair: pair[0])
    ]


@pytest.mark.parametrize("year", [2026, pytest.param(2027, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("month", "sunday"), [(3, {2026: 29, 2027: 28}), (10, {2026: 25, 2027: 31})]
)
def test_law_9_a_job_at_21_00_is_opened_once_a_day_at_21_00_over_a_clock_change(
    site: World, year: int, month: int, sunday: dict[int, int]
) -> None:
    day = sunday[year]
    ticks(site, f"{year}-{month:02d}-{day - 1} 20:30", f"{year}-{month:02d}-{day} 23:30")
    assert nights(site) == [
        (f"{month:02d}-{day - 1} 21:00", "open"),
        (f"{month:02d}-{day} 21:00", "open"),
    ]


def test_a_beat_that_was_down_from_20_50_to_21_40_opens_one_late_night(site: World) -> None:
    ticks(site, "2026-03-09 20:00", "2026-03-09 20:50")
    ticks(site, "2026-03-09 21:40", "2026-03-09 23:00")
    assert nights(site) == [("03-09 21:00", "open")]


def test_three_days_down_are_one_catch_up_and_two_missed(site: World) -> None:
    ticks(site, "2026-03-09 20:00", "2026-03-09 20:50")
    ticks(site, "2026-03-11 22:30", "2026-03-11 23:30")
    assert nights(site) == [
        ("03-09 21:00", "missed"),
        ("03-10 21:00", "missed"),
        ("03-11 21:00", "open"),
    ]
