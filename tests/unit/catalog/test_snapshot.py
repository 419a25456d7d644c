"""A snapshot of the catalog is a catalog: what was there when it was taken, while others write."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import make_url

from backupsvc.catalog import Catalog
from backupsvc.catalog import snapshot as taking
from backupsvc.catalog.snapshot import snapshot, suffix
from backupsvc.errors import CatalogUnreachable, LeaseLost, UsageError
from policies.model import Archive, GuestType
from tests.postgres import bare_database, drop_database


def archive(number: int) -> Archive:
    return Archive(
        f"local:backup/{number}", "clovis", "local", 108, GuestType.QEMU, 1_773_000_000 + number, 9
    )


def test_a_snapshot_that_is_put_back_knows_what_the_catalog_knew(
    catalog_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file = tmp_path / "snapshot"
    with Catalog.open(catalog_url) as catalog:
        catalog.archives.observe([archive(1), archive(2)], scope=[], at=1)
        catalog.archives.record_damaged("clovis", archive(1).volid, "torn", 2)
        before = catalog.archives.find()
        snapshot(catalog_url, file)
        catalog.archives.observe([archive(3)], scope=[], at=3)  # goes on meanwhile
        assert len(catalog.archives.find()) == 3
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    if suffix(catalog_url) == "sqlite":
        back = f"sqlite:///{file}"
    else:
        back = bare_database(request.getfixturevalue("postgres"))
        address = make_url(back).set(drivername="postgresql").render_as_string(hide_password=False)
        subprocess.run(["pg_restore", "--no-owner", "--dbname", address, str(file)], check=True)
    with Catalog.open(back) as restored:
        assert restored.archives.find() == before
    if suffix(catalog_url) != "sqlite":
        drop_database(back)


def test_law_8_a_catalog_that_is_damaged_is_not_saved_as_a_good_one(
    sqlite_url: str, tmp_path: Path
) -> None:
    with Catalog.open(sqlite_url) as catalog:
        catalog.archives.observe([archive(number) for number in range(2000)], scope=[], at=1)
    file = Path(str(make_url(sqlite_url).database))
    snapshot(sqlite_url, tmp_path / "good")
    data = bytearray(file.read_bytes())
    # a page in the middle is another one: the file's size and header are as they were
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = bytes(4096)
    file.write_bytes(data)
    with pytest.raises(CatalogUnreachable, match="is damaged") as caught:
        snapshot(sqlite_url, tmp_path / "bad")
    assert "put back the newest snapshot" in caught.value.hint


def test_a_file_that_is_there_is_not_overwritten(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError):
        snapshot(sqlite_url, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_database_that_is_none_or_does_not_answer_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "catalog.db").write_bytes(b"no database at all, " * 100)
    with pytest.raises(CatalogUnreachable, match="no snapshot of the catalog"):
        snapshot(f"sqlite:///{tmp_path}/catalog.db", tmp_path / "a")
    nobody = "postgresql+psycopg://me:5e7b0f0e@127.0.0.1:1/catalog"
    with pytest.raises(CatalogUnreachable, match="no snapshot of the catalog") as refused:
        snapshot(nobody, tmp_path / "b")
    assert "5e7b0f0e" not in str(refused.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="pg_dump is not installed"):
        snapshot(nobody, tmp_path / "c")


@pytest.mark.parametrize(
    "address",
    ["postgresql+psycopg://me:5e7b0f0e@db/catalog", "postgresql://me@db/catalog?password=5e7b0f0e"],
)
def test_law_7_a_password_stands_in_no_argument_of_pg_dump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    pretender(
        tmp_path, monkeypatch, 'printf "%s " "$@" > "$0.words"; printf "$PGPASSWORD" > "$0.env"'
    )
    snapshot(address, tmp_path / "a")
    words = (tmp_path / "pg_dump.words").read_text()
    assert "5e7b0f0e" not in words and words.endswith("postgresql://me@db/catalog ")
    assert (tmp_path / "pg_dump.env").read_text() == "5e7b0f0e"


def test_whoever_waits_for_pg_dump_shows_life_and_may_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretender(tmp_path, monkeypatch, "exec sleep 3600")
    monkeypatch.setattr(taking, "_LOOK_S", 0.05)
    asked = []

    def alive() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise LeaseLost("another process drives it")

    with pytest.raises(LeaseLost):
        snapshot("postgresql://me@db/catalog", tmp_path / "a", alive)
    assert len(asked) == 3


def test_a_pg_dump_without_an_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretender(tmp_path, monkeypatch, "exec sleep 3600")
    monkeypatch.setattr(taking, "_LOOK_S", 0.01)
    monkeypatch.setattr(taking, "PG_DUMP_S", 0)
    with pytest.raises(CatalogUnreachable, match="did not end"):
        snapshot("postgresql://me@db/catalog", tmp_path / "a")


def pretender(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Let a script of ours be the pg_dump that is found."""
    script = folder / "pg_dump"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
