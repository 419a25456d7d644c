"""Lines of a node's system log, which have a local time and no year."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from policies.pve.system_log import read, written

PARIS = ZoneInfo("Europe/Paris")
NOW = int(datetime(2026, 3, 9, 20, 0, tzinfo=UTC).timestamp())


def when(line: str, now: int = NOW) -> datetime:
    found = read(line, PARIS, now)
    assert found is not None
    assert found[1:] == ("pve-ha-crm", "node 'clovis': gone: really")
    return datetime.fromtimestamp(found[0], PARIS)


def line(stamp: str) -> str:
    return f"{stamp} lge-pve02 pve-ha-crm[1409]: node 'clovis': gone: really"


@pytest.mark.parametrize(
    ("stamp", "told"),
    [
        ("Mar 09 20:59:59", "2026-03-09T20:59:59+01:00"),
        ("Mar  9 20:59:59", "2026-03-09T20:59:59+01:00"),
        ("Jul 14 00:00:01", "2025-07-14T00:00:01+02:00"),  # else it would be to come
        ("Dec 31 23:00:00", "2025-12-31T23:00:00+01:00"),
        ("Feb 29 10:00:00", "2024-02-29T10:00:00+01:00"),  # there was none since
        ("Mar 10 08:00:00", "2026-03-10T08:00:00+01:00"),  # clocks differ by less than a day
    ],
)
def test_a_line_is_of_the_latest_year_that_is_not_to_come(stamp: str, told: str) -> None:
    assert when(line(stamp)).isoformat() == told


def test_a_line_of_last_year_is_read_in_january_too() -> None:
    january = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    assert when(line("Jan 01 01:30:00"), january).year == 2026
    assert when(line("Dec 31 23:30:00"), january).year == 2025


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no content",
        "-- Boot 4b1d --",
        "Foo 09 20:59:59 n pve-ha-crm[1]: x",
        "Mar 09 20:59 n pve-ha-crm[1]: x",
        "Feb 30 20:59:59 n pve-ha-crm[1]: x",
        "Mar 09 25:59:59 n pve-ha-crm[1]: x",
    ],
)
def test_what_is_no_such_line_is_none(text: str) -> None:
    assert read(text, PARIS, NOW) is None


def test_a_daemon_without_a_process_id_is_read_and_a_time_is_asked_for_as_pve_takes_it() -> None:
    found = read("Mar 09 20:59:59 n kernel: x: y", PARIS, NOW)
    assert found is not None and found[1:] == ("kernel", "x: y")
    assert written(NOW, PARIS) == "2026-03-09 21:00:00"
