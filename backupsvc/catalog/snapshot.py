"""A consistent snapshot of the catalog in a file, taken while others write."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, make_url

from backupsvc.errors import CatalogUnreachable, UsageError

PG_DUMP_S = 3600  # seconds that a dump of PostgreSQL may take
_LOOK_S = 5.0  # seconds between two looks whether it has ended


def suffix(url: str) -> str:
    """Given a catalog's URL, return how the names of its snapshots end."""
    return "sqlite" if make_url(url).get_backend_name() == "sqlite" else "pgdump"


def snapshot(url: str, to: Path, alive: Callable[[], None] = lambda: None) -> None:
    """Given a catalog's URL, write what it holds at this moment into a new file, for this user
    alone. It is a database of SQLite, or what ``pg_restore`` reads. ``alive`` is called again and
    again while PostgreSQL works; what it raises ends that.

    Raise CatalogUnreachable if the database does not let us or is damaged, UsageError if ``pg_dump`` is not
    there.
    """
    parsed = make_url(url)
    # made before anything is written into it, so that at no moment others can read it
    os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    if parsed.get_backend_name() != "sqlite":
        _dump_postgres(parsed, to, alive)
        return
    try:
        with (
            closing(sqlite3.connect(str(parsed.database))) as source,
            closing(sqlite3.connect(to)) as target,
        ):
            source.backup(target)
            # it was copied page by page, so it is as whole as the catalog itself
            (found,) = target.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise CatalogUnreachable(
            f"no snapshot of the catalog {parsed.database} could be taken: {error}",
            "look at its disk; nothing of the catalog was changed",
        ) from None
    if found != "ok":
        raise CatalogUnreachable(
            f"the catalog {parsed.database} is damaged, and a snapshot of it would be, too: {found}",
            "stop the service and put back the newest snapshot that is whole (docs/operating.md: "
            "When the catalog is lost)",
        )


def _dump_postgres(url: URL, to: Path, alive: Callable[[], None]) -> None:
    # a secret in an argument stands in every list of processes; `set` would keep the password
    query = {name: value for name, value in url.query.items() if name != "password"}
    address = URL.create("postgresql", url.username, None, url.host, url.port, url.database, query)
    password = url.password or url.query.get("password")
    secret = {"PGPASSWORD": str(password)} if password else {}
    words = ["pg_dump", "--format=custom", "--no-owner", "--file", str(to)]
    words += ["--dbname", address.render_as_string(hide_password=False)]
    try:
        process = subprocess.Popen(
            words, env=os.environ | secret, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise UsageError(
            "pg_dump is not installed here, so no snapshot of the catalog can be taken",
            "install PostgreSQL's client (postgresql-client), not older than the server",
        ) from None
    end, told = time.monotonic() + PG_DUMP_S, b""
    try:
        while process.returncode is None:
            try:
                _, told = process.communicate(timeout=_LOOK_S)
            except subprocess.TimeoutExpired:
                alive()
                if time.monotonic() > end:
                    raise CatalogUnreachable(
                        f"pg_dump did not end within {PG_DUMP_S} s",
                        "look at the load of the database",
                    ) from None
    finally:
        if process.returncode is None:
            # whatever `alive` raised, no dump goes on that nobody waits for
            process.kill()
            process.communicate()
    if process.returncode:
        text = told.decode(errors="replace").strip()
        said = text.splitlines()[-1:] or [f"exit status {process.returncode}"]
        raise CatalogUnreachable(
            f"no snapshot of the catalog could be taken: {said[0]}",
            "is the database up, and is pg_dump not older than the server?",
        )
