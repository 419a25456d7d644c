"""The calendar of nights says of each guest and night what it left, and of a VMID that was used
again whose night it was.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.gaps import UNREAD, Backup, Due, NightState, calendar
from policies.model import Archive, GuestType

PARIS = "Europe/Paris"
DAYS = [date(2026, 3, 8) + timedelta(days=number) for number in range(5)]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(PARIS)).timestamp())


def due(day: int, vmid: int = 108) -> Due:
    return Due(vmid, at(f"2026-03-{day:02}T21:00"), at(f"2026-03-{day + 1:02}T21:00"))


def archive(when: str, uuid: str | None = None, vmid: int | None = 108) -> Archive:
    return Archive(
        f"local:backup/{when}", "clovis", "local", vmid, GuestType.QEMU, at(when), 1, uuid=uuid
    )


def states(found: object) -> list[str]:
    return [str(night.state) for night in found.nights]  # type: ignore[attr-defined]


def test_each_night_says_what_came_of_it() -> None:
    dues = [due(day) for day in (8, 9, 10, 11)]
    backups = [
        Backup(108, at("2026-03-08T21:00"), True, volid="a"),
        Backup(108, at("2026-03-09T21:00"), True, warned=True, volid="b"),
        Backup(108, at("2026-03-10T21:05"), False),
    ]
    (found,) = calendar(DAYS, PARIS, dues, backups, [])
    assert (found.vmid, found.lineage) == (108, UNREAD)
    assert states(found) == ["archived", "warned", "failed", "missed", "not-due"]
    assert [night.volid for night in found.nights] == ["a", "b", None, None, None]


def test_an_archive_after_midnight_belongs_to_the_evening_before() -> None:
    (found,) = calendar(DAYS[:2], PARIS, [due(8), due(9)], [], [archive("2026-03-09T00:30")])
    assert states(found) == ["archived", "missed"]


def test_an_archive_of_a_node_whose_clock_is_behind_counts_within_the_drift() -> None:
    early = [archive("2026-03-08T20:58")]
    (late,) = calendar(DAYS[:1], PARIS, [due(8)], [], early, drift=300)
    (strict,) = calendar(DAYS[:1], PARIS, [due(8)], [], early)
    assert (states(late), states(strict)) == (["archived"], ["missed"])


def test_an_archive_that_nobody_was_to_make_is_shown_on_its_own_day() -> None:
    (found,) = calendar(DAYS[:2], PARIS, [], [], [archive("2026-03-09T12:00")])
    assert (
        states(found) == ["not-due", "archived"]
        and found.nights[1].volid == "local:backup/2026-03-09T12:00"
    )


def test_a_failed_backup_beside_an_archive_is_one_to_look_at() -> None:
    failed = Backup(108, at("2026-03-08T21:01"), False, volid="kept")
    (found,) = calendar(DAYS[:1], PARIS, [due(8)], [failed], [archive("2026-03-08T21:01")])
    assert states(found) == ["warned"]
    (alone,) = calendar(DAYS[:1], PARIS, [due(8)], [failed], [])
    assert states(alone) == ["failed"] and alone.nights[0].volid == "kept"


def test_a_backup_that_has_not_ended_is_not_missed_yet() -> None:
    (found,) = calendar(DAYS[:2], PARIS, [due(8), replace(due(9), running=True)], [], [])
    assert states(found) == ["missed", "not-due"]


def test_law_5_an_archive_that_was_changed_or_holds_no_disk_is_one_to_look_at() -> None:
    for doubtful in ({"changed": "size 9 -> 7 bytes"}, {"holds_disk": False}):
        (found,) = calendar(
            DAYS[:1], PARIS, [due(8)], [], [replace(archive("2026-03-08T21:01"), **doubtful)]
        )
        assert states(found) == ["warned"]


def test_law_4_an_archive_with_nothing_in_it_is_none() -> None:
    (found,) = calendar(
        DAYS[:1], PARIS, [due(8)], [], [replace(archive("2026-03-08T21:01"), size=0)]
    )
    assert states(found) == ["missed"]


def test_the_last_backup_of_a_night_decides() -> None:
    first, again = (
        Backup(108, at("2026-03-08T21:01"), False),
        Backup(108, at("2026-03-08T22:00"), True),
    )
    (found,) = calendar(DAYS[:1], PARIS, [due(8)], [first, again], [])
    assert states(found) == ["archived"] and found.nights[0].volid is None


def test_a_vmid_that_was_used_again_is_two_machines_and_each_night_is_one_ones() -> None:
    old, new = archive("2026-03-08T21:01", "OLD"), archive("2026-03-10T21:01", "NEW")
    one, other = calendar(DAYS, PARIS, [due(day) for day in (8, 9, 10, 11, 12)], [], [new, old])
    assert (one.lineage, states(one)) == (
        "OLD",
        ["archived", "missed", "not-due", "not-due", "not-due"],
    )
    assert (other.lineage, states(other)) == (
        "NEW",
        ["not-due", "not-due", "archived", "missed", "missed"],
    )


def test_nights_before_the_first_archive_are_those_of_the_first_machine() -> None:
    (found,) = calendar(DAYS[:2], PARIS, [due(8), due(9)], [], [archive("2026-03-09T21:01", "U")])
    assert states(found) == ["missed", "archived"]


def test_an_archive_that_nobody_has_read_goes_with_the_machine_beside_it() -> None:
    read, unread = archive("2026-03-08T21:01", "U"), archive("2026-03-09T21:01")
    (found,) = calendar(DAYS[:2], PARIS, [due(8), due(9)], [], [unread, read])
    assert (found.lineage, states(found)) == ("U", ["archived", "archived"])
    before = [archive("2026-03-08T21:01"), archive("2026-03-09T21:01", "U")]
    (known,) = calendar(DAYS[:2], PARIS, [due(8), due(9)], [], before)
    assert (known.lineage, states(known)) == ("U", ["archived", "archived"])


def test_what_is_of_no_guest_is_left_out_and_guests_come_by_vmid() -> None:
    found = calendar(
        DAYS[:1], PARIS, [due(8, 110), due(8, 9)], [], [archive("2026-03-08T21:01", vmid=None)]
    )
    assert [one.vmid for one in found] == [9, 110]


@pytest.mark.parametrize("night", ["2026-03-29", "2026-10-25"])
def test_the_nights_in_which_the_clock_changes_are_nights_like_others(night: str) -> None:
    day = date.fromisoformat(night)
    begun = at(f"{night}T02:30")
    due = Due(108, begun, begun + 86400)
    (found,) = calendar(
        [day], PARIS, [due], [], [replace(archive("2026-03-08T21:01"), ctime=begun + 60)]
    )
    assert states(found) == ["archived"]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([None, "A", "B"])), max_size=8),
    st.sets(st.integers(0, 4)),
)
def test_every_night_that_was_due_is_told_of_one_machine_only(
    made: list[tuple[int, str | None]], dues: set[int]
) -> None:
    archives = [
        archive(f"2026-03-{8 + day:02}T21:0{number}", uuid)
        for number, (day, uuid) in enumerate(made)
    ]
    found = calendar(DAYS, PARIS, [due(8 + day) for day in dues], [], archives)
    for number in range(5):
        told = [
            one.nights[number]
            for one in found
            if one.nights[number].state is not NightState.NOT_DUE
        ]
        here = {uuid for day, uuid in made if day == number}
        assert (number in dues) <= bool(told) and len(told) <= max(1, len(here))
        assert bool(here) <= any(night.state is NightState.ARCHIVED for night in told)


def test_the_word_for_a_machine_that_nobody_has_read_is_part_of_the_answer() -> None:
    assert UNREAD == "unread"


def test_an_occurrence_ends_where_the_next_one_begins() -> None:
    one = replace(due(8), until=at("2026-03-09T21:00"))
    (found,) = calendar(DAYS[:2], PARIS, [one, due(9)], [], [archive("2026-03-09T21:00")])
    assert states(found) == ["missed", "archived"]


def test_of_two_occurrences_in_one_day_either_may_have_left_the_archive() -> None:
    noon = Due(108, at("2026-03-08T12:00"), at("2026-03-08T21:00"))
    (found,) = calendar(DAYS[:1], PARIS, [noon, due(8)], [], [archive("2026-03-08T12:01")])
    assert states(found) == ["archived"]
