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
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.catalogs import new_catalog
from tests.constants import changed, constants
from tests.postgres import bare_database, drop_database, fresh_database, private_postgres
from tests.signals import children_get_defaults

children_get_defaults()

COUNTED = "counted"
# files whose tests each last longer than what they share takes to prepare
ALONE = frozenset(
    f"tests/{file}.py"
    for file in (
        "fuzz/test_archives",
        "integration/durable/test_broken_everywhere",
        "integration/durable/test_copy_cancelled",
        "integration/durable/test_killed_everywhere",
        "unit/operations/test_engine_model",
    )
)
# folders whose files share a lab
TOGETHER = ("tests/lab/false_proof/", "tests/lab/night/")

# the quick tests ask SQLite alone
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]

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


class Units(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each worker a unit of tests after the other: a file, or what ``unit_of`` makes of it."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Units:
    """Share the tests out in units, whatever ``--dist`` says."""
    config.option.loadscopereorder = False  # their order is that of the tests
    return Units(config, log)


def unit_of(nodeid: str) -> str:
    """Given a test's id, return the unit that it belongs to, all of it the work of one worker."""
    file = nodeid.partition("::")[0]
    return nodeid if file in ALONE else next(filter(file.startswith, TOGETHER), file)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long units first: one that begins last makes all others wait for it.

    Those of real guests alternate with others, so that neither kind has both cores to itself, nor
    waits for them alone.
    """
    units = dict[str, list[pytest.Item]]()
    for item in items:
        units.setdefault(unit_of(item.nodeid), []).append(item)
    lab = [unit for unit in units.values() if unit[0].get_closest_marker("lab")]
    others = [unit for unit in units.values() if not unit[0].get_closest_marker("lab")]
    lab.sort(key=len, reverse=True)
    others.sort(key=lambda unit: max(map(_length, unit)), reverse=True)
    pairs = zip_longest(lab, others, fillvalue=list[pytest.Item]())
    items[:] = [item for pair in pairs for unit in pair for item in unit]


def _length(item: pytest.Item) -> float:
    """How many seconds a test that is marked as long may last on a busy machine, 0 of any other."""
    marked = item.get_closest_marker("long")
    return float(marked.args[0]) if marked is not None else 0


@pytest.fixture(scope="module", autouse=True)
def unchanged() -> Iterator[None]:
    """What a file changes for its whole process, it changes back."""
    before = constants()
    yield
    assert changed(before, constants()) == []


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


@pytest.fixture(params=DATABASES)
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a test's own catalog is, empty."""
    if request.param == "sqlite":
        yield new_catalog(tmp_path)
        return
    url = fresh_database(request.getfixturevalue("postgres"))
    yield url
    drop_database(url)


@pytest.fixture(params=DATABASES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a test's own catalog will be: nothing is there yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/catalog.db"
        return
    url = bare_database(request.getfixturevalue("postgres"))
    yield url
    drop_database(url)
