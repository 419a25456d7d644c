"""What all tests share.

A catalog for whoever needs one: a test about what is kept there runs on SQLite and on PostgreSQL,
others on SQLite alone. And figures: what a test counted is printed at the end of the run, also
where xdist swallows its output. And what is one worker's work, and in which order.

And signals: what a test starts finds them as a user's processes do, whoever started the tests.

Hypothesis draws the same examples in every run, so that what is green stays green; ``make explore``
draws new ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
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


@pytest.hookimpl(tryfirst=True)  # before xdist reads the units, and before -m leaves any out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests into units, each the work of one worker (``--dist loadgroup``), the long ones
    first: one that begins last makes all others wait for it. What shares something that is prepared
    for it is a unit, and a test that is longer than preparing takes is one of its own.

    Tests of real guests alternate with other long ones, so that neither kind has both cores to
    itself, nor waits for them alone.
    """
    units = dict[str, list[pytest.Item]]()
    for item in items:
        alone = _length(item) > SHARED
        name = item.nodeid if alone else _shared_by(item)
        units.setdefault(name, []).append(item)
        if not alone:
            item.add_marker(pytest.mark.xdist_group(name))
    lab = [unit for unit in units.values() if unit[0].get_closest_marker("lab")]
    others = [unit for unit in units.values() if not unit[0].get_closest_marker("lab")]
    lab.sort(key=len, reverse=True)
    others.sort(key=lambda unit: max(map(_length, unit)), reverse=True)
    pairs = zip_longest(lab, others, fillvalue=list[pytest.Item]())
    items[:] = [item for pair in pairs for unit in pair for item in unit]


@pytest.hookimpl(tryfirst=True)  # before a worker sends it
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a test as pytest takes it, without the unit that xdist appended."""
    if report.nodeid.rfind("@") > report.nodeid.rfind("]"):
        report.nodeid = report.nodeid.rpartition("@")[0]


def _shared_by(item: pytest.Item) -> str:
    """The path of those that share with a test what is prepared for it: a package, else a file."""
    file, _, _ = item.nodeid.partition("::")
    fixtures: dict[str, Any] = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    shared = any(one.scope == "package" for found in fixtures.values() for one in found)
    return file.rpartition("/")[0] if shared else file


def _length(item: pytest.Item) -> float:
    """How many seconds a test that is marked as long may last on a busy machine, 0 of any other."""
    marked = item.get_closest_marker("long")
    return float(marked.args[0]) if marked is not None else 0


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
