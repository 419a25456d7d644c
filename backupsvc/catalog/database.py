"""The catalog's database: opening it, its transactions, and bringing its tables to this version's form.

SQLite by default, set up for several processes on one machine (never on NFS: WAL needs shared memory). PostgreSQL by URL.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from backupsvc.clock import SystemClock, polls
from backupsvc.errors import CatalogUnreachable, UsageError

HEAD = "0002"  # the newest revision under migrations/versions; a test holds the two together
BUSY_SECONDS = 15
_HINT = "check BACKUPSVC_CATALOG__URL, and that the database exists and lets this user write"
_MIGRATION_LOCK = 0x6261636B7570  # any number that all our processes agree on


class Database:
    """An open database.

    Args:
        engine: where it is.
        label: its URL without the password, for messages.
    """

    def __init__(self, engine: Engine, label: str) -> None:
        self._engine, self._label = engine, label

    @classmethod
    def open(cls, url: str) -> Database:
        """Given an SQLAlchemy URL, open the database, creating or migrating its tables.

        Raise UsageError if that is no URL, CatalogUnreachable if the database does not open or is of a newer version.
        """
        try:
            parsed = make_url(url)
            if parsed.get_backend_name() == "sqlite":
                _create_file(parsed)
            engine = create_engine(parsed, hide_parameters=True)
        except (ArgumentError, NoSuchModuleError):
            raise UsageError(
                "the catalog's URL is not one of a database", "write sqlite:////path/catalog.db or postgresql+psycopg://..."
            ) from None
        except ModuleNotFoundError as error:
            raise CatalogUnreachable(
                f"the catalog's database needs the Python package {error.name}", "install it, or use SQLite"
            ) from None
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        database = cls(engine, parsed.render_as_string(hide_password=True))
        database._migrate()
        return database

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that only reads. Raise CatalogUnreachable if the database fails."""
        with self._reporting(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that may write; on SQLite it holds the write lock from its first moment (BEGIN IMMEDIATE).

        Raise CatalogUnreachable if the database fails; a broken UNIQUE comes through as SQLAlchemy's IntegrityError.
        """
        with self._reporting(), self._engine.connect() as connection, connection.execution_options(writes=True).begin():
            yield connection

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise CatalogUnreachable(f"the catalog {self._label} does not answer: {_first_line(error)}", _HINT) from None

    def _migrate(self) -> None:
        with self.read() as connection:
            found = _version(connection)
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            raise CatalogUnreachable(
                f"the catalog {self._label} was written by a newer version of backupsvc (revision {found}, known is {HEAD})",
                "upgrade backupsvc, or name another catalog",
            )
        with self.write() as connection:  # a second process waits here, and then finds nothing left to do
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            upgrade(connection)


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Given a connection inside a write transaction, bring its tables to a revision. Alembic is only imported when needed."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))  # % is configparser's
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(found) if found is not None else None


def _create_file(url: URL) -> None:
    """Make the SQLite file for this user alone. An existing one is not opened: closing it would drop SQLite's own locks."""
    if not url.database or url.database == ":memory:":
        return
    path = Path(url.database)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise CatalogUnreachable(f"the catalog {path} cannot be created: {error.strerror}", _HINT) from None


def _set_up_sqlite(raw: Any, _record: object) -> None:
    """SQLite's own defaults are foreign keys off, a 5 s busy timeout and a rollback journal (measured)."""
    raw.isolation_level = None  # transactions begin where _begin_sqlite says, not where the driver guesses
    for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "foreign_keys=ON", "synchronous=NORMAL"):
        raw.execute(f"PRAGMA {pragma}")
    for passed in polls(SystemClock(), BUSY_SECONDS, first=0.01, most=0.1):
        try:
            raw.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # The first switch to WAL ignores busy_timeout, so of several that open a new catalog one fails (measured: 1 in 40).
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or passed >= BUSY_SECONDS:
                raise
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
