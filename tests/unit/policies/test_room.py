"""Whether archives will find room, by the last ones; what is not known is never taken for room."""

from __future__ import annotations

from policies.model import Archive, Guest, GuestType, Storage
from policies.room import Room, rooms

MIB = 1 << 20


def archive(vmid: int, ctime: int, size: int) -> Archive:
    return Archive(f"nas:backup/{vmid}-{ctime}", "a", "nas", vmid, GuestType.QEMU, ctime, size * MIB)


def storage(node: str, free: int, *, name: str = "nas", shared: bool = False, total: int = 1000, active: bool = True) -> Storage:
    return Storage(
        name, node, "dir", frozenset({"backup"}), shared=shared, active=active, total=total * MIB, available=free * MIB
    )


GUESTS = [Guest(1, "one", "a"), Guest(2, "two", "a"), Guest(3, "three", "b")]
ARCHIVES = [archive(1, 10, 500), archive(1, 20, 100), archive(2, 5, 100), archive(3, 7, 300)]


def measured(storages: list[Storage], archives: list[Archive] | None = None) -> tuple[Room, ...]:
    return rooms([(guest, "nas") for guest in GUESTS], ARCHIVES if archives is None else archives, storages)


def test_each_nodes_storage_is_measured_by_the_newest_archive_of_the_guests_there() -> None:
    on_a, on_b = measured([storage("a", 1000), storage("b", 1000)])
    assert (on_a.node, on_a.needed, on_a.guests, on_b.needed) == ("a", 200 * MIB, 2, 300 * MIB)
    assert not (on_a.short or on_a.tight)


def test_a_shared_storage_takes_them_all() -> None:
    (found,) = measured([storage("a", 500, shared=True), storage("b", 500, shared=True)])
    assert (found.node, found.needed, found.short, found.tight) == ("", 500 * MIB, False, True)
    (found,) = measured([storage("a", 499, shared=True), storage("b", 499, shared=True)])
    assert found.short
    (found,) = measured([storage("a", 550, shared=True), storage("b", 550, shared=True)])
    assert not (found.short or found.tight)


def test_a_storage_that_does_not_tell_is_unknown_and_not_roomy() -> None:
    for silent in ([], [storage("a", 0, total=0)], [storage("a", 900, active=False)]):
        found = measured([*silent, storage("b", 1000)])[0]
        assert (found.free, found.short, found.tight) == (None, False, False)


def test_a_full_storage_is_short_even_of_guests_that_have_no_archive_yet() -> None:
    found = measured([storage("a", 0), storage("b", 1000)], archives=[])[0]
    assert (found.short, found.needed, found.unknown) == (True, 0, (1, 2))
