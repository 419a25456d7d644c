"""Which kept configuration a date means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from policies.config_dates import pick
from policies.model import PolicyError


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


EARLY, LATE, NEXT = at("2026-03-09 20:00"), at("2026-03-09 22:59:59"), at("2026-03-09 23:00")
TIMES = [LATE, EARLY, NEXT]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("latest", NEXT),
        ("2026-03-09", LATE),
        ("2026-03-10", NEXT),
        ("2026-03-11", None),
        ("20260309T200000Z", EARLY),
        ("2026-03-09T20:00:00Z", EARLY),
        ("20260309T200001Z", None),
    ],
)
def test_a_day_is_its_last_set_in_the_sites_zone_and_a_time_is_itself(
    said: str, found: int | None
) -> None:
    assert pick(said, TIMES, "Europe/Paris") == found


def test_where_nothing_is_kept_nothing_is_the_latest() -> None:
    assert pick("latest", [], "UTC") is None


@pytest.mark.parametrize("said", ["yesterday", "", "2026-13-01", "20261301T000000Z", "../x"])
def test_what_is_no_date_is_said(said: str) -> None:
    with pytest.raises(PolicyError, match="is no"):
        pick(said, TIMES, "UTC")
