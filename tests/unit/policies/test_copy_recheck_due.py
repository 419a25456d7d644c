"""Which copies are read anew: the longest unread first, within what is left of the night's bytes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from policies.copy_recheck_due import due, is_due, last_read, readable
from policies.model import (
    ArchiveCopy,
    CopyRoute,
    CopyTarget,
    Directory,
    IntegrityRules,
    PveStorage,
    SftpFolder,
)
from policies.recheck_due import MAX_A_NIGHT

NOW, DAY = 1_773_000_000, 86_400
RULES = IntegrityRules(every=30 * DAY, budget=1000)
USB = CopyTarget("usb", Directory("/mnt/usb"))
NAS = CopyTarget("nas", SftpFolder("nas", 22, "copies", "/srv", ("ssh-ed25519 AAAA",)))
LGE = CopyTarget("lge", PveStorage("lge-pve02", "local", "/var/lib/vz/dump"))


def copy(
    number: int, made: int, read: int | None = None, size: int = 400, vmid: int = 108
) -> ArchiveCopy:
    """``made`` and ``read``: so many days ago, None never."""
    route = CopyRoute("usb", "/mnt/usb", "copy target usb", "clovis", f"local:{number}", vmid)
    checked = None if read is None else NOW - read * DAY
    made_at = NOW - made * DAY
    return ArchiveCopy(route, str(number), size, "ab", made_at, "", "01", checked_at=checked)


def test_what_was_made_or_read_within_the_cadence_is_left_alone() -> None:
    fresh, read, old, once = copy(1, 29), copy(2, 90, 29), copy(3, 31), copy(4, 90, 30)
    assert due([fresh, read, old, once], RULES, NOW) == (old, once)
    assert last_read(old) == old.verified_at and last_read(once) == once.checked_at


def test_the_longest_unread_come_first_and_what_is_left_of_the_night_ends_it() -> None:
    longest, longer, long = copy(1, 90), copy(2, 99, 50), copy(3, 40)
    assert due([long, longer, longest], RULES, NOW) == (longest, longer)
    assert due([long, longer, longest], RULES, NOW, left=1200) == (longest, longer, long)


def test_one_is_read_even_where_the_archives_took_all_of_the_night() -> None:
    assert due([copy(1, 90), copy(2, 80)], RULES, NOW, left=0) == (copy(1, 90),)
    assert due([copy(1, 90)], RULES, NOW, left=-5) == (copy(1, 90),)


def test_of_small_copies_a_night_reads_so_many_and_no_more() -> None:
    small = [copy(number, 40, size=1) for number in range(MAX_A_NIGHT + 1)]
    assert len(due(small, replace(RULES, budget=10**9), NOW)) == MAX_A_NIGHT
    assert len(due(small, RULES, NOW, everything=True)) == MAX_A_NIGHT + 1


def test_a_reading_in_the_future_is_none() -> None:
    assert due([copy(1, -1)], RULES, NOW) == (copy(1, -1),)
    assert due([copy(1, 90, -1)], RULES, NOW) == (copy(1, 90, -1),)
    assert due([copy(1, 0)], RULES, NOW) == ()


def test_only_the_guests_that_are_asked_for_count_and_everything_is_all_of_theirs() -> None:
    mine, others, fresh = copy(1, 40), copy(2, 40, vmid=109), copy(3, 1)
    assert due([mine, others, fresh], RULES, NOW, only=(108,)) == (mine,)
    assert set(due([mine, others, fresh], RULES, NOW, only=(108,), everything=True)) == {
        mine,
        fresh,
    }
    assert is_due(mine, RULES, NOW) and not is_due(mine, RULES, NOW, (109,))


def test_a_damaged_copy_is_read_again_in_its_turn() -> None:
    bad = replace(copy(1, 90, 31), damaged="torn")
    assert due([bad], RULES, NOW) == (bad,)


def test_copies_at_targets_of_the_policy_are_read_but_for_those_that_pve_lists() -> None:
    at_usb = copy(1, 90)
    at_nas = replace(at_usb, route=replace(at_usb.route, folder="sftp://nas:22/srv"))
    at_lge = replace(at_usb, route=replace(at_usb.route, folder="lge-pve02:/var/lib/vz/dump"))
    nowhere = replace(at_usb, route=replace(at_usb.route, folder="/mnt/other"))
    found = readable([at_usb, at_nas, at_lge, nowhere], (USB, NAS, LGE))
    assert found == [(at_usb, USB), (at_nas, NAS)]


COPIES = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.none() | st.integers(-5, 200),
        st.integers(0, 2000),
        st.sampled_from([108, 109]),
    ),
    max_size=8,
).map(lambda found: [copy(number, *one) for number, one in enumerate(found)])


@given(COPIES, st.integers(-100, 3000))
def test_whatever_is_read_is_overdue_fits_and_keeps_nobody_who_waits_longer_out(
    copies: list[ArchiveCopy], left: int
) -> None:
    found = due(copies, RULES, NOW, left=left)
    overdue = [one for one in copies if is_due(one, RULES, NOW)]
    assert bool(found) == bool(overdue) and set(found) <= set(overdue)
    assert sum(one.size for one in found) <= max(left, found[0].size if found else 0)
    waits = [last_read(one) for one in found]
    assert waits == sorted(waits)
    assert all(last_read(one) >= waits[-1] for one in set(overdue) - set(found))
