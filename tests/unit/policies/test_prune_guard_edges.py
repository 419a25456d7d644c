"""Where the guard of a young or contradicted catalog turns: at the second, and archive by
archive.
"""

from __future__ import annotations

import pytest

from policies import prune_guard
from policies.model import Archive, GuestType
from policies.prune_guard import Knowledge, Sighting

NOW, DAY = 1_773_000_000, 24 * 3600
LOCAL = ("a", "local")


def archive(number: int, ctime: int, vmid: int = 108, *, shared: bool = False) -> Archive:
    return Archive(
        f"local:backup/{number}", "a", "local", vmid, GuestType.QEMU, ctime, 500, shared=shared
    )


def stops(item: Archive, seen: Sighting, **known: dict[int, int]) -> bool:
    place = "" if item.shared else "a"
    knowledge = Knowledge({(place, "local"): NOW}, {(place, item.volid): seen}, **known)
    return bool(prune_guard.stopped([item], knowledge))


def test_law_3_what_was_first_seen_after_the_proof_was_not_known_by_it() -> None:
    for what in ("proven", "accepted"):
        assert stops(archive(0, NOW - 60), Sighting(NOW + 50), **{what: {108: NOW + 49}})
        assert not stops(archive(0, NOW - 60), Sighting(NOW + 50), **{what: {108: NOW + 50}})
        assert stops(archive(0, NOW - 60), Sighting(NOW - 50), **{what: {108: NOW - 51}})


def test_law_3_an_archive_of_the_second_of_the_first_look_is_not_older_than_it() -> None:
    assert not stops(archive(0, NOW), Sighting(NOW + 5, NOW))
    assert stops(archive(0, NOW - 1), Sighting(NOW + 5, NOW))


def test_law_3_a_shared_storage_has_one_first_look() -> None:
    assert not stops(archive(0, NOW + 1, shared=True), Sighting(NOW + 5, NOW))


@pytest.mark.parametrize(
    "first",
    [Sighting(NOW), Sighting(NOW + 1, NOW, copied=True), Sighting(NOW - 9), Sighting(NOW + 1)],
    ids=["first listing", "copy", "accepted", "nothing bounds it"],
)
def test_law_3_an_archive_that_is_exempt_hides_no_misdated_one_behind_it(first: Sighting) -> None:
    items = [archive(0, NOW + 1), archive(1, NOW - 99 * DAY)]
    seen = {("a", items[0].volid): first, ("a", items[1].volid): Sighting(NOW + 9, NOW + 1)}
    found = prune_guard.stopped(
        items,
        Knowledge({LOCAL: NOW - 999 * DAY}, seen, proven={108: NOW + 99}, accepted={108: NOW}),
    )
    assert found[108].startswith(f"misdated: {items[1].volid} on a")


def test_law_3_a_day_is_drift_and_a_second_more_is_a_wrong_clock() -> None:
    for seconds, wrong in ((86400, False), (86401, True)):
        assert (
            stops(archive(0, NOW - seconds), Sighting(NOW + 9, NOW), proven={108: NOW + 9}) is wrong
        )
        assert (
            stops(archive(0, NOW + 9 + seconds), Sighting(NOW + 9, NOW), proven={108: NOW + 9})
            is wrong
        )


def test_law_3_a_backup_of_ours_is_bounded_by_when_it_began_also_before_any_whole_listing() -> None:
    known = {"proven": {108: NOW + 99}}
    assert stops(archive(0, NOW - 2 * DAY), Sighting(NOW + 9, began=NOW), **known)
    assert not stops(
        archive(0, NOW - 2 * DAY), Sighting(NOW + 9, NOW, began=NOW - 2 * DAY), **known
    )
    assert not stops(archive(0, NOW - 2 * DAY), Sighting(NOW + 9), **known)


def test_each_guest_is_refused_for_its_own_reason_and_told_its_own_way_out() -> None:
    said = prune_guard.refusal({108: "catalog-young: x", 109: "misdated: y"})
    assert said is not None
    assert (
        said[0]
        == "nothing of guest 108 may be removed: catalog-young: x; nothing of guest 109 may be "
        "removed: misdated: y"
    )
    assert "restore-test" in said[1] and "clock right" in said[1]
    assert prune_guard.refusal({108: "misdated: y"}) == (
        "nothing of guest 108 may be removed: misdated: y",
        said[1].partition("; ")[2],
    )
