"""A snapshot is made a catalog again and holds what the catalog held, whichever database it came
from; what is no snapshot of ours is refused.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from backupsvc.catalog import Catalog, snapshot_opening
from backupsvc.catalog.database import upgrade
from backupsvc.catalog.operations import NewOperation
from backupsvc.catalog.snapshot import snapshot
from backupsvc.catalog.snapshot_opening import opened
from backupsvc.errors import ArchiveError, CatalogUnreachable, NoRoom, UsageError
from policies.model import (
    DiskSigns,
    GuestType,
    Release,
    SnapshotPut,
    SnapshotTrial,
    Tombstone,
    TrialState,
)
from policies.snapshot_trial import compare_all
from tests.unit.catalog.test_proofs import ARCHIVE, PROOF

PUT = SnapshotPut("/mnt/usb", "backupsvc-catalog-x", 7, 9, "ab" * 32)
TRIAL = SnapshotTrial(
    "usb", "/mnt/usb", 8, "catalog", PUT.file, 7, 9, PUT.sha256, TrialState.COMPARED, "all", 0.5
)
GONE = Tombstone(108, GuestType.QEMU, 10, 8, "u", 5, name="web", seen_last=9)


def fill(catalog: Catalog) -> None:
    """Write a row of each subject, with texts that a dump must quote."""
    catalog.archives.observe([ARCHIVE], scope=[], at=1)
    catalog.archives.annotate("clovis", ARCHIVE.volid, sha256="ab" * 32, name="a\tb\nc\\d é")
    catalog.archives.annotate("clovis", ARCHIVE.volid, config="cores: 1\n", excluded=["scsi1"])
    disk = DiskSigns("drive-scsi0", 1, 1, 4, 5.0, {1: 1})
    catalog.archive_signs.record(
        "clovis", ARCHIVE.volid, [disk], sha256="ab" * 32, size=ARCHIVE.size, at=2
    )
    catalog.proofs.record(PROOF)
    catalog.lineages.record_look([], 10, gone=[GONE])
    (stone,) = catalog.lineages.tombstones()
    catalog.lineages.release(stone, Release(11, "me", "gone", True, False))
    assert catalog.operations.open(NewOperation("backup", 108, "locate", {"a": None}), 12)


def test_what_was_put_and_tried_comes_back_and_is_only_ever_added_to(catalog: Catalog) -> None:
    trials = catalog.snapshot_trials
    trials.record_put([PUT, replace(PUT, file="other")])
    trials.record_put([replace(PUT, sha256="cd" * 32)])
    assert trials.sha256_of(PUT.folder, PUT.file) == PUT.sha256
    assert trials.sha256_of("/mnt/nas", PUT.file) is None
    later = replace(TRIAL, at=9, state=TrialState.DIFFERS)
    bundle = replace(TRIAL, what="bundle", taken_at=None)
    for one in (TRIAL, bundle, later):
        trials.record(one)
    assert trials.last() == [bundle, later]


def test_a_snapshot_opened_again_holds_to_the_last_row_what_the_catalog_held(
    catalog_url: str, tmp_path: Path
) -> None:
    with Catalog.open(catalog_url) as catalog:
        fill(catalog)
        snapshot(catalog_url, tmp_path / "snapshot")
        before = catalog.archives.find(), catalog.proofs.find(), catalog.lineages.tombstones()
        signs = catalog.archive_signs.of_guest(108)
        identity = catalog.identity.get()
        catalog.archives.observe([replace(ARCHIVE, volid="local:backup/b")], scope=[], at=20)
        with Catalog.open(opened(tmp_path / "snapshot", tmp_path / "new.db")) as again:
            found = again.archives.find(), again.proofs.find(), again.lineages.tombstones()
            assert found == before and again.archive_signs.of_guest(108) == signs
            assert again.identity.get() == identity
            rows = again.contents.rows(), catalog.contents.rows()
    assert [(one.subject, one.count, one.same) for one in compare_all(*rows, 15)] == [
        ("identity", 1, True),
        ("archives", 1, True),
        ("proofs", 1, True),
        ("decisions", 1, True),
        ("tombstones", 1, True),
        ("operations", 1, True),
    ]


def test_a_snapshot_of_an_older_version_is_brought_to_this_one(
    new_url: str, tmp_path: Path
) -> None:
    engine = create_engine(new_url)
    with engine.begin() as connection:
        upgrade(connection, "0015")
    engine.dispose()
    snapshot(new_url, tmp_path / "snapshot")
    with Catalog.open(opened(tmp_path / "snapshot", tmp_path / "new.db")) as again:
        assert again.snapshot_trials.last() == [] and len(again.contents.rows()["identity"]) == 1


def spoil(statement: str) -> Callable[[Path], None]:
    def spoilt(path: Path) -> None:
        with closing(sqlite3.connect(path)) as found:
            found.execute(statement)
            found.commit()

    return spoilt


def zeros(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 6] = bytes(4096 * 4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda path: path.write_bytes(b"no catalog"), "is no snapshot of a catalog"),
        (lambda path: path.write_bytes(b"PGDMP, or so it says"), "pg_restore cannot read it"),
        (lambda path: path.write_bytes(path.read_bytes()[:4096]), "holds no catalog|is damaged"),
        (zeros, "is damaged|holds no catalog"),
        (spoil("DROP TABLE alembic_version"), "holds no catalog: no such table"),
        (
            spoil("CREATE TRIGGER t AFTER INSERT ON proof BEGIN DELETE FROM archive; END"),
            "holds a trigger",
        ),
        (spoil("CREATE VIEW v AS SELECT 1"), "holds a view"),
        (spoil("CREATE VIRTUAL TABLE v USING fts5(a)"), "holds a virtual table"),
        (spoil("UPDATE alembic_version SET version_num = '00055'"), "of no version"),
        (spoil("UPDATE alembic_version SET version_num = '0000'"), "of no version"),
        (spoil("UPDATE alembic_version SET version_num = CAST(X'ff' AS TEXT)"), "holds no catalog"),
        (spoil("DELETE FROM alembic_version"), "of no version"),
    ],
)
def test_what_is_no_snapshot_of_ours_is_refused(
    sqlite_url: str, tmp_path: Path, spoilt: Callable[[Path], None], said: str
) -> None:
    shutil.copy(str(make_url(sqlite_url).database), tmp_path / "snapshot")
    spoilt(tmp_path / "snapshot")
    with pytest.raises(ArchiveError, match=said) as refused:
        opened(tmp_path / "snapshot", tmp_path / "new.db")
    assert "take another day's" in refused.value.hint


def test_one_of_a_newer_version_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    shutil.copy(str(make_url(sqlite_url).database), tmp_path / "snapshot")
    spoil("UPDATE alembic_version SET version_num = '9999'")(tmp_path / "snapshot")
    with pytest.raises(CatalogUnreachable, match="newer version"):
        Catalog.open(opened(tmp_path / "snapshot", tmp_path / "new.db"))


VERSION = b"COPY public.alembic_version (version_num) FROM stdin;\n"
OURS = VERSION + b"0016\n\\.\n"


def dump(folder: Path, monkeypatch: pytest.MonkeyPatch, told: bytes, rows: bytes) -> Path:
    """Let a dump be of that version and hold these rows, as pg_restore tells them."""
    (folder / "told").write_bytes(told)
    (folder / "all").write_bytes(rows)
    script = folder / "pg_restore"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *alembic_version*) cat {folder}/told;; *) cat {folder}/all;; esac\n'
    )
    script.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    (folder / "snapshot").write_bytes(b"PGDMP")
    return folder / "snapshot"


@pytest.mark.parametrize(
    ("told", "rows", "said"),
    [
        (OURS, b"COPY public.proof (nonsense) FROM stdin;\n1\n\\.\n", "proof is none of a catalog"),
        (OURS, b"COPY public.identity (id) FROM stdin;\nabc\n", "cut off"),
        (OURS, b"COPY public.canary (number, folder) FROM stdin;\n1\n\\.\n", "holds no catalog"),
        (OURS, b"COPY public.archive (place) FROM stdin;\n\\N\n\\.\n", "NOT NULL"),
        (OURS, b"COPY public.identity (id) FROM stdin;\n" + b"a" * 99, "longer than any of ours"),
        (b"-- " + b"a" * 99, b"", "longer than any of ours"),
        (VERSION, b"", "cut off"),
        (VERSION + b"\\N\n\\.\n", b"", "of this version of backupsvc or an older one"),
        (VERSION + b"00055\n\\.\n", b"", "of this version of backupsvc or an older one"),
        (VERSION + b"0000\n\\.\n", b"", "of this version of backupsvc or an older one"),
        (VERSION + b"9999\n\\.\n", b"", "of this version of backupsvc or an older one"),
        (VERSION + b"\xff\n\\.\n", b"", "holds no catalog"),
    ],
)
def test_a_dump_that_is_not_of_a_catalog_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bytes, rows: bytes, said: str
) -> None:
    monkeypatch.setattr(snapshot_opening, "_LONGEST", 80)
    with pytest.raises(ArchiveError, match=said):
        opened(dump(tmp_path, monkeypatch, told, rows), tmp_path / "new.db")


@pytest.mark.parametrize(("id", "count", "most"), [("u", 2500, 1 << 20), ("u" * 100, 25, 900)])
def test_whoever_waits_for_a_dump_is_asked_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, id: str, count: int, most: int
) -> None:
    monkeypatch.setattr(snapshot_opening, "_PART", most)
    rows = "".join(f"{number}\t{id}{number}\n" for number in range(count)).encode()
    rows = b"COPY public.identity (number, id) FROM stdin;\n" + rows + b"\\.\n"
    asked: list[None] = []

    def alive() -> None:
        asked.append(None)
        if len(asked) == 3:
            raise NoRoom("the disk is nearly full")

    with pytest.raises(NoRoom, match="nearly full"):
        opened(dump(tmp_path, monkeypatch, OURS, rows), tmp_path / "new.db", alive)


def test_without_its_client_a_dump_is_not_called_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "snapshot").write_bytes(b"PGDMP")
    with pytest.raises(UsageError, match="pg_restore is not installed"):
        opened(tmp_path / "snapshot", tmp_path / "new.db")
