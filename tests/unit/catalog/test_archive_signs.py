"""What the catalog remembers of the bytes of archives, what is unusual of them, and who said so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backupsvc.catalog import Catalog
from backupsvc.catalog.archive_signs import Acknowledgement
from backupsvc.errors import PveNotFound
from policies.archive_signs import first_place
from policies.model import RANDOM, ZEROS, DiskSigns, Suspicion, SuspicionKind
from tests.unit.catalog.test_archives import archive, observe

FIRST = first_place(4)
DISK = DiskSigns(
    "drive-scsi0", 1 << 40, 1 << 39, 4, 5.25, {FIRST: ZEROS, FIRST + 16: 7, FIRST + 32: RANDOM | 9}
)
FILES = DiskSigns("files", 5, 5, 6, None, {3: 1, 0xFFFFFFF0: RANDOM})
SUSPICION = Suspicion(SuspicionKind.EMPTIED, "drive-scsi0", 2.0, 1.0, "local:backup/x")
HASH, OTHER = "ab" * 32, "cd" * 32
KEY = ("clovis", archive().volid)


def record(catalog: Catalog, *disks: DiskSigns, sha256: str = HASH, size: int = 500) -> None:
    catalog.archive_signs.record(
        "clovis", archive().volid, disks, sha256=sha256, size=size, at=6000
    )


def test_what_was_read_comes_back_as_it_was_and_the_same_bytes_are_recorded_once(
    catalog: Catalog,
) -> None:
    observe(catalog, archive(), archive(109))
    record(catalog, FILES, DISK)
    record(catalog, replace(DISK, stored=0))
    [one] = catalog.archive_signs.of_guest(108)
    assert (one.disks, one.sha256, one.size, one.archive) == ((DISK, FILES), HASH, 500, archive())
    record(catalog, DISK, sha256=OTHER)
    [one] = catalog.archive_signs.of_guest(108)
    assert (one.disks, one.sha256) == ((DISK,), OTHER)
    assert catalog.archive_signs.of_guest(109) == []
    with pytest.raises(PveNotFound):
        catalog.archive_signs.record("clovis", "gone", [DISK], sha256=HASH, size=1, at=1)


def test_what_was_read_of_other_bytes_than_are_recorded_says_nothing(catalog: Catalog) -> None:
    observe(catalog, archive())
    record(catalog, DISK, size=499)
    assert catalog.archive_signs.of_guest(108) == []
    record(catalog, DISK)
    catalog.archives.annotate("clovis", archive().volid, sha256=OTHER)
    assert catalog.archive_signs.of_guest(108) == []


def test_what_is_gone_stays_known_oldest_first_until_it_is_let_go(catalog: Catalog) -> None:
    old = archive(ctime=500)
    observe(catalog, archive(), old)
    record(catalog, DISK)
    catalog.archive_signs.record("clovis", old.volid, [DISK], sha256=OTHER, size=500, at=1)
    observe(catalog, archive())
    found = catalog.archive_signs.of_guest(108)
    assert [one.archive.volid for one in found] == [old.volid, archive().volid]
    catalog.archive_signs.forget([("clovis", old.volid)])
    [one] = catalog.archive_signs.of_guest(108)
    assert one.archive == archive()


def test_what_is_unusual_stands_at_the_archive_until_it_is_acknowledged(catalog: Catalog) -> None:
    observe(catalog, archive())
    catalog.archive_signs.mark({KEY: (SUSPICION, SUSPICION)})
    [marked] = catalog.archives.find()
    assert marked.suspicious == (SUSPICION, SUSPICION)
    assert catalog.archive_signs.named(archive().volid) == [marked]
    assert catalog.archive_signs.suspicious() == catalog.archive_signs.suspicious(108) == [marked]
    assert catalog.archive_signs.suspicious(109) == []
    catalog.archives.mark_gone("clovis", marked.volid, 1)
    assert catalog.archive_signs.suspicious(108) == [marked]
    observe(catalog, archive())
    said = Acknowledgement(*KEY, 108, HASH, 7000, "alice@host", "it was formatted", "it holds 1 B")
    catalog.archive_signs.acknowledge([said], {KEY: ()})
    assert catalog.archives.find() == [archive()] and not catalog.archive_signs.suspicious()
    assert catalog.archive_signs.acknowledgements(108) == [said]
    assert catalog.archive_signs.acknowledgements(109) == []


def test_an_archive_that_was_made_anew_under_its_name_is_not_suspicious_any_more(
    catalog: Catalog,
) -> None:
    observe(catalog, archive(operation="OP"))
    catalog.archive_signs.mark({KEY: (SUSPICION,)})
    assert catalog.archive_signs.named("OP")
    catalog.archives.annotate("clovis", archive().volid, sha256=OTHER, anew=True)
    assert catalog.archives.find()[0].suspicious == ()
