"""Of whom the catalog knows too little, and whose times contradict what it saw."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import prune_guard
from policies.model import Archive, GuestType, Mark, Marked
from policies.prune_guard import DAY, Knowledge, Sighting

NOW = 1_773_000_000
LOCAL = ("a", "local")


def archive(number: int, ctime: int, vmid: int = 108) -> Archive:
    return Archive(f"local:backup/{number}", "a", "local", vmid, GuestType.QEMU, ctime, 500)


def knowledge(*sightings: Sighting, **more: dict[int, int]) -> Knowledge:
    """A catalog that first looked NOW, and what it saw of archive 0, 1, ..."""
    return Knowledge(
        {LOCAL: NOW},
        {("a", f"local:backup/{number}"): one for number, one in enumerate(sightings)},
        **more,
    )


@pytest.mark.parametrize(
    ("ctime", "seen", "young"),
    [
        (NOW - 1, Sighting(NOW), True),
        (NOW - 1, Sighting(NOW + 5), True),
        (NOW + 5, Sighting(NOW), True),  # by a clock that is ahead: it was there
        (NOW + 5, Sighting(NOW + 9, NOW), False),
        (NOW - 1, Sighting(NOW, began=NOW - 60), False),
        (NOW - 1, Sighting(NOW, copied=True), False),
        (NOW - 9, Sighting(NOW - 5), True),  # a listing of this guest alone saw it even before
    ],
)
def test_law_3_an_archive_from_before_the_first_look_makes_its_guest_young(
    ctime: int, seen: Sighting, young: bool
) -> None:
    found = prune_guard.stopped([archive(0, ctime)], knowledge(seen))
    assert [
        why.startswith("catalog-young: 1 archive of guest 108 on local") for why in found.values()
    ] == [True] * young


@pytest.mark.parametrize("what", ["proven", "accepted"])
@pytest.mark.parametrize(("since", "known"), [(-1, False), (0, True), (DAY, True)])
def test_law_3_only_what_became_known_since_the_first_look_counts(
    what: str, since: int, known: bool
) -> None:
    assert (
        prune_guard.stopped(
            [archive(0, NOW - 9)], knowledge(Sighting(NOW), **{what: {108: NOW + since}})
        )
        == {}
    ) is known
    assert (
        prune_guard.stopped(
            [archive(0, NOW - 9)], knowledge(Sighting(NOW), **{what: {109: NOW + since}})
        )
        != {}
    )


def test_a_proof_counts_from_the_first_listing_of_that_guest_on_if_no_listing_of_all_came_before() -> (
    None
):
    found = prune_guard.stopped(
        [archive(0, NOW - 999)], knowledge(Sighting(NOW - 500), proven={108: NOW - 100})
    )
    assert found == {}


def test_law_3_a_storage_that_the_catalog_never_looked_at_holds_nothing_that_is_known() -> None:
    assert prune_guard.stopped([archive(0, NOW)], Knowledge(proven={108: NOW * 2})) != {}


LATE = NOW + 90 * DAY  # the last complete listing without it


@pytest.mark.parametrize(
    ("ctime", "seen", "wrong"),
    [
        (LATE - DAY, Sighting(LATE + 9, LATE), False),
        (LATE - DAY - 1, Sighting(LATE + 9, LATE), True),
        # our own backup, on a node whose clock is wrong
        (LATE - 365 * DAY, Sighting(LATE + 9, LATE, began=LATE + 5), True),
        # it took three days
        (LATE - 3 * DAY, Sighting(LATE + 9, LATE, began=LATE - 3 * DAY), False),
        (LATE - 365 * DAY, Sighting(LATE + 9, LATE, copied=True), False),
        (LATE + 9 + DAY, Sighting(LATE + 9, LATE), False),
        (LATE + 10 + DAY, Sighting(LATE + 9, LATE), True),
        (LATE - 365 * DAY, Sighting(LATE + 9), False),  # of the first listing
    ],
)
def test_law_3_a_name_that_contradicts_what_was_seen_stops_its_guest(
    ctime: int, seen: Sighting, wrong: bool
) -> None:
    known = knowledge(seen, proven={108: LATE * 2})
    found = prune_guard.stopped([archive(0, ctime), archive(1, LATE, vmid=109)], known)
    said = [
        why.startswith("misdated: local:backup/0 on a is named for ")
        for vmid, why in found.items()
        if vmid == 108
    ]
    assert said == [True] * wrong


def test_what_was_accepted_after_it_was_seen_may_have_any_name() -> None:
    for accepted, stops in ((LATE + 8, True), (LATE + 9, False)):
        known = knowledge(Sighting(LATE + 9, LATE), accepted={108: accepted})
        assert bool(prune_guard.stopped([archive(0, LATE - 99 * DAY)], known)) is stops


@given(
    marks=st.lists(st.tuples(st.sampled_from(Mark), st.integers(100, 103))),
    stopped=st.sets(st.integers(100, 103)),
)
def test_law_3_nothing_of_a_stopped_guest_goes_and_nothing_else_changes(
    marks: list[tuple[Mark, int]], stopped: set[int]
) -> None:
    marked = [
        Marked(archive(number, NOW, vmid), mark, ("so",))
        for number, (mark, vmid) in enumerate(marks)
    ]
    held = prune_guard.hold(marked, {vmid: f"catalog-young: {vmid}" for vmid in stopped})
    for before, after in zip(marked, held.marked, strict=True):
        assert before.archive == after.archive
        if before.archive.vmid not in stopped:
            assert after == before
        else:
            assert after.mark is (Mark.KEEP if before.mark is Mark.REMOVE else before.mark)
    assert set(held.refused) == {
        vmid for mark, vmid in marks if mark is Mark.REMOVE and vmid in stopped
    }
    said = prune_guard.refusal(held.refused)
    assert (said is None) is (not held.refused)
    assert all(str(vmid) in (said or ("", ""))[0] for vmid in held.refused)


def test_every_reason_is_known_as_one_and_has_a_next_action() -> None:
    for kind in (prune_guard.YOUNG, prune_guard.MISDATED):
        assert prune_guard.stops(f"{kind}: x")
        said = prune_guard.refusal({108: f"{kind}: x", 109: f"{kind}: y"})
        assert said and "guests 108, 109" in said[0] and "catalog sync --accept" in said[1]
    assert (
        not prune_guard.stops("law 3: last archive of guest 108")
        and prune_guard.refusal({}) is None
    )


def test_law_3_an_archive_of_which_no_name_tells_whose_it_is_stops_no_guest_and_hides_none() -> (
    None
):
    nobodys, known = (
        replace(archive(0, NOW - 9), vmid=None),
        knowledge(Sighting(NOW), Sighting(NOW)),
    )
    assert prune_guard.stopped([nobodys], known) == {}
    assert list(prune_guard.stopped([nobodys, archive(1, NOW - 9)], known)) == [108]
