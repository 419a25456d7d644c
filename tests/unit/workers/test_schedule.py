"""Beat's entries: 21:00 is 21:00 in Paris, on both sides of both clock changes."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path

import pytest
from celery import Celery

from backupsvc.settings import Settings
from workers.schedule import beat_schedule, daily, site_policy

LANGEO = Path(__file__).parents[3] / "policies" / "sites" / "langeo.yaml"


def test_the_reference_site_gets_a_tick_and_an_entry_at_21_00() -> None:
    entries = beat_schedule(site_policy(Settings(policy=LANGEO)), 30.0)
    assert entries["tick"]["schedule"] == 30.0
    assert (entries["job nightly"]["schedule"].hour, entries["job nightly"]["schedule"].minute) == (
        {21},
        {0},
    )


def test_without_a_policy_there_are_only_the_tick_and_the_canaries() -> None:
    assert set(beat_schedule(None, 30.0)) == {"tick", "canary steps", "canary polls"}


def test_another_scheduler_could_write_the_entries_to_its_file() -> None:
    assert pickle.loads(pickle.dumps(beat_schedule(site_policy(Settings(policy=LANGEO)), 30.0)))


@pytest.mark.parametrize(
    ("schedule", "plain"),
    [("21:00", True), ("mon..fri 21:00", False), ("*:0/15", False), ("24:00", False)],
)
def test_only_a_plain_time_of_day_becomes_a_crontab(schedule: str, plain: bool) -> None:
    assert (daily(schedule) is not None) is plain


@pytest.mark.parametrize(
    ("day", "at_utc"),
    [
        ("2026-03-28", "2026-03-28T20:00:00"),  # winter time
        ("2026-03-29", "2026-03-29T19:00:00"),  # the clocks went forward in the night before
        ("2026-10-24", "2026-10-24T19:00:00"),
        ("2026-10-25", "2026-10-25T20:00:00"),  # the clocks went back
    ],
)
def test_21_00_in_paris_is_due_at_21_00_in_paris(day: str, at_utc: str) -> None:
    app = Celery(set_as_current=False)
    app.conf.timezone = "Europe/Paris"
    entry = daily("21:00")
    assert entry is not None
    entry.app = app
    due = datetime.fromisoformat(at_utc).replace(tzinfo=UTC)
    noon = datetime.fromisoformat(f"{day}T11:00:00").replace(tzinfo=UTC)
    entry.nowfun = lambda: noon.astimezone(app.timezone)
    assert entry.remaining_estimate(noon).total_seconds() == pytest.approx(
        (due - noon).total_seconds(), abs=1
    )
