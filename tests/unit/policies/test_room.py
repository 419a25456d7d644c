"""Whether archives will find room, by the last ones; what is not known is never taken for room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.model import Archive, Guest, GuestType, Storage
from policies.room import DiskNeed, Room, disk_needs, for_disks, roomier, rooms

MIB, GIB = 1 << 20, 1 << 30


def archive(vmid: int, ctime: int, size: int) -> Archive:
    return Archive(
        f"nas:backup/{vmid}-{ctime}", "a", "nas", vmid, GuestType.QEMU, ctime, size * MIB
    )


def storage(
    node: str,
    free: int,
    *,
    name: str = "nas",
    shared: bool = False,
    total: int = 1000,
    active: bool = True,
) -> Storage:
    return Storage(
        name,
        node,
        "dir",
        frozenset({"backup"}),
        shared=shared,
        active=active,
        total=total * MIB,
        available=free * MIB,
    )


GUESTS = [Guest(1, "one", "a"), Guest(2, "two", "a"), Guest(3, "three", "b")]
ARCHIVES = [archive(1, 10, 500), archive(1, 20, 100), archive(2, 5, 100), archive(3, 7, 300)]


def measured(storages: list[Storage], archives: list[Archive] | None = None) -> tuple[Room, ...]:
    return rooms(
        [(guest, "nas") for guest in GUESTS], ARCHIVES if archives is None else archives, storages
    )


def test_each_nodes_storage_is_measured_by_the_newest_archive_of_the_guests_there() -> None:
    on_a, on_b = measured([storage("a", 1000), storage("b", 1000)])
    assert (on_a.node, on_a.needed, on_a.guests, on_b.needed) == ("a", 200 * MIB, 2, 300 * MIB)
    assert not (on_a.short or on_a.tight)


def test_a_shared_storage_takes_them_all() -> None:
    (found,) = measured([storage("a", 500, shared=True), storage("b", 500, shared=True)])
    assert (found.node, found.needed, found.short, found.tight) == ("", 500 * MIB, False, True)
    (found,) = measured([storage("a", 499, shared=True), storage("b", 499, shared=True)])
    assert found.short and not found.tight
    (found,) = measured([storage("a", 549, shared=True), storage("b", 549, shared=True)])
    assert found.tight
    (found,) = measured([storage("a", 550, shared=True), storage("b", 550, shared=True)])
    assert not (found.short or found.tight)


def test_a_storage_that_does_not_tell_is_unknown_and_not_roomy() -> None:
    for silent in ([], [storage("a", 0, total=0)], [storage("a", 900, active=False)]):
        found = measured([*silent, storage("b", 1000)])[0]
        assert (found.free, found.short, found.tight) == (None, False, False)


def test_a_full_storage_is_short_even_of_guests_that_have_no_archive_yet() -> None:
    found = measured([storage("a", 0), storage("b", 1000)], archives=[])[0]
    assert (found.short, found.needed, found.unknown) == (True, 0, (1, 2))


def test_a_place_is_a_storage_and_where_it_is_not_shared_its_node() -> None:
    on_a, on_b = measured(
        [storage("a", 1000), storage("b", 1000), storage("a", 1, name="other", shared=True)]
    )
    assert (on_a.where, on_b.where, on_a.unknown) == ("nas on a", "nas on b", ())
    (shared,) = measured([storage("a", 1000, shared=True)])
    assert shared.where == "nas"
    assert [found.where for found in measured([])] == ["nas on a", "nas on b"], (
        "of what nobody shows it is not known"
    )


def test_an_archive_of_no_size_tells_nothing_of_the_next_and_one_of_a_byte_does() -> None:
    storages = [storage("a", 1000), storage("b", 1000)]
    on_a, on_b = measured(
        storages, [*ARCHIVES, archive(1, 30, 0), replace(archive(3, 30, 1), size=1)]
    )
    assert (on_a.needed, on_b.needed) == (200 * MIB, 1)


def test_what_another_storage_or_one_that_is_disabled_has_free_is_no_room() -> None:
    found = measured([storage("a", 1000), storage("a", 7, name="other"), storage("b", 1000)])[0]
    assert found.free == 1000 * MIB
    assert (
        measured([replace(storage("a", 1000), enabled=False), storage("b", 1000)])[0].free is None
    )


def test_of_what_two_nodes_say_of_a_shared_storage_the_lesser_is_believed() -> None:
    (found,) = measured([storage("a", 600, shared=True), storage("b", 400, shared=True)])
    assert (found.free, found.short) == (400 * MIB, True)


def test_of_a_storage_whose_node_does_not_answer_it_is_said_that_it_does_not() -> None:
    on_a, on_b = rooms(
        [(guest, "nas") for guest in GUESTS], ARCHIVES, [storage("b", 1000)], {"a": "offline"}
    )
    assert (on_a.silent, on_a.free, on_a.short, on_a.tight) == ("offline", None, False, False)
    assert on_b.silent == "" and on_b.free == 1000 * MIB


def test_a_shared_storage_is_known_through_the_node_that_answers() -> None:
    (found,) = rooms(
        [(guest, "nas") for guest in GUESTS],
        ARCHIVES,
        [storage("b", 900, shared=True)],
        {"a": "offline"},
    )
    assert (found.silent, found.free) == ("", 900 * MIB)


# --- disks ----------------------------------------------------------------------------------------

CONFIG = {
    "scsi0": "thick:vm-108-disk-0,size=32G",
    "scsi1": "thin:vm-108-disk-1,size=8G,backup=0",
    "virtio0": "thin:vm-108-disk-2,size=512M",
    "efidisk0": "thick:vm-108-disk-3,size=4M",
    "ide2": "local:iso/x.iso,media=cdrom,size=600M",
    "#qmdump#map:scsi0": "drive-scsi0:thick:raw:",
    "#qmdump#map:virtio0": "drive-virtio0:thin:raw:",
    "#qmdump#map:efidisk0": "drive-efidisk0:thick:raw:",
}


def disks(name: str, type: str, free: int, **changes: Any) -> Storage:
    values: dict[str, Any] = {
        "total": 100 * GIB,
        "available": free,
        "content": frozenset({"images"}),
    }
    return Storage(name, "a", type, **(values | changes))


def test_what_the_archive_holds_needs_room_where_it_was_or_where_it_is_put() -> None:
    assert disk_needs(CONFIG) == (
        DiskNeed("thick", 32 * GIB + 4 * MIB),
        DiskNeed("thin", 512 * MIB),
    )
    assert disk_needs(CONFIG, "nas") == (DiskNeed("nas", 32 * GIB + 516 * MIB),)
    silent = CONFIG | {"scsi0": "thick:vm-108-disk-0"}
    assert disk_needs(silent)[0] == DiskNeed("thick", 4 * MIB, ("scsi0",))
    assert disk_needs({}) == ()


@pytest.mark.parametrize(
    ("type", "free", "short", "impossible"),
    [
        ("lvm", 32 * GIB, False, False),
        ("lvm", 32 * GIB - 1, True, True),
        ("lvmthin", 32 * GIB - 1, True, False),
        ("zfspool", 1, True, False),
        ("dir", 0, True, False),
    ],
)
def test_only_a_storage_that_sets_whole_disks_aside_surely_has_no_room(
    type: str, free: int, short: bool, impossible: bool
) -> None:
    (found,) = for_disks([DiskNeed("x", 32 * GIB)], "a", [disks("x", type, free)])
    assert (found.short, found.impossible, found.there) == (short, impossible, True)


@pytest.mark.parametrize(
    "there",
    [
        [],
        [disks("x", "lvm", 0, total=0)],
        [disks("x", "lvm", 0, active=False)],
        [disks("x", "lvm", 0, enabled=False)],
    ],
)
def test_a_storage_that_does_not_tell_or_is_not_there_is_not_called_full(
    there: list[Storage],
) -> None:
    (found,) = for_disks([DiskNeed("x", 32 * GIB)], "a", there)
    assert (found.free, found.short, found.impossible, found.there) == (
        None,
        False,
        False,
        bool(there),
    )


def test_a_storage_of_another_node_is_not_this_nodes() -> None:
    (other,) = for_disks([DiskNeed("x", 1)], "b", [disks("x", "lvm", 0)])
    assert not other.there and other.free is None


def test_other_storages_with_so_much_room_are_named_the_roomiest_first() -> None:
    there = [
        disks("small", "dir", 4),
        disks("thin", "lvmthin", 5),
        disks("roomy", "dir", 9),
        disks("iso", "dir", 50, content=frozenset({"iso"})),
        disks("off", "dir", 50, active=False),
        replace(disks("far", "dir", 50), node="b"),
    ]
    assert [one.name for one in roomier(5, "a", there)] == ["roomy", "thin"]
