"""The newest snapshot and the newest bundle at a target are brought back and held against the
catalog; the catalog itself is only read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from backports import zstd
from pyrage import x25519

from backupsvc.catalog import Catalog
from backupsvc.copies import age, bundles, snapshots
from backupsvc.errors import CatalogCut, LeaseLost, NoRoom, TargetMissing, UsageError
from backupsvc.operations.copy import break_glass_rehearsing as rehearsing
from backupsvc.operations.copy import catalogs
from policies.copy_folders import folder_of
from policies.model import CopyTarget, Directory, Release, SnapshotTrial
from policies.site import load_policy
from policies.snapshot_trial import CATALOG, KINDS
from tests.catalogs import new_catalog
from tests.unit.catalog.test_proofs import ARCHIVE
from tests.unit.catalog.test_snapshot_trials import GONE, OURS, dump, fill

NOW, DAY = 1_800_000_000, 86400
KIT = x25519.Identity.generate()


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> float:
        return float(self.at)

    def monotonic(self) -> float:
        return float(self.at)

    def sleep(self, seconds: float) -> None:
        self.at += int(seconds)


@dataclass
class Site:
    """A service with a target; ``saved`` brings a snapshot and a bundle there."""

    service: Any
    target: CopyTarget
    folder: Path

    def saved(self) -> None:
        catalogs.save(self.service, [self.target])
        with catalogs.packed(self.service, lambda: None) as (path, _):
            plain = path.with_name("again")
            plain.write_bytes(zstd.decompress(path.read_bytes()))
            bundle = path.with_name("bundle")
            bundles.pack([("README.txt", b"hi"), ("catalog.sqlite", plain)], bundle, lambda: None)
            name = snapshots.name_at(self.service.clock.at, "tar", snapshots.BUNDLE)
            put = catalogs.bring(self.service, bundle, name, [self.target], lambda: None)
            rehearsing.remember(self.service, put)

    def tried(self, identities: age.Identities | None = None) -> dict[str, SnapshotTrial]:
        found = rehearsing.try_target(self.service, self.target, identities)
        assert self.service.catalog.snapshot_trials.last() == sorted(
            found, key=lambda one: one.what
        )
        assert list(self.service.settings.state_dir.glob("rehearsal-*")) == []
        return {one.what: one for one in found}

    def states(self, identities: age.Identities | None = None) -> tuple[str, str]:
        found = self.tried(identities)
        return found["catalog"].state.value, found["bundle"].state.value

    def file(self, what: str) -> Path:
        (found,) = self.folder.glob(f"{rehearsing.FILES[what]}-*")
        return found

    def spoil(self, statements: str) -> None:
        """Let the catalog in the snapshot be another one."""
        plain = self.folder / "plain"
        plain.write_bytes(zstd.decompress(self.file("catalog").read_bytes()))
        with closing(sqlite3.connect(plain)) as known:
            known.executescript(statements)
        self.replace("catalog", zstd.compress(plain.read_bytes()))
        plain.unlink()

    def replace(self, what: str, data: bytes) -> None:
        """Let other bytes be there, and have been written."""
        path = self.file(what)
        path.write_bytes(data)
        with closing(sqlite3.connect(self.service.settings.state_dir / "catalog.db")) as known:
            known.execute("DELETE FROM snapshot_put")
            known.commit()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "usb").mkdir()
    target = CopyTarget("usb", Directory(str(tmp_path / "usb")))
    url = new_catalog(tmp_path)
    with Catalog.open(url) as catalog:
        fill(catalog)
        service = SimpleNamespace(
            clock=Clock(),
            catalog=catalog,
            policy=replace(load_policy("site: x", "x"), copies=(target,)),
            nodes=None,
            settings=SimpleNamespace(ssh=None, catalog_url=url, state_dir=tmp_path),
        )
        yield Site(service, target, tmp_path / "usb")


def test_what_was_saved_is_what_the_catalog_was_also_after_it_went_on(site: Site) -> None:
    site.saved()
    site.service.clock.at += 2 * DAY
    catalog = site.service.catalog
    (operation,) = catalog.operations.find()
    catalog.copies.canaries()
    with closing(sqlite3.connect(site.service.settings.state_dir / "catalog.db")) as known:
        known.execute("UPDATE operation SET step = 'dump', state = 'done', finished = 99")
        known.commit()
    found = site.tried()
    assert {one.state.value for one in found.values()} == {"compared"}
    for one in found.values():
        assert "archives: 1, digest " in one.said and "tombstones: 1" in one.said
        assert (one.at, one.taken_at) == (NOW + 2 * DAY, NOW) and one.size and one.sha256
    assert rehearsing.due(site.service) == []
    site.service.clock.at += 30 * DAY
    assert rehearsing.due(site.service) == [(site.target, KINDS)]
    assert operation.id


def test_what_was_put_is_remembered_also_where_the_catalog_was_cut_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = site.service.catalog.snapshot_trials
    whole, left = trials._database.write, [CatalogCut("cut")]

    @contextmanager
    def write() -> Iterator[Any]:
        with whole() as connection:
            yield connection
            if left:
                raise left.pop()

    monkeypatch.setattr(trials._database, "write", write)
    rehearsing.remember(site.service, [(site.target, snapshots.Put("f", 9, "ab" * 32))])
    assert not left and trials.sha256_of(folder_of(site.target), "f") == "ab" * 32


def test_what_changes_again_or_comes_under_another_number_is_no_difference(site: Site) -> None:
    catalog = site.service.catalog
    catalog.archives.observe([replace(ARCHIVE, size=501)], scope=[], at=2)
    (stone,) = catalog.lineages.tombstones()
    catalog.lineages.release(stone, Release(12, "me", "not gone", True, False), undo=True)
    site.saved()
    catalog.archives.observe([replace(ARCHIVE, size=502)], scope=[], at=3)
    # the second of its kind, as the decision in the snapshot is of its own
    catalog.lineages.record_look([], NOW, gone=[replace(GONE, vmid=109)])
    assert site.states() == ("compared", "compared")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM proof", "proofs: 1, digest"),
        ("UPDATE proof SET verdict = 'failed'", "1 with other content"),
        ("DELETE FROM archive_signs; DELETE FROM archive", "1 unknown to the catalog"),
        ("UPDATE archive SET sha256 = 'cd'", "archives: 1, digest"),
        ("UPDATE identity SET id = 'another'", "identity: 1"),
        ("UPDATE tombstone SET uuid = 'other'", "tombstone 1"),
    ],
)
def test_what_is_not_what_the_catalog_is_differs_and_says_where(
    site: Site, statement: str, words: str
) -> None:
    site.saved()
    with closing(sqlite3.connect(site.service.settings.state_dir / "catalog.db")) as known:
        known.executescript(statement)
    found = site.tried()
    assert {one.state.value for one in found.values()} == {"differs"}
    assert all(words in one.said for one in found.values())


def test_what_a_snapshot_lacks_is_told(site: Site) -> None:
    site.saved()
    site.spoil("DELETE FROM proof")
    assert site.states() == ("differs", "compared")
    assert "proofs: 0, 1 missing in the snapshot (01A clovis" in site.tried()["catalog"].said


def test_other_bytes_than_were_written_are_told_and_not_opened(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.saved()
    for what in ("catalog", "bundle"):
        path = site.file(what)
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(rehearsing, "_inside", None)
    assert site.states() == ("altered", "altered")


def test_what_cannot_be_read_is_told_with_why(site: Site) -> None:
    site.saved()
    site.replace("catalog", b"no zstd")
    site.replace("bundle", site.file("bundle").read_bytes()[:-40])
    found = site.tried()
    assert {one.state.value for one in found.values()} == {"unreadable"}
    assert "is damaged" in found["catalog"].said and "is no bundle" in found["bundle"].said
    empty = site.folder / "empty.tar"
    bundles.pack([("README.txt", b"hi")], empty, lambda: None)
    site.replace("bundle", empty.read_bytes())
    assert "holds no catalog" in site.tried()["bundle"].said


# the table has no key that would hold its numbers to be numbers
STRANGE_NUMBER = """
CREATE TABLE other AS SELECT * FROM proof; INSERT INTO other SELECT * FROM other;
UPDATE other SET number = 'x', operation = 'o' WHERE rowid = 2;
DROP TABLE proof; ALTER TABLE other RENAME TO proof
"""


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ("UPDATE operation SET data = 'x'", "it holds no catalog of ours (JSONDecodeError)"),
        (f"UPDATE operation SET data = '{'[' * 99_999}'", "no catalog of ours (RecursionError)"),
        ("UPDATE alembic_version SET version_num = '00055'", "of no version"),
        (STRANGE_NUMBER, "it holds no catalog of ours (TypeError)"),
        ("UPDATE archive SET volid = CAST(X'ff' AS TEXT)", "does not answer"),
    ],
)
def test_whatever_a_stranger_wrote_is_told_and_ends_nothing(
    site: Site, statements: str, said: str
) -> None:
    site.saved()
    site.spoil(statements)
    found = site.tried()["catalog"]
    assert found.state.value == "unreadable" and said in found.said
    # the next night brings back no more than that
    assert rehearsing.due(site.service) == [(site.target, (CATALOG,))]
    (again,) = rehearsing.try_target(site.service, site.target, kinds=(CATALOG,))
    assert again.what == CATALOG


def test_a_dump_for_which_the_disk_is_too_small_is_not_called_bad(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.saved()
    (there := site.folder.parent / "bin").mkdir()
    rows = "".join(f"{one}\t{'u' * 999}\n" for one in range(999)).encode()
    rows = b"COPY public.identity (number, id) FROM stdin;\n" + rows + b"\\.\n"
    path = dump(there, monkeypatch, OURS, rows)
    site.replace("catalog", zstd.compress(path.read_bytes()))

    def small(path: Path) -> sqlite3.Connection:
        found = sqlite3.connect(path)
        found.execute("PRAGMA max_page_count=1")  # it grows no more
        return found

    with monkeypatch.context() as full:
        known = SimpleNamespace(connect=small, Error=sqlite3.Error)
        full.setattr("backupsvc.catalog.snapshot_opening.sqlite3", known)
        with pytest.raises(NoRoom, match="No space left"):
            rehearsing.try_target(site.service, site.target)

    def shrinking(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=64 << 20 if (path / "catalog.db").exists() else 1 << 40)

    monkeypatch.setattr(
        "backupsvc.operations.copy.break_glass_rehearsing.shutil.disk_usage", shrinking
    )
    with pytest.raises(NoRoom, match="are free"):
        rehearsing.try_target(site.service, site.target)
    assert site.service.catalog.snapshot_trials.last() == []


def test_an_encrypted_one_is_held_against_what_was_written_and_opened_with_a_key_alone(
    site: Site,
) -> None:
    site.target = replace(site.target, recipients=(str(KIT.to_public()),))
    site.saved()
    assert site.states() == ("sealed", "sealed")
    assert "its inside was not seen" in site.tried()["bundle"].said
    assert site.states(age.Identities([KIT])) == ("compared", "compared")
    with pytest.raises(UsageError, match="none of the identities opens"):
        rehearsing.try_target(
            site.service, site.target, age.Identities([x25519.Identity.generate()])
        )
    site.replace("catalog", site.file("catalog").read_bytes())
    assert site.states() == ("unknown", "unknown")
    site.replace("catalog", b"age no more")
    assert site.states(age.Identities([KIT])) == ("unreadable", "compared")


def test_the_newest_of_several_is_taken_and_an_old_one_is_told(site: Site) -> None:
    site.saved()
    site.service.clock.at += 9 * DAY
    assert site.states() == ("old", "old")
    site.saved()
    assert site.states() == ("compared", "compared")
    assert len(list(site.folder.iterdir())) == 4
    assert site.tried()["catalog"].taken_at == NOW + 9 * DAY


def test_an_empty_target_is_told_and_one_that_is_not_there_is_not_called_bad(site: Site) -> None:
    assert rehearsing.newest(site.service, site.target) == {}
    found = site.tried()
    assert {one.state.value for one in found.values()} == {"missing"}
    assert rehearsing.due(site.service) == [(site.target, KINDS)]
    gone = CopyTarget("nas", Directory(str(site.folder / "nas")))
    with pytest.raises(TargetMissing):
        rehearsing.try_target(site.service, gone)
    folders = {one.folder for one in site.service.catalog.snapshot_trials.last()}
    assert folders == {folder_of(site.target)}


def test_where_there_is_no_room_or_somebody_else_took_over_nothing_is_recorded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.saved()

    def lost() -> None:
        raise LeaseLost("another process drives it")

    with pytest.raises(LeaseLost):
        rehearsing.try_target(site.service, site.target, alive=lost)
    monkeypatch.setattr(
        "backupsvc.operations.copy.break_glass_rehearsing.shutil.disk_usage",
        lambda path: SimpleNamespace(free=64 << 20),
    )
    with pytest.raises(NoRoom, match="are to come"):
        rehearsing.try_target(site.service, site.target)
    assert site.service.catalog.snapshot_trials.last() == []
    assert list(site.service.settings.state_dir.glob("rehearsal-*")) == []
