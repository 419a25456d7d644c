"""A page of the archives: the newest first, what is missing, out of reach or older, and how one
guest's are found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, text
from typer.testing import CliRunner, Result

from backupsvc import bootstrap
from backupsvc.cli.catalog import app
from backupsvc.errors import UsageError
from backupsvc.inventory.paging import Line, page
from tests.fakes.made import archive
from tests.unit.operations.test_choosing import listing as put
from tests.unit.operations.test_choosing import site as site
from tests.unit.operations.test_survey import ELSEWHERE, alive, dead, known
from tests.unit.operations.worlds import World

DAYS = [archive(108, day) for day in range(1, 10)]


def shown(lines: tuple[Line, ...]) -> list[tuple[int, bool, bool]]:
    return [(one.archive.ctime, one.missing, one.unreachable) for one in lines]


@contextmanager
def statements(site: World) -> Iterator[list[str]]:
    """The statements that the catalog sends meanwhile."""
    seen: list[str] = []
    engine: Any = site.catalog.archives._database._engine

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("offline", [False, True])
def test_the_newest_are_shown_first_and_how_many_more_there_are(site: World, offline: bool) -> None:
    alive(put(site), *DAYS)
    page(site, limit=1)  # so that they are remembered
    found = page(site, limit=3, offline=offline)
    assert (
        shown(found.archives) == [(one.ctime, False, False) for one in reversed(DAYS[-3:])]
        and found.more == 6
    )
    found = page(site, limit=3, since=DAYS[7].ctime, offline=offline)
    assert (
        shown(found.archives) == [(DAYS[8].ctime, False, False), (DAYS[7].ctime, False, False)]
        and found.more == 0
    )
    assert page(site, 109, limit=3, offline=offline).archives == ()


def test_what_is_no_longer_listed_is_missing_and_what_was_not_listed_is_out_of_reach(
    site: World,
) -> None:
    known(site, *DAYS, ELSEWHERE)
    alive(put(site), *DAYS[:8])
    found = page(site, limit=100)
    assert [one.archive for one in found.archives if one.missing] == [
        one
        for one in site.catalog.archives.find()
        if one.node == ELSEWHERE.node or one.volid == DAYS[8].volid
    ]
    dead(site.pve, ELSEWHERE)
    found = page(site, limit=100)
    assert {one.archive.node for one in found.archives if one.unreachable} == {"clovis"} and len(
        found.blind
    ) == 1
    assert not any(one.missing for one in found.archives)
    assert len(site.catalog.archives.find()) == 10, "a list records nothing as gone"


@pytest.mark.slow
def test_a_list_asks_the_catalog_a_few_things_a_storage_however_many_archives_there_are(
    site: World,
) -> None:
    alive(put(site), *DAYS[:2])
    page(site, limit=5)
    with statements(site) as few:
        page(site, limit=5)
    alive(site.pve, *DAYS)
    page(site, limit=5)
    with statements(site) as many:
        page(site, limit=5)
    assert len(many) == len(few)


def test_one_guests_archives_are_found_by_its_vmid(site: World) -> None:
    alive(put(site), *DAYS)
    with statements(site) as sent:
        page(site, 108, limit=5)
        page(site, 108, limit=5)
    asked = [one for one in sent if "FROM archive" in one and one.startswith("SELECT")]
    assert asked
    with site.catalog.archives._database.read() as connection:
        for statement in asked:
            marks = statement.count("?")
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", (1,) * marks).all()
            index = "ix_copy" if "FROM copy" in statement else "ix_archive"
            assert any(f"{index}_vmid" in row[3] for row in plan), (statement, plan)
            assert not {"SCAN archive", "SCAN copy"} & {row[3] for row in plan}, (statement, plan)
        assert connection.execute(text("select count(*) from archive")).scalar_one() == 9


def test_a_date_is_local_midnight_and_anything_else_is_refused(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def service(*, foreground: bool = True) -> Iterator[World]:
        yield site

    monkeypatch.setattr(bootstrap, "open_service", service)
    site.settings = SimpleNamespace(simulated=False)
    site.policy = replace(site.policy, timezone="Europe/Paris")
    midnight = 1_772_319_600
    day_before, that_day = (
        replace(archive(108, second), ctime=midnight - 1 + second) for second in (0, 1)
    )
    known(site, day_before, that_day)

    def listed(since: str) -> Result:
        words = ["list", "--offline", "--json", "--since", since]
        return CliRunner().invoke(app, words)

    told = json.loads(listed("2026-03-01").stdout)
    assert [one["volid"] for one in told["archives"]] == [that_day.volid]
    for text_ in ("2026-13-01", "yesterday", ""):
        assert isinstance(listed(text_).exception, UsageError)
