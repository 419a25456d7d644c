"""A snapshot of the catalog made a catalog again, in a file beside it. What it holds is taken for
hostile: it may come from a target.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

from sqlalchemy import create_engine

from backupsvc.catalog.database import HEAD, upgrade
from backupsvc.errors import ArchiveError, UsageError

HINT = "take another day's, or the one at another copy target"
_SQLITE, _POSTGRES = b"SQLite format 3\0", b"PGDMP"
_PG_RESTORE_S = 3600  # seconds that the dump may take to be read
_LONGEST = 64 << 20  # bytes of a line of a dump: a row of ours has few megabytes
_ROWS, _PART = 1000, 16 << 20  # after so many rows or bytes whoever waits is asked
_VERSION = re.compile(r"(?!0000)[0-9]{4}")
_COPY = re.compile(rb'COPY public\."?([a-z_]{1,63})"? \(([a-z0-9_", ]+)\) FROM stdin;\n')
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def opened(snapshot: Path, to: Path, alive: Callable[[], None] = lambda: None) -> str:
    """Given a snapshot as ``snapshot.snapshot`` writes one, and a file that is not there yet, make a
    catalog of it, of the version that wrote it, and return its URL. PostgreSQL's dump is read into
    SQLite: no server is asked, and none is changed.

    Raise ArchiveError if it is none or was damaged, UsageError if ``pg_restore`` is not there,
    OSError as the disk does.
    """
    with snapshot.open("rb") as file:
        head = file.read(len(_SQLITE))
    if head == _SQLITE:
        shutil.copyfile(snapshot, to)
        _must_be_a_catalog(to, snapshot.name)
    elif head.startswith(_POSTGRES):
        _read_dump(snapshot, to, alive)
    else:
        raise ArchiveError(f"{snapshot.name} is no snapshot of a catalog", HINT)
    return f"sqlite:///{to}"


def _must_be_a_catalog(path: Path, name: str) -> None:
    try:
        with closing(sqlite3.connect(path)) as found:
            # nothing that a stranger wrote into it is run
            found.execute("PRAGMA trusted_schema=OFF")
            (damage,) = found.execute("PRAGMA quick_check(1)").fetchone()
            kinds = {kind for (kind,) in found.execute("SELECT DISTINCT type FROM sqlite_master")}
            # by what SQLite itself takes it for: its text may be written in many ways
            tables = {row[2] for row in found.execute("PRAGMA table_list")}
            version = found.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise ArchiveError(f"{name} holds no catalog: {error}", HINT) from None
    if damage != "ok":
        raise ArchiveError(f"{name} is damaged: {damage}", HINT)
    if "virtual" in tables:
        raise ArchiveError(f"{name} holds a virtual table, which no catalog of ours does", HINT)
    if version is None or not _VERSION.fullmatch(str(version[0])):
        raise ArchiveError(f"{name} is a catalog of no version of backupsvc", HINT)
    if strange := kinds - {"table", "index"}:
        raise ArchiveError(f"{name} holds a {min(strange)}, which no catalog of ours does", HINT)


def _read_dump(snapshot: Path, to: Path, alive: Callable[[], None]) -> None:
    try:
        with closing(_tables(snapshot, "alembic_version")) as tables:
            found = next((row[0] for _, _, rows in tables for row in rows), None)
        version = (found or b"").decode()
        if not _VERSION.fullmatch(version) or version > HEAD:
            said = "no catalog of this version of backupsvc or an older one"
            raise ArchiveError(f"{snapshot.name} holds {said}", HINT)
        engine = create_engine(f"sqlite:///{to}")
        try:
            with engine.begin() as connection:
                upgrade(connection, version)
        finally:
            engine.dispose()
        with closing(sqlite3.connect(to)) as made, closing(_tables(snapshot)) as tables:
            for table, columns, rows in tables:
                alive()
                _write_rows(made, table, columns, rows, alive)
            made.commit()
    except (sqlite3.Error, ValueError) as error:
        raise ArchiveError(f"{snapshot.name} holds no catalog: {error}", HINT) from None


def _write_rows(
    made: sqlite3.Connection,
    table: str,
    columns: list[str],
    rows: Iterator[list[bytes | None]],
    alive: Callable[[], None],
) -> None:
    # the names are no more than letters, by the pattern that found them
    kinds = dict(made.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall())
    if not kinds.keys() >= set(columns):
        raise ArchiveError(f"the dump's table {table} is none of a catalog", HINT)
    # what the migrations wrote is in the dump, too
    made.execute(f'DELETE FROM "{table}"')
    names = ", ".join(f'"{column}"' for column in columns)
    wanted = [kinds[column] for column in columns]
    made.executemany(
        f'INSERT INTO "{table}" ({names}) VALUES ({", ".join("?" * len(columns))})',
        (
            [_value(cell, kind) for cell, kind in zip(row, wanted, strict=True)]
            for row in _asking(rows, alive)
        ),
    )


def _asking(
    rows: Iterator[list[bytes | None]], alive: Callable[[], None]
) -> Iterator[list[bytes | None]]:
    """The rows, with a call of ``alive`` between them again and again."""
    count, size = 0, 0
    for row in rows:
        count, size = count + 1, size + sum(len(cell) for cell in row if cell)
        if count >= _ROWS or size > _PART:
            alive()
            count, size = 0, 0
        yield row


def _value(cell: bytes | None, kind: str) -> str | int | bytes | None:
    if cell is None:
        return None
    if kind == "BOOLEAN":
        return int(cell == b"t")
    if kind == "BLOB":
        return bytes.fromhex(cell.removeprefix(b"\\x").decode("ascii"))
    return cell.decode()  # the column makes a number of it where it is one


def _tables(
    snapshot: Path, only: str = ""
) -> Generator[tuple[str, list[str], Iterator[list[bytes | None]]]]:
    """The dump's tables, each with its columns and its rows; each table's rows are to be read before
    the next table is asked for.
    """
    words = ["pg_restore", "--data-only", "--no-owner", "--file=-", str(snapshot)]
    words += ["--table", only] if only else []
    try:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise UsageError(
            "pg_restore is not installed here, so no dump of the catalog can be read",
            "install PostgreSQL's client (postgresql-client), not older than the server",
        ) from None
    assert process.stdout
    lines = _lines(process.stdout, snapshot.name)
    try:
        for line in lines:
            if told := _COPY.fullmatch(line):
                columns = [one.strip(' "') for one in told[2].decode().split(",")]
                yield told[1].decode(), columns, _cells(lines)
        if process.wait(_PG_RESTORE_S):
            raise ArchiveError(f"{snapshot.name} is damaged: pg_restore cannot read it", HINT)
    finally:
        process.kill()
        process.communicate()


def _lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    while line := stream.readline(_LONGEST + 1):
        if len(line) > _LONGEST:
            raise ArchiveError(f"{name} holds a row that is longer than any of ours", HINT)
        yield line


def _cells(lines: Iterator[bytes]) -> Iterator[list[bytes | None]]:
    """The rows of one table, in the form of PostgreSQL's COPY, to their end."""
    for line in lines:
        if line == b"\\.\n":
            return
        yield [
            None if cell == b"\\N" else _ESCAPE.sub(lambda one: _ESCAPED.get(one[1], one[1]), cell)
            for cell in line.removesuffix(b"\n").split(b"\t")
        ]
    raise ValueError("a table is cut off")
