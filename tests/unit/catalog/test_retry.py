"""A catalog that is locked, cut off or down for a while is waited for, and nothing is written
twice.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, make_url, select, text

from backupsvc.catalog import Catalog
from backupsvc.catalog.database import Database
from backupsvc.catalog.operations import NewOperation
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.tables import VMID_LEASE
from backupsvc.errors import CatalogCut, CatalogUnreachable
from policies.model import Operation
from tests.postgres import drop_database, fresh_database, private_server
from tests.waiting import HANGS, wait_until

LOCKING = """
import sqlite3, sys, time
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("BEGIN " + sys.argv[2])
print("held", flush=True)
time.sleep(float(sys.argv[3]))
raw.execute("ROLLBACK")
"""


def opened(catalog: Catalog, occurrence: str | None = None) -> Operation | None:
    """Open an operation."""
    return catalog.operations.open(
        NewOperation("backup", 108, "locate", {}, occurrence=occurrence), 1
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The databases' own time to wait is cut down, so that ours is what a test sees."""
    monkeypatch.setattr("backupsvc.catalog.database.BUSY_SECONDS", 0.2)


@pytest.fixture
def lock(tmp_path: Path, impatient: None) -> Iterator[Callable[[float], None]]:
    """Let another process hold the write lock of the test's SQLite catalog for some seconds."""
    started: list[subprocess.Popen[bytes]] = []

    def hold(seconds: float) -> None:
        words = [
            sys.executable,
            "-c",
            LOCKING,
            str(tmp_path / "catalog.db"),
            "IMMEDIATE",
            str(seconds),
        ]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == b"held\n"

    yield hold
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """An empty catalog on PostgreSQL, for what only PostgreSQL can do."""
    url = fresh_database(postgres)
    yield url
    drop_database(url)


def test_a_write_waits_for_another_process_that_holds_the_sqlite_file(
    tmp_path: Path, lock: Callable[[float], None]
) -> None:
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", retry_for_s=30) as catalog:
        lock(1.5)
        assert catalog.operations.find() == []  # readers are not disturbed
        before = time.monotonic()
        assert opened(catalog)
        assert time.monotonic() - before > 1


def test_a_file_that_stays_locked_is_unreachable_with_a_hint(
    tmp_path: Path, lock: Callable[[float], None]
) -> None:
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", retry_for_s=0.5) as catalog:
        lock(60)
        with pytest.raises(
            CatalogUnreachable, match="does not answer in 1 s: database is locked"
        ) as caught:
            opened(catalog)
        assert "BACKUPSVC_CATALOG__PATIENCE" in caught.value.hint


def test_a_table_that_another_holds_is_waited_for(postgres_url: str, impatient: None) -> None:
    other = create_engine(postgres_url)
    with Catalog.open(postgres_url, retry_for_s=30) as catalog, other.connect() as holding:
        holding.execute(text("LOCK TABLE proof IN ACCESS EXCLUSIVE MODE"))
        threading.Timer(1.5, holding.rollback).start()
        before = time.monotonic()
        assert catalog.proofs.find() == []
        assert time.monotonic() - before > 1
    other.dispose()


def test_connections_that_were_cut_while_they_lay_idle_are_replaced(postgres_url: str) -> None:
    with Catalog.open(postgres_url, retry_for_s=0) as catalog:
        catalog.operations.find()
        assert _cut(postgres_url) == 1
        assert opened(catalog)


class Diary:
    """A store whose transaction can be disturbed: it books VMIDs for an operation."""

    def __init__(self, url: str, operation: str, disturb: Callable[[], object]) -> None:
        self._database = Database.open(url, retry_for_s=20)
        self._operation, self._disturb, self.tries = operation, disturb, 0

    def close(self) -> None:
        self._database.close()

    @retried
    def book(self, vmid: int) -> None:
        self._book(vmid)

    @repeatable
    def book_or_find(self, vmid: int) -> None:
        if vmid not in self.booked():
            self._book(vmid)

    @retried
    def booked(self) -> list[int]:
        with self._database.read() as connection:
            return list(connection.execute(select(VMID_LEASE.c.vmid)).scalars())

    def _book(self, vmid: int) -> None:
        self.tries += 1
        with self._database.write() as connection:
            connection.execute(select(VMID_LEASE)).all()
            if self.tries == 1:
                self._disturb()
            connection.execute(
                insert(VMID_LEASE).values(vmid=vmid, operation=self._operation, at=1)
            )


@pytest.fixture
def diary(postgres_url: str) -> Iterator[Callable[[Callable[[], object]], Diary]]:
    """Make a diary that is disturbed in its first transaction."""
    made: list[Diary] = []
    with Catalog.open(postgres_url) as catalog:
        operation = opened(catalog)
    assert operation

    def make(disturb: Callable[[], object]) -> Diary:
        made.append(Diary(postgres_url, operation.id, disturb))
        return made[0]

    yield make
    for item in made:
        item.close()


def test_a_transaction_that_was_cut_before_its_end_is_done_again(
    diary: Callable[[Callable[[], object]], Diary], postgres_url: str
) -> None:
    written = diary(lambda: _cut(postgres_url))
    written.book(9000)
    assert (written.tries, written.booked()) == (2, [9000])


@pytest.fixture(params=["undone", "written"])
def slow_commit(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[str]:
    """Make the first COMMIT slow: before it has written (a deferred trigger sleeps), or after (no
    replica ever confirms).
    """
    if request.param == "undone":
        _administer(
            postgres_url,
            "CREATE SEQUENCE tries",  # what it counts outlives a transaction that is undone
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF "
            "nextval(''tries'') = 1 THEN PERFORM pg_sleep(60); END IF; RETURN NULL; END'",
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON vmid_lease INITIALLY DEFERRED FOR "
            "EACH ROW EXECUTE FUNCTION slow()",
        )
        yield request.param
        return
    database = make_url(postgres_url).database
    asks = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
    _administer(
        postgres_url,
        asks,
        "SELECT pg_reload_conf()",
        f"ALTER DATABASE {database} SET synchronous_commit = on",
    )
    yield request.param
    _administer(
        postgres_url, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"
    )


def test_a_transaction_that_was_cut_in_its_commit_is_left_to_its_caller(
    diary: Callable[[Callable[[], object]], Diary], postgres_url: str, slow_commit: str
) -> None:
    written = diary(_cut_in_its_commit(postgres_url))
    with pytest.raises(
        CatalogCut, match="whether the last change was written is not known"
    ) as caught:
        written.book(9000)
    assert (written.tries, caught.value.undone) == (1, False)
    assert written.booked() == ([9000] if slow_commit == "written" else [])


def test_what_may_be_done_twice_is_done_again_even_then(
    diary: Callable[[Callable[[], object]], Diary], postgres_url: str, slow_commit: str
) -> None:
    written = diary(_cut_in_its_commit(postgres_url))
    written.book_or_find(9000)
    assert (written.tries, written.booked()) == (1 if slow_commit == "written" else 2, [9000])


@pytest.mark.slow
def test_a_postgresql_that_is_down_for_a_while_is_waited_for_by_readers_and_writers() -> None:
    with (
        private_server() as server,
        Catalog.open(fresh_database(server.url), retry_for_s=60) as catalog,
    ):
        server.stop()
        threading.Timer(2, server.start).start()
        before, made = time.monotonic(), []
        writers = [
            threading.Thread(target=lambda name=name: made.append(opened(catalog, name)))
            for name in ("one", "two", "two")
        ]
        for writer in writers:
            writer.start()
        assert catalog.archives.find() == []
        for writer in writers:
            writer.join(HANGS)
        assert time.monotonic() - before > 1.5
        assert len(catalog.operations.find()) == 2 == len([item for item in made if item])


def test_a_catalog_that_never_answered_is_given_up_soon_and_the_reader_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("backupsvc.catalog.database.FIRST_RETRY_FOR_S", 0.3)
    before = time.monotonic()
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(CatalogUnreachable, match="does not answer in 0 s"),
    ):
        Catalog.open("postgresql+psycopg://user:s3cr3t@127.0.0.1:1/x", retry_for_s=60)
    assert time.monotonic() - before < HANGS
    assert (
        len(caplog.records) == 1
        and "waiting for up to 0 s" in caplog.text
        and "s3cr3t" not in caplog.text
    )


def _cut(url: str) -> int:
    """End every connection to a database; return how many there were."""
    cut = text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name")
    engine = create_engine(make_url(url).set(database="postgres"))
    with engine.connect() as connection:
        ended = connection.execute(cut, {"name": make_url(url).database}).all()
    engine.dispose()
    return len(ended)


def _cut_in_its_commit(url: str) -> Callable[[], object]:
    """Return what lets every connection to a database be cut as soon as one of them is in its
    COMMIT.
    """
    seen = text(
        "SELECT 1 FROM pg_stat_activity WHERE datname = :name AND state = 'active' AND query "
        "ILIKE 'COMMIT%'"
    )

    def watch() -> None:
        engine = create_engine(make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            wait_until(lambda: connection.execute(seen, {"name": make_url(url).database}).all())
        engine.dispose()
        _cut(url)

    return threading.Thread(target=watch, daemon=True).start


def _administer(url: str, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
