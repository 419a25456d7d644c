"""A real PostgreSQL of the tests' own: on a unix socket in a directory of its own, without
durability, gone when they end.

One server serves a whole test session; a test gets an empty database of its own from
``fresh_database``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, make_url, text

from backupsvc.catalog.database import HEAD, Database
from tests.waiting import HANGS, wait_until

# For a module whose ``site`` shall have its catalog on SQLite, and then again on PostgreSQL.
ON_BOTH = pytest.mark.parametrize(
    "site",
    ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)],
    indirect=True,
    scope="module",
)

_TEMPLATE = f"template_{HEAD}"
_FAST = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=60",
    "shared_buffers=32MB",
)


class Server:
    """A PostgreSQL in a directory. Whoever can enter the directory (its owner and root) needs no
    password.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[Any] | None = None
        self._other_user = _unprivileged()
        if self._other_user:
            shutil.chown(home, "postgres", "postgres")
        self._run(
            "initdb",
            "-D",
            home / "data",
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )

    @property
    def url(self) -> str:
        """Its URL, as SQLAlchemy takes it."""
        return f"postgresql+psycopg://postgres@/postgres?host={self._home}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [word for option in _FAST for word in ("-c", option)]
        command: list[str | Path] = [
            _binary("postgres"),
            "-D",
            self._home / "data",
            "-k",
            self._home,
            *options,
        ]
        command += ["-c", "listen_addresses="]
        with (self._home / "log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._home, **self._other_user
            )
        self._process = process
        wait_until(
            lambda: self._answers() or process.poll() is not None, (self._home / "log").read_text
        )
        assert process.poll() is None, (self._home / "log").read_text()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it and cut all its connections: in order (SIGINT), or as if the power failed
        (SIGQUIT).
        """
        if self._process:
            self._process.send_signal(how)
            self._process.wait(HANGS)
            self._process = None

    def _answers(self) -> bool:
        command: list[str | Path] = [
            _binary("pg_isready"),
            "-q",
            "-h",
            self._home,
            "-U",
            "postgres",
            "-d",
            "postgres",
        ]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *words: object) -> None:
        command: list[str | Path] = [_binary(program), *map(str, words)]
        done = subprocess.run(
            command, cwd=self._home, capture_output=True, text=True, check=False, **self._other_user
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def private_server() -> Iterator[Server]:
    """Start a PostgreSQL, yield it, and remove it with all its data."""
    # short: a unix socket's path has room for 107 characters
    home = Path(tempfile.mkdtemp(prefix="pg-", dir=_memory()))
    server = Server(home)
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(home)


@contextmanager
def private_postgres() -> Iterator[str]:
    """Start a PostgreSQL, yield its URL, and remove it with all its data."""
    with private_server() as server:
        yield server.url


def fresh_database(url: str) -> str:
    """Given a server's URL, create a database with the catalog's tables, all empty, and return its
    URL.
    """
    name = f"catalog_{token_hex(6)}"
    with _administering(url) as connection:
        known = connection.execute(
            text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": _TEMPLATE}
        ).scalar()
        if not known:
            connection.execute(text(f"CREATE DATABASE {_TEMPLATE}"))
            Database.open(_named(url, _TEMPLATE)).close()
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY file_copy"))
    return _named(url, name)


def bare_database(url: str) -> str:
    """Given a server's URL, create a database without any table, and return its URL."""
    name = f"bare_{token_hex(6)}"
    with _administering(url) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    return _named(url, name)


def drop_database(url: str) -> None:
    """Given a database's URL, remove it, whoever is still connected."""
    with _administering(url) as connection:
        connection.execute(text(f"DROP DATABASE {make_url(url).database} WITH (FORCE)"))


@contextmanager
def _administering(url: str) -> Iterator[Connection]:
    engine = create_engine(_named(url, "postgres"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _named(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def _memory() -> Path | None:
    """A database is 300 small files: made in memory, it costs a fifth of the processor's time. None
    if there is little room.
    """
    memory = Path("/dev/shm")
    return (
        memory
        if memory.is_dir() and shutil.disk_usage(memory).free > 2**30 and os.access(memory, os.W_OK)
        else None
    )


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then Debian's user for it takes over."""
    return (
        {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    )


def _binary(name: str) -> Path:
    """Debian keeps the server's programs outside PATH, one directory a version."""
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4])
    )
    assert found, "PostgreSQL is not installed: run `make setup`"
    return found[-1]
