"""``backupsvc catalog gaps``: the nights of each guest, by what the catalog knows of archives and
backups.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backupsvc import bootstrap
from backupsvc.catalog.operations import Kept
from backupsvc.cli.catalog import app
from backupsvc.operations import build_engine
from backupsvc.operations.backup.memory import FORM, BackupMemory
from policies.model import Archive, Job, OperationState
from tests.catalogs import new_catalog
from tests.fakes.made import archive
from tests.unit.operations.farm import at, policy
from tests.unit.operations.worlds import World, world

NIGHTLY = Job("nightly", "21:00", "local", guests=(107, 108))


def made(night: str, vmid: int = 108) -> Archive:
    return replace(
        archive(vmid, 1), volid=f"local:backup/{vmid}-{night}", ctime=at(f"{night}T21:01")
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    here = world(new_catalog(tmp_path))
    here.settings = SimpleNamespace(simulated=False)
    here.policy = policy(NIGHTLY)
    here.clock.time = at("2026-03-11T12:00")
    here.engine = build_engine(here)

    @contextmanager
    def service(*, foreground: bool = True) -> Iterator[Any]:
        yield here

    monkeypatch.setattr(bootstrap, "open_service", service)
    yield here
    here.catalog.close()


def backed_up(
    site: World,
    night: str,
    vmid: int = 108,
    state: OperationState | None = OperationState.DONE,
    *,
    unreadable: bool = False,
) -> None:
    """Let a night's backup have ended so; None: it is still at work."""
    noon, site.clock.time = site.clock.time, at(f"{night}T21:00")
    memory = BackupMemory("nightly", at=at(f"{night}T21:00"))
    operation, driver = site.engine.open("backup", vmid, memory), site.engine.executor.driver()
    assert operation and site.catalog.operations.claim(operation.id, driver)
    if state:
        ended = (
            replace(memory, archive=made(night, vmid)) if state is OperationState.DONE else memory
        )
        kept = Kept({"version": 99} if unreadable else FORM.write(ended), operation.book)
        site.catalog.operations.finish(
            operation.id, driver, state, kept=kept, error=None, note=None
        )
    site.clock.time = noon


def asked(*words: str) -> Result:
    return CliRunner().invoke(app, ["gaps", *words])


def told(*words: str) -> dict[int, dict[str, str]]:
    answer = json.loads(asked(*words, "--json").stdout)
    return {
        one["vmid"]: {night["date"]: night["state"] for night in one["nights"]}
        for one in answer["guests"]
    }


def test_each_night_of_each_guest_is_told(site: World) -> None:
    backed_up(site, "2026-03-08")
    backed_up(site, "2026-03-09", state=OperationState.FAILED)
    site.catalog.archives.observe(
        [made("2026-03-08", 107), made("2026-03-10", 107)], scope=[], at=int(site.clock.now())
    )
    found = told("--from", "2026-03-08", "--to", "2026-03-11")
    assert found[108] == dict(
        zip(
            ("2026-03-08", "2026-03-09", "2026-03-10", "2026-03-11"),
            ("archived", "failed", "missed", "not-due"),
            strict=True,
        )
    )
    assert list(found[107].values()) == ["archived", "missed", "archived", "not-due"]


def test_a_backup_that_is_still_at_work_is_no_gap(site: World) -> None:
    backed_up(site, "2026-03-10", state=None)
    assert told("--from", "2026-03-10", "--vmid", "108") == {
        108: {"2026-03-10": "not-due", "2026-03-11": "not-due"}
    }


def test_a_backup_that_a_newer_version_wrote_counts_by_how_it_ended(site: World) -> None:
    backed_up(site, "2026-03-08", unreadable=True)
    backed_up(site, "2026-03-09", state=OperationState.FAILED, unreadable=True)
    found = told("--from", "2026-03-08", "--to", "2026-03-10", "--vmid", "108")
    assert list(found[108].values()) == ["archived", "failed", "missed"]


def test_an_archive_that_retention_has_removed_since_was_there(site: World) -> None:
    site.catalog.archives.observe([made("2026-03-10")], scope=[], at=1)
    site.catalog.archives.mark_gone("clovis", made("2026-03-10").volid, int(site.clock.now()))
    gone = site.catalog.archives.find(vmid=108, gone=True)
    assert gone and told("--from", "2026-03-10", "--to", "2026-03-10", "--vmid", "108") == {
        108: {"2026-03-10": "archived"}
    }


def test_a_job_of_everybody_is_due_for_all_that_the_catalog_knows(site: World) -> None:
    site.policy = policy(replace(NIGHTLY, guests=None, exclude=(109,)))
    site.catalog.archives.observe(
        [made("2026-03-09"), made("2026-03-09", 109)], scope=[], at=int(site.clock.now())
    )
    found = told("--from", "2026-03-09", "--to", "2026-03-10")
    assert found == {
        108: {"2026-03-09": "archived", "2026-03-10": "missed"},
        109: {"2026-03-09": "archived", "2026-03-10": "not-due"},
    }


def test_the_calendar_has_a_letter_a_night_and_names_what_is_to_be_looked_at(site: World) -> None:
    backed_up(site, "2026-03-08")
    backed_up(site, "2026-03-09", state=OperationState.FAILED)
    answer = asked("--from", "2026-03-08", "--vmid", "108")
    assert answer.exit_code == 1
    assert "108  #|x- " in answer.stdout  # a week ends on Sunday, the 8th
    assert (
        "guest 108, 2026-03-09: failed" in answer.stdout
        and "guest 108, 2026-03-10: missed" in answer.stdout
    )


def test_a_calendar_without_gaps_exits_with_0(site: World) -> None:
    backed_up(site, "2026-03-10")
    assert asked("--from", "2026-03-10", "--vmid", "108").exit_code == 0


def test_thirty_nights_are_shown_where_none_are_named(site: World) -> None:
    nights = told("--vmid", "108")[108]
    assert len(nights) == 30 and list(nights)[-1] == "2026-03-11"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "yesterday"), "that is no date"),
        (("--from", "2026-03-12", "--to", "2026-03-10"), "are -1 nights"),
        (("--from", "1999-01-01"), "nights"),
    ],
)
def test_dates_that_make_no_calendar_are_refused_with_the_next_action(
    site: World, words: tuple[str, ...], said: str
) -> None:
    failed = asked(*words).exception
    assert failed is not None and said in str(failed)


def test_an_empty_catalog_says_so(site: World) -> None:
    site.policy = policy()
    answer = asked()
    assert answer.exit_code == 0 and "the catalog knows no archive and no backup" in answer.stdout
