"""Opening the catalog: its file, its form, and what goes wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backupsvc.catalog import Catalog, ulid
from backupsvc.catalog.database import HEAD, Database
from backupsvc.catalog.operations import NewOperation
from backupsvc.errors import CatalogUnreachable, UsageError


@pytest.mark.slow
def test_opening_again_changes_nothing_and_loads_no_migrations(catalog_url: str) -> None:
    with Catalog.open(catalog_url) as catalog:
        made = catalog.operations.open(NewOperation("backup", 108, "a", {}), 1)
    script = (
        "import sys, backupsvc.catalog as c; "
        f"print(len(c.Catalog.open({catalog_url!r}).operations.find()), 'alembic' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert made and answer.split() == ["1", "False"]


def test_the_file_is_for_this_user_alone(tmp_path: Path) -> None:
    with Catalog.open(f"sqlite:///{tmp_path}/state/catalog.db"):
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
        for file in (tmp_path / "state").iterdir():
            assert file.stat().st_mode & 0o777 == 0o600, file


def test_sqlite_is_set_up_for_several_processes(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/catalog.db")
    with database.read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in (
                "journal_mode",
                "foreign_keys",
                "busy_timeout",
                "synchronous",
                "trusted_schema",
            )
        }
    database.close()
    assert found == {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "busy_timeout": 15000,
        "synchronous": 1,
        "trusted_schema": 0,
    }


def test_a_transaction_that_fails_leaves_nothing_behind(catalog_url: str) -> None:
    database = Database.open(catalog_url)
    with pytest.raises(RuntimeError), database.write() as connection:
        connection.exec_driver_sql("INSERT INTO archive SELECT * FROM archive")
        connection.exec_driver_sql("DELETE FROM alembic_version")
        raise RuntimeError
    with database.read() as connection:
        assert (
            connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD
        )
    database.close()


def test_a_catalog_of_a_newer_version_is_left_alone(catalog_url: str) -> None:
    database = Database.open(catalog_url)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(CatalogUnreachable, match="newer version") as caught:
        Catalog.open(catalog_url)
    assert "upgrade" in caught.value.hint


def test_a_file_that_is_no_database_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_text("this is a text file, and no database at all" * 100)
    with pytest.raises(CatalogUnreachable, match=re.escape(str(tmp_path))) as caught:
        Catalog.open(f"sqlite:///{tmp_path}/catalog.db")
    assert "BACKUPSVC_CATALOG__URL" in caught.value.hint and "\n" not in str(caught.value)


def test_a_directory_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogUnreachable, match="cannot be created"):
        Catalog.open(f"sqlite:///{tmp_path}/file/catalog.db")


@pytest.mark.parametrize("url", ["nonsense", "nosuchdb://host/x", "mysql://host/x"])
def test_a_url_that_is_none_is_wrong_usage(url: str) -> None:
    with pytest.raises(UsageError, match="not one of a database"):
        Catalog.open(url)


def test_law_7_no_message_shows_the_databases_password() -> None:
    for url in (
        "postgresql+psycopg://user:s3cr3t@127.0.0.1:1/x?connect_timeout=1",
        "nosuchdb://user:s3cr3t@host/x",
        "//user:s3cr3t@",
    ):
        with pytest.raises((CatalogUnreachable, UsageError)) as caught:
            Catalog.open(url, retry_for_s=0)
        assert "s3cr3t" not in str(caught.value) + caught.value.hint
        assert caught.value.__suppress_context__


def test_sqlite_on_a_network_file_system_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # simulated: no NFS here
    monkeypatch.setattr("backupsvc.catalog.database.network_file_system", lambda path: "nfs4")
    with pytest.raises(
        UsageError, match=r"catalog\.db lies on a network file system \(nfs4\)"
    ) as caught:
        Catalog.open(f"sqlite:///{tmp_path}/state/catalog.db")
    assert "BACKUPSVC_STATE_DIR" in caught.value.hint
    assert not (tmp_path / "state").exists()


def test_ulids_sort_by_time_and_tell_it() -> None:
    made = [ulid.new(at) for at in (0, 1, 1_773_000_000, 4_000_000_000)]
    assert made == sorted(made) and len({ulid.new(5) for _ in range(1000)}) == 1000
    assert [ulid.time_of(id) for id in made] == [0, 1, 1_773_000_000, 4_000_000_000]
    assert all(len(id) == 26 and id.isalnum() for id in made)


@pytest.mark.parametrize("text", ["", "short", "!" * 26])
def test_what_is_no_ulid_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ulid.time_of(text)


def test_the_catalog_survives_the_umask_of_its_caller(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Catalog.open(f"sqlite:///{tmp_path}/s/catalog.db").close()
    finally:
        os.umask(before)
    assert (tmp_path / "s" / "catalog.db").stat().st_mode & 0o777 == 0o600
