"""What the catalog knows of copies, and who may write it down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from backupsvc.catalog import Catalog
from backupsvc.catalog.fences import Fence
from backupsvc.catalog.operations import Driver, Kept, NewOperation
from backupsvc.catalog.tables import COPY
from backupsvc.errors import LeaseLost
from policies.copy_decision import Progress
from policies.model import (
    Archive,
    ArchiveCopy,
    CopyRoute,
    DamagedCopy,
    GuestType,
    Operation,
    OperationState,
    Rehearsal,
)

NOW = 1000
MINE, OTHERS = Driver("me", 60, NOW), Driver("another", 60, NOW + 61)
VOLID = "local:backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"
FILE = VOLID.rpartition("/")[2]
LGE = CopyRoute("lge", "lge-pve02:/var/lib/vz/dump", "lge-pve02", "clovis", VOLID, 108)
USB = CopyRoute("usb", "/mnt/usb", "copy target usb", "clovis", VOLID, 108)
HALF = Progress(VOLID, 1 << 43, NOW - 50, f".{FILE}.part", 1 << 42, "ab" * 32)


@pytest.fixture
def copying(catalog: Catalog) -> Operation:
    opened = catalog.operations.open(NewOperation("copy", 108, "choose", {}), NOW, MINE)
    assert opened
    return opened


@pytest.fixture
def fence(copying: Operation) -> Fence:
    return copying.id, "me"


def verified(route: CopyRoute = LGE, **more: Any) -> ArchiveCopy:
    made = ArchiveCopy(route, FILE, 1 << 43, "cd" * 32, NOW + 9, "read back by sha256sum", "01")
    return replace(made, **more)


def test_of_what_was_never_begun_nothing_is_known(catalog: Catalog) -> None:
    assert catalog.copies.progress(LGE) is None
    assert catalog.copies.get(LGE) is None
    assert catalog.copies.find() == []


def test_how_far_a_copy_came_is_kept_and_is_no_copy(catalog: Catalog, fence: Fence) -> None:
    catalog.copies.record_progress(LGE, HALF, NOW, fence)
    further = replace(HALF, sent=HALF.size, sha256="ef" * 32)
    catalog.copies.record_progress(LGE, further, NOW + 1, fence)
    assert catalog.copies.progress(LGE) == further
    assert catalog.copies.progress(USB) is None, "of another target"
    assert catalog.copies.get(LGE) is None and catalog.copies.find() == []


def test_a_verified_copy_is_found_and_has_no_progress_any_more(
    catalog: Catalog, fence: Fence
) -> None:
    catalog.copies.record_progress(LGE, HALF, NOW, fence)
    catalog.copies.record_verified(verified(), HALF.modified, fence)
    assert catalog.copies.get(LGE) == verified()
    assert catalog.copies.find() == [verified()]
    assert catalog.copies.progress(LGE) is None


def test_a_copy_that_is_begun_anew_is_verified_no_longer(catalog: Catalog, fence: Fence) -> None:
    catalog.copies.record_verified(verified(), HALF.modified, fence)
    catalog.copies.record_listed(LGE, VOLID, "lge-pve02", NOW + 9, verified().how, fence)
    catalog.copies.record_progress(LGE, HALF, NOW + 20, fence)
    assert catalog.copies.get(LGE) is None and catalog.copies.find() == []
    assert catalog.copies.progress(LGE) == HALF


def test_a_copy_that_is_verified_again_is_known_once_by_its_last_reading(
    catalog: Catalog, fence: Fence
) -> None:
    later = verified(verified_at=NOW + 99, how="read back by SFTP", operation="02")
    for one in (verified(), later):
        catalog.copies.record_verified(one, HALF.modified, fence)
    assert catalog.copies.find() == [later]


def test_a_copy_that_was_not_found_at_its_target_is_forgotten_and_no_other(
    catalog: Catalog, fence: Fence
) -> None:
    for route in (LGE, USB):
        catalog.copies.record_verified(verified(route), HALF.modified, fence)
    catalog.copies.forget(LGE, fence)
    assert catalog.copies.find() == [verified(USB)]
    assert catalog.copies.get(LGE) is None and catalog.copies.progress(LGE) is None
    catalog.copies.forget(LGE, fence)


def test_a_copy_belongs_to_its_folder_whatever_its_target_is_called(
    catalog: Catalog, fence: Fence
) -> None:
    catalog.copies.record_verified(verified(USB), HALF.modified, fence)
    renamed = replace(USB, target="disk", place="copy target disk")
    assert catalog.copies.get(renamed) == verified(USB)
    catalog.copies.record_verified(verified(renamed), HALF.modified, fence)
    assert catalog.copies.find() == [verified(renamed)]


def test_archives_of_two_nodes_and_of_a_shared_storage_have_copies_of_their_own(
    catalog: Catalog, fence: Fence
) -> None:
    routes = [replace(USB, node=node) for node in ("", "clovis", "lge-pve02")]
    for number, route in enumerate(routes):
        catalog.copies.record_verified(verified(route, verified_at=NOW + number), NOW, fence)
    assert [catalog.copies.get(route) for route in routes] == [
        verified(route, verified_at=NOW + number) for number, route in enumerate(routes)
    ]


def test_copies_are_found_by_guest_in_the_order_of_vmid_volid_and_target(
    catalog: Catalog, fence: Fence
) -> None:
    later = VOLID.replace("21_00_02", "22_00_00")
    routes = [
        replace(USB, vmid=109),
        replace(USB, node="", vmid=None),
        replace(USB, volid=later),
        USB,
        LGE,
    ]
    routes[0] = replace(routes[0], volid=VOLID.replace("108", "109"))
    for route in routes:
        catalog.copies.record_verified(verified(route), NOW, fence)
    assert [one.route for one in catalog.copies.find(108)] == [LGE, USB, replace(USB, volid=later)]
    assert [one.route for one in catalog.copies.find(109)] == [routes[0]]
    assert catalog.copies.find(110) == []
    assert len(catalog.copies.find()) == 5


# --- copies that PVE lists ------------------------------------------------------------------------


def listing(catalog: Catalog, *archives: Archive, at: int, place: str = "lge-pve02") -> None:
    catalog.archives.observe(archives, scope=((place, "local"),), at=at)


def there(node: str = "lge-pve02", **more: Any) -> Archive:
    made = Archive(VOLID, node, "local", 108, GuestType.QEMU, 500, 1 << 43, "vma.zst")
    return replace(made, **more)


def test_a_copy_that_pve_listed_and_lists_no_more_is_none(catalog: Catalog, fence: Fence) -> None:
    listing(catalog, there(), at=NOW)
    for route in (LGE, USB):
        catalog.copies.record_verified(verified(route), HALF.modified, fence)
    catalog.copies.record_listed(LGE, VOLID, "lge-pve02", NOW + 9, verified().how, fence)
    assert len(catalog.copies.find()) == len(catalog.copies.find(108)) == 2
    listing(catalog, at=NOW + 100)
    assert catalog.copies.find() == catalog.copies.find(108) == [verified(USB)]
    listing(catalog, there(), at=NOW + 200)
    assert len(catalog.copies.find()) == 2, "PVE lists it again"


def test_a_copy_on_a_shared_storage_goes_when_no_node_lists_it(
    catalog: Catalog, fence: Fence
) -> None:
    listing(catalog, there(shared=True), at=NOW)
    catalog.copies.record_verified(verified(), HALF.modified, fence)
    catalog.copies.record_listed(LGE, VOLID, "storage local", NOW + 9, verified().how, fence)
    shared = replace(LGE, place="storage local")
    assert catalog.copies.find() == [verified(shared, operation=fence[0])]
    listing(catalog, at=NOW + 100)
    assert catalog.copies.find() == []


def test_a_copy_outlives_its_archive(catalog: Catalog, fence: Fence) -> None:
    listing(catalog, there("clovis"), at=NOW, place="clovis")
    listing(catalog, there(), at=NOW)
    catalog.copies.record_verified(verified(), HALF.modified, fence)
    catalog.copies.record_listed(LGE, VOLID, "lge-pve02", NOW + 9, verified().how, fence)
    listing(catalog, at=NOW + 100, place="clovis")
    assert catalog.copies.find() == [verified(operation=fence[0])]


def test_what_pve_never_listed_is_there_until_somebody_looks(
    catalog: Catalog, fence: Fence
) -> None:
    listing(catalog, there(), at=NOW)
    catalog.copies.record_verified(verified(), HALF.modified, fence)
    listing(catalog, at=NOW + 100)
    assert catalog.copies.find() == [verified()]


# --- who may write --------------------------------------------------------------------------------

WRITES: list[Callable[[Catalog, Fence], None]] = [
    lambda catalog, fence: catalog.copies.record_progress(LGE, HALF, NOW, fence),
    lambda catalog, fence: catalog.copies.record_verified(verified(size=5), NOW, fence),
    lambda catalog, fence: catalog.copies.record_listed(
        LGE, "local:backup/another", "third", NOW, "", fence
    ),
    lambda catalog, fence: catalog.copies.forget(LGE, fence),
]
NAMES = ["progress", "verified", "listed", "forget"]


def lose(catalog: Catalog, operation: Operation) -> None:
    assert catalog.operations.claim(operation.id, OTHERS)


def end(catalog: Catalog, operation: Operation) -> None:
    catalog.operations.finish(
        operation.id,
        MINE,
        OperationState.CANCELLED,
        kept=Kept({}, operation.book),
        error=None,
        note=None,
    )


def listed(catalog: Catalog) -> str | None:
    """Under which volid PVE lists the one copy that is known."""
    with catalog._database.read() as connection:
        found: str | None = connection.execute(select(COPY.c.listed)).scalar_one()
        return found


@pytest.mark.parametrize("write", WRITES, ids=NAMES)
@pytest.mark.parametrize("happen", [lose, end])
def test_a_driver_that_lost_its_copy_writes_nothing_of_it(
    catalog: Catalog,
    copying: Operation,
    fence: Fence,
    write: Callable[[Catalog, Fence], None],
    happen: Callable[[Catalog, Operation], None],
) -> None:
    listing(catalog, there(), at=NOW)
    catalog.copies.record_verified(verified(), HALF.modified, fence)
    catalog.copies.record_listed(LGE, VOLID, "lge-pve02", NOW + 9, verified().how, fence)
    happen(catalog, copying)
    with pytest.raises(LeaseLost, match=copying.id):
        write(catalog, fence)
    assert catalog.copies.find() == [verified(operation=fence[0])]
    assert listed(catalog) == VOLID


@pytest.mark.parametrize("write", WRITES, ids=NAMES)
def test_who_drives_no_copy_at_all_writes_nothing(
    catalog: Catalog, write: Callable[[Catalog, Fence], None]
) -> None:
    with pytest.raises(LeaseLost):
        write(catalog, ("01NOBODY", "me"))
    assert catalog.copies.find() == [] and catalog.copies.progress(LGE) is None


def test_who_took_a_copy_over_goes_on_where_its_last_driver_stopped(
    catalog: Catalog, copying: Operation, fence: Fence
) -> None:
    catalog.copies.record_progress(LGE, HALF, NOW, fence)
    lose(catalog, copying)
    assert catalog.copies.progress(LGE) == HALF
    catalog.copies.record_verified(verified(), HALF.modified, (copying.id, "another"))
    assert catalog.copies.find() == [verified()]


def test_of_an_encrypted_copy_recipients_and_segments_are_kept_under_way_and_afterwards(
    catalog: Catalog, fence: Fence
) -> None:
    to = ("age1a", "age1b")
    half = replace(HALF, file=f"{FILE}.age", recipients=to, segments=f"60:{'ab' * 32}")
    catalog.copies.record_progress(USB, half, NOW, fence)
    assert catalog.copies.progress(USB) == half and catalog.copies.find() == []
    whole = verified(USB, recipients=to, segments="60 70~2", rung="intact")
    catalog.copies.record_verified(whole, NOW, fence)
    assert catalog.copies.find() == [whole] and catalog.copies.progress(USB) is None
    plain = verified(USB)
    catalog.copies.record_verified(plain, NOW, fence)
    assert catalog.copies.get(USB) == plain and not plain.encrypted and whole.encrypted


def test_the_last_rehearsal_of_each_key_at_each_folder_is_told(catalog: Catalog) -> None:
    first = Rehearsal("usb", "/mnt/usb", NOW, 108, VOLID, FILE, 1 << 43, "cd" * 32, "key1", 1.5)
    again, other = replace(first, at=NOW + 9), replace(first, key="key2", vmid=None)
    elsewhere = replace(first, target="attic", folder="/mnt/attic")
    for one in (first, other, elsewhere, again):
        catalog.copies.record_rehearsal(one)
    assert catalog.copies.rehearsals() == [elsewhere, other, again]


def test_what_a_reading_found_is_known_until_another_copy_is_verified(
    catalog: Catalog, fence: Fence
) -> None:
    copy = ArchiveCopy(USB, FILE, 1 << 20, "ab" * 32, NOW, "read back", fence[0])
    catalog.copies.record_verified(copy, NOW, fence)
    catalog.copies.record_checked(copy, NOW + 5, "", fence)
    assert catalog.copies.find() == [replace(copy, checked_at=NOW + 5)]
    catalog.copies.record_checked(copy, NOW + 9, "torn", fence)
    assert catalog.copies.find() == []
    (bad,) = catalog.copies.find(damaged=True)
    assert (bad.checked_at, bad.damaged) == (NOW + 9, "torn")
    assert catalog.copies.get(USB) == bad
    assert catalog.copies.damaged(USB) == DamagedCopy(FILE, "", "torn")
    catalog.copies.record_progress(USB, HALF, NOW, fence)
    catalog.copies.record_progress(USB, replace(HALF, sent=1 << 43), NOW, fence)
    assert catalog.copies.damaged(USB) == DamagedCopy(FILE, "", "torn"), "while it is made anew"
    assert catalog.copies.find(damaged=True) == []
    catalog.copies.record_verified(replace(copy, verified_at=NOW + 20), NOW, fence)
    assert catalog.copies.damaged(USB) is None and len(catalog.copies.find()) == 1


def test_a_reading_of_a_copy_that_is_another_by_now_is_not_recorded(
    catalog: Catalog, fence: Fence
) -> None:
    copy = ArchiveCopy(USB, FILE, 1 << 20, "ab" * 32, NOW, "read back", fence[0])
    newer = replace(copy, verified_at=NOW + 7)
    catalog.copies.record_verified(newer, NOW, fence)
    catalog.copies.record_checked(copy, NOW + 9, "torn", fence)
    assert catalog.copies.find() == [newer]
    catalog.copies.record_checked(replace(newer, file=f"{FILE}~2"), NOW + 9, "torn", fence)
    assert catalog.copies.find() == [newer]
    catalog.copies.begin_removal(newer, NOW + 8, fence)
    catalog.copies.record_checked(newer, NOW + 9, "it is not there any more", fence)
    assert catalog.copies.damaged(USB) is None
