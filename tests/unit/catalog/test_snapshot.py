"""A snapshot of the catalog is a catalog: what was there when it was taken, while others write."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import make_url

from backupsvc.catalog import Catalog
from backupsvc.catalog.snapshot import snapshot, suffix
from backupsvc.errors import CatalogUnreachable, UsageError
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


def test_law_7_a_password_stands_in_no_argument_of_pg_dump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[list[str], dict[str, str]]] = []

    def run(words: list[str], *, env: dict[str, str], **_: object) -> object:
        given.append((words, env))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    snapshot("postgresql+psycopg://me:5e7b0f0e@db/catalog", tmp_path / "a")
    ((words, env),) = given
    assert env["PGPASSWORD"] == "5e7b0f0e" and "5e7b0f0e" not in " ".join(words)
    assert words[-1] == "postgresql://me@db/catalog"
