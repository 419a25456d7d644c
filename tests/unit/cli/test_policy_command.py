"""``backupsvc policy check|show|next``."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from backupsvc.cli.policy import app, span
from backupsvc.clock import SystemClock
from backupsvc.errors import UsageError
from policies.amounts import UNITS
from policies.model import PolicyError
from policies.site import load_policy
from workers.schedule import beat_schedule

RUNNER = CliRunner()
TEXT = """
site: home
timezone: Europe/Paris
jobs:
  nightly: {schedule: "21:00", keep: keep-last=3}
  hourly: {schedule: hourly, guests: [105]}
guests:
  105: {name: Kanboard, checks: [agent]}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "home.yaml"
    file.write_text(TEXT, encoding="utf-8")
    return file


def run(*words: str | Path) -> Result:
    return RUNNER.invoke(app, [str(word) for word in words])


def test_a_right_policy_is_summed_up(site: Path) -> None:
    result = run("check", site)
    assert result.exit_code == 0
    assert "the policy of home is right" in result.stdout
    assert "job nightly: 21:00 Europe/Paris, all guests, to local, keep-last=3" in result.stdout
    assert "VMID 9000-9099, no isolated bridge: links down" in result.stdout


def test_where_archives_are_copied_to_is_said_and_shown(site: Path) -> None:
    site.write_text(
        f"{TEXT}copies: {{usb: {{kind: directory, path: /mnt/usb, mounted: true}}}}\n",
        encoding="utf-8",
    )
    assert "copies to usb: /mnt/usb" in run("check", site).stdout
    assert "/mnt/usb" in run("show", site).stdout
    shown = json.loads(run("show", site, "--json").stdout)["copies"]
    place = {"kind": "directory", "path": "/mnt/usb", "mounted": True}
    assert shown == [
        {
            "name": "usb",
            "bandwidth": None,
            "immutable": False,
            "allow_root": False,
            **place,
        }
    ]


def test_a_policy_whose_guests_no_test_can_prove_is_right_with_warnings(site: Path) -> None:
    result = run("check", site)
    assert result.exit_code == 0
    assert (
        "warning: no-service-check: 105 Kanboard: The checks of this guest (agent) are signs of "
        "life only" in result.stdout
    )
    assert "warning: no-service-check: every guest that is not listed:" in result.stdout
    warnings = json.loads(run("check", site, "--json").stdout)["warnings"]
    assert [(one["finding"], one["vmid"]) for one in warnings] == [
        ("no-service-check", 105),
        ("no-service-check", None),
    ]
    assert all("proof-rung: booted" in one["action"] for one in warnings)


@pytest.mark.parametrize(
    "tier",
    [
        "{standard: {proof-rung: booted}}",
        "{standard: {}, desk: {proof-rung: booted}}\ndefault-tier: desk",
    ],
)
def test_a_policy_that_wants_no_more_than_booted_is_right_without_a_warning(
    site: Path, tier: str
) -> None:
    site.write_text(f"{TEXT}tiers: {tier}\n", encoding="utf-8")
    assert json.loads(run("check", site, "--json").stdout)["warnings"] == []


def test_check_answers_programs_too(site: Path) -> None:
    answer = json.loads(run("check", site, "--json").stdout)
    assert (answer["valid"], answer["site"], answer["jobs"], answer["guests"]) == (
        True,
        "home",
        2,
        1,
    )


def test_a_wrong_policy_is_refused_with_file_and_line(site: Path) -> None:
    site.write_text("site: home\njobs: {nightly: {keap: keep-last=3}}", encoding="utf-8")
    error = run("check", site).exception
    assert isinstance(error, PolicyError)
    assert str(error).startswith(f"{site}:2: ") and "did you mean 'keep'?" in str(error)


def test_a_policy_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    missing = run("check", tmp_path / "none.yaml").exception
    assert isinstance(missing, UsageError) and "No such file" in missing.message
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")
    error = run("check", binary).exception
    assert isinstance(error, UsageError) and "not UTF-8" in error.message


def test_without_a_file_the_policy_in_force_is_read(
    site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("BACKUPSVC_POLICY", str(site))
    assert json.loads(run("check", "--json").stdout)["source"] == str(site)


def test_without_any_policy_the_next_action_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("BACKUPSVC_POLICY", raising=False)
    error = run("check").exception
    assert isinstance(error, UsageError) and "BACKUPSVC_POLICY" in error.hint


def test_show_fills_in_the_defaults(site: Path) -> None:
    answer = json.loads(run("show", site, "--json").stdout)
    assert answer["jobs"][0]["compress"] == "zstd"
    assert answer["scratch"]["first"] == 9000
    assert answer["tiers"]["standard"]["copies"] == 1
    assert answer["guests"][0]["checks"] == [
        {"kind": "agent", "name": "agent", "options": {}, "timeout": 10}
    ]


def test_show_prints_tables_for_people(site: Path) -> None:
    output = run("show", site).stdout
    assert "site home, time zone Europe/Paris" in output
    assert "Kanboard" in output and "Tiers (default: standard)" in output


def test_next_lists_what_comes_soonest_first_in_local_time(site: Path) -> None:
    answer = json.loads(run("next", site, "--days", "2", "--json").stdout)
    coming = answer["occurrences"]
    assert [one["epoch"] for one in coming] == sorted(one["epoch"] for one in coming)
    nights = [one for one in coming if one["job"] == "nightly"]
    assert len(nights) == 2
    assert all(
        datetime.fromtimestamp(one["epoch"], ZoneInfo("Europe/Paris")).hour == 21 for one in nights
    )
    assert all(" 21:00:00 CE" in one["local"] and one["at"].endswith("Z") for one in nights)


def test_next_says_which_occurrences_beat_has_a_crontab_entry_for(site: Path) -> None:
    coming = json.loads(run("next", site, "--days", "2", "--json").stdout)["occurrences"]
    assert {(one["job"], one["opened_by"]) for one in coming} == {
        ("nightly", "crontab entry"),
        ("hourly", "tick"),
    }


def test_law_9_what_next_calls_a_crontab_entry_is_one_of_beats(site: Path) -> None:
    entries = beat_schedule(load_policy(TEXT, "home.yaml"), 30.0)
    assert "job nightly" in entries and "job hourly" not in entries


def at(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the service's clock. (freezegun loses which of two 02:00 it is, in
    ``fromtimestamp``.)
    """
    stopped = datetime.fromisoformat(moment).timestamp()
    monkeypatch.setattr(SystemClock, "now", lambda self: stopped)


def test_next_marks_the_day_on_which_clocks_change(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at("2026-10-23T12:00:00+00:00", monkeypatch)
    answer = json.loads(run("next", site, "--json").stdout)
    marked = {one["local"][:14] for one in answer["occurrences"] if one["clock_change"]}
    assert marked == {"Sun 2026-10-25"}
    assert [change["words"] for change in answer["clock_changes"]] == ["clocks go back by 1h"]
    assert "Sun 2026-10-25 02:00:00 CET: clocks go back by 1h" in run("next", site).stdout


def test_next_marks_the_rest_of_a_day_on_which_clocks_have_changed(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at("2026-10-25T12:00:00+00:00", monkeypatch)
    answer = json.loads(run("next", site, "--days", "1", "--json").stdout)
    assert {one["local"][:14] for one in answer["occurrences"] if one["clock_change"]} == {
        "Sun 2026-10-25"
    }
    assert answer["clock_changes"] == []


def test_next_says_when_nothing_comes(site: Path) -> None:
    site.write_text("site: home", encoding="utf-8")
    assert run("next", site).stdout == "no job is due within 7 days\n"


@given(st.integers(1, 400 * 86400))
def test_a_duration_is_shown_as_a_policy_would_write_it(seconds: int) -> None:
    assert (
        load_policy(f"site: home\nmax-clock-drift: {span(seconds)}", "x").max_clock_drift == seconds
    )


def test_durations_are_shown_in_the_largest_unit_that_fits() -> None:
    assert [span(seconds) for seconds in (90, 36 * 3600, 7 * UNITS["d"], 5400)] == [
        "1m30s",
        "36h",
        "7d",
        "1h30m",
    ]
