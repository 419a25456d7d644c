"""The catalog's database: opening it, its transactions, and bringing its tables to this version's
form.

SQLite by default, set up for several processes on one machine (never on NFS: WAL needs shared
memory). PostgreSQL by URL. A database that is locked or down is waited for (retry.py).
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from backupsvc.catalog.mounts import network_file_system
from backupsvc.catalog.retry import FIRST_PAUSE_S, MAX_PAUSE_S, passes, passes_before_begin
from backupsvc.clock import SystemClock, polls
from backupsvc.errors import CatalogCut, CatalogUnreachable, UsageError

HEAD = "0017"  # the newest revision under migrations/versions; a test holds the two together
BUSY_SECONDS = 15
RETRY_FOR_S = 120.0
# whoever has had no answer from it yet may have the URL wrong, and is told soon
FIRST_RETRY_FOR_S = 10.0
_HINT = "check BACKUPSVC_CATALOG__URL, and that the database exists and lets this user write"
_WAITED = (
    "check that the database runs and that no other program holds it; BACKUPSVC_CATALOG__PATIENCE "
    "is how long it is waited for"
)
_UNKNOWN = (
    "look at what the catalog shows now before you do it again: `backupsvc operations list`, "
    "`backupsvc catalog list`"
)
_MIGRATION_LOCK = 0x6261636B7570  # any number that all our processes agree on
# a host that died without a word is noticed within half a minute, not within TCP's two hours
_POSTGRES = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_answered: set[str] = set()  # the databases that have answered this process
_log = logging.getLogger(__name__)


class Database:
    """An open database.

    Args:
        engine: where it is.
        label: its URL without the password, for messages.
        retry_for_s: for how many seconds it is waited for when it is locked or down.
    """

    def __init__(self, engine: Engine, label: str, retry_for_s: float = RETRY_FOR_S) -> None:
        self._engine, self._label, self.retry_for_s = engine, label, retry_for_s

    @classmethod
    def open(cls, url: str, retry_for_s: float = RETRY_FOR_S) -> Database:
        """Given an SQLAlchemy URL, open the database, creating or migrating its tables.

        A database that has answered this process before is waited for with all the ``retry_for_s``
        (seconds), another one with FIRST_RETRY_FOR_S at most. Raise UsageError if that is no URL or
        if it names an SQLite file on a network file system, CatalogUnreachable if the database does
        not open or is of a newer version.
        """
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite":
                _create_file(parsed)
            engine = _engine(parsed, retry_for_s)
        except (ArgumentError, NoSuchModuleError):
            raise UsageError(
                "the catalog's URL is not one of a database",
                "write sqlite:////path/catalog.db or postgresql+psycopg://...",
            ) from None
        except ModuleNotFoundError as error:
            raise CatalogUnreachable(
                f"the catalog's database needs the Python package {error.name}",
                "install it, or use SQLite",
            ) from None
        label = parsed.render_as_string(hide_password=True)
        database = cls(
            engine,
            label,
            retry_for_s if label in _answered else min(retry_for_s, FIRST_RETRY_FOR_S),
        )
        database._migrate()
        _answered.add(label)
        database.retry_for_s = retry_for_s
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that only reads. Raise CatalogUnreachable if the database fails,
        CatalogCut if that may pass.
        """
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may write; on SQLite it holds the write lock from its first moment
        (BEGIN IMMEDIATE).

        Raise CatalogUnreachable if the database fails, CatalogCut if that may pass; a broken UNIQUE
        comes through as SQLAlchemy's IntegrityError.
        """
        with self._transaction(writes=True) as connection:
            yield connection

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        ending = False
        try:
            with self._begun(writes) as connection:
                yield connection
                ending = writes
                connection.commit()
        # a broken unique key is an answer, which the callers tell from a failure
        except IntegrityError:
            raise
        except DBAPIError as error:
            # cut while COMMIT was under way: it may have been written, so nothing is said of it
            # being undone
            if ending and error.connection_invalidated:
                said = f"{self._says(error)} (whether the last change was written is not known)"
                raise CatalogCut(said, _UNKNOWN, undone=False) from None
            if passes(error):
                raise CatalogCut(self._says(error), _WAITED) from None
            raise CatalogUnreachable(self._says(error), _HINT) from None

    def _begun(self, writes: bool) -> Connection:
        """A connection whose transaction has begun. Until then nothing was sent, so it is safe to
        try again.
        """
        for attempt, passed in enumerate(
            polls(SystemClock(), self.retry_for_s, first=FIRST_PAUSE_S, most=MAX_PAUSE_S)
        ):
            try:
                connection = self._engine.connect()
                try:
                    connection.begin()
                    # by hand: a listener to SQLAlchemy's own beginning would make each of its
                    # statements look for listeners, which takes a third of its time (measured)
                    if connection.dialect.name == "sqlite":
                        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
                except DBAPIError:
                    connection.close()
                    raise
                return connection
            except DBAPIError as error:
                if not passes_before_begin(error):
                    raise
                if passed >= self.retry_for_s:
                    raise CatalogUnreachable(
                        self._says(error, f" in {passed:.0f} s"), _WAITED
                    ) from None
                if attempt == 0:
                    _log.warning(
                        "%s; waiting for up to %.0f s", self._says(error), self.retry_for_s
                    )
        raise AssertionError("the last attempt returns or raises")

    def _says(self, error: DBAPIError, since: str = "") -> str:
        lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        return f"the catalog {self._label} does not answer{since}: {lines[0]}"

    def _migrate(self) -> None:
        with self.read() as connection:
            found = _version(connection)
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            raise CatalogUnreachable(
                f"the catalog {self._label} was written by a newer version of backupsvc (revision "
                f"{found}, known is {HEAD})",
                "upgrade backupsvc, or name another catalog",
            )
        # a second process waits here, and then finds nothing left to do
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                # a migration takes what it takes
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK}
                )
            new = _version(connection) is None
            upgrade(connection)
        if new:  # a typing error in the URL makes one too, and it knows no proof
            _log.warning("a new, empty catalog was made at %s", self._label)


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Given a connection inside a write transaction, bring its tables to a revision. Alembic is
    only imported when needed.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    # % is configparser's
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(found) if found is not None else None


def _engine(url: URL, retry_for_s: float) -> Engine:
    if url.get_backend_name() == "sqlite":
        # An error's text would else quote the values that were written (law 7).
        engine = create_engine(url, hide_parameters=True)
        event.listen(
            engine, "connect", partial(_set_up_sqlite, busy=min(BUSY_SECONDS, retry_for_s))
        )
    elif url.get_backend_name() == "postgresql":
        given = {name: value for name, value in _POSTGRES.items() if name not in url.query}
        # A connection that was cut while it lay idle is replaced before anything is sent by it.
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=given)
        event.listen(engine, "connect", _set_up_postgres)
    else:
        raise ArgumentError
    return engine


def _create_file(url: URL) -> None:
    """Make the SQLite file for this user alone. An existing one is not opened: closing it would
    drop SQLite's own locks.
    """
    if not url.database or url.database == ":memory:":
        return
    path = Path(url.database)
    if network := network_file_system(path):
        raise UsageError(
            f"the catalog {path} lies on a network file system ({network}), where SQLite loses "
            "data",
            "keep it on a disk of this machine (BACKUPSVC_STATE_DIR or BACKUPSVC_CATALOG__URL), "
            "or use PostgreSQL",
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise CatalogUnreachable(
            f"the catalog {path} cannot be created: {error.strerror}", _HINT
        ) from None


def _set_up_sqlite(raw: Any, _record: object, *, busy: float) -> None:
    """SQLite's own defaults are foreign keys off, a 5 s busy timeout and a rollback journal
    (measured).
    """
    # transactions begin where _begun says, not where the driver guesses
    raw.isolation_level = None
    for pragma in (
        f"busy_timeout={int(busy * 1000)}",
        "foreign_keys=ON",
        "synchronous=NORMAL",
        "trusted_schema=OFF",  # a snapshot that a stranger wrote is opened, too
    ):
        raw.execute(f"PRAGMA {pragma}")
    for passed in polls(SystemClock(), busy, first=0.01, most=0.1):
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # The first switch to WAL ignores busy_timeout, so of several that open a new catalog
            # one fails (measured: 1 in 40).
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or passed >= busy:
                raise
        else:
            return


def _set_up_postgres(raw: Any, _record: object) -> None:
    """So that neither a foreign lock nor a worker that froze in mid-transaction makes the others
    wait for ever.
    """
    with raw.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
        cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
    raw.commit()
