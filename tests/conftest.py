"""What all tests share.

A catalog for whoever needs one: a test about what is kept there runs on SQLite and on PostgreSQL,
others on SQLite alone. And
figures: what a test counted is printed at the end of the run, also where xdist swallows its output.
And long tests come first.

And signals: what a test starts finds them as a user's processes do, whoever started the tests.

Hypothesis draws the same examples in every run, so that what is green stays green; ``make explore``
draws new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.catalogs import new_catalog
from tests.postgres import bare_database, drop_database, fresh_database, private_postgres
from tests.signals import children_get_defaults

children_get_defaults()

COUNTED = "counted"
SHARED = 600  # seconds; tests that are no longer share what their module prepares

settings.register_profile("same", derandomize=True, deadline=None)  # a busy machine is no fault
settings.register_profile("explore", derandomize=False, deadline=None)
settings.load_profile("same")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print every line that a test recorded as counted."""
    reports = [
        report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])
    ]
    lines = [
        str(text)
        for report in reports
        if report.when == "call"
        for name, text in report.user_properties
        if name == COUNTED
    ]
    if lines:
        terminalreporter.section("counted")
        for line in sorted(lines):
            terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the long tests out to the beginnings of the workers' shares: one that begins last makes
    all others wait for it.

    Those that share what their module prepares stay together, unless each is longer than that
    takes: on three workers it would be prepared three times. Those of real guests keep their order:
    a file's tests share one lab (``--dist loadfile``).
    """
    if all(item.get_closest_marker("lab") for item in items):
        return
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    rest, long = [item for item in items if not _length(item)], dict[str, list[pytest.Item]]()
    for item in sorted(items, key=_length, reverse=True):
        if _length(item):
            prepared = _prepared_by_its_module(item) if _length(item) <= SHARED else []
            long.setdefault(f"{item.path}: {prepared}" if prepared else item.nodeid, []).append(
                item
            )
    units, dealt = list(long.values()), list[pytest.Item]()
    for number in range(workers):
        share = [item for unit in units[number::workers] for item in unit]
        # xdist sends each worker as many as all others
        room = (len(items) - len(dealt)) // (workers - number) - len(share)
        dealt += share + rest[: max(room, 0)]
        del rest[: max(room, 0)]
    items[:] = dealt + rest


def _length(item: pytest.Item) -> float:
    """How many seconds a test that is marked as long may last on a busy machine, 0 of any other."""
    marked = item.get_closest_marker("long")
    return float(marked.args[0]) if marked is not None else 0


def _prepared_by_its_module(item: pytest.Item) -> list[str]:
    """The fixtures that a test shares with others of its module."""
    fixtures: dict[str, Any] = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    return sorted(
        name for name, found in fixtures.items() if any(one.scope == "module" for one in found)
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL that serves this session's tests."""
    with private_postgres() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Where a test's own catalog is, empty, for tests that are about no database: on either it
    would be the same.
    """
    return new_catalog(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a test's own catalog is, empty."""
    if request.param == "sqlite":
        yield new_catalog(tmp_path)
        return
    url = fresh_database(request.getfixturevalue("postgres"))
    yield url
    drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a test's own catalog will be: nothing is there yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/catalog.db"
        return
    url = bare_database(request.getfixturevalue("postgres"))
    yield url
    drop_database(url)
