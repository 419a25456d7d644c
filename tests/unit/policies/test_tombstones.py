"""What remains of a guest that is gone stays until a person lets go of it, and some of it even then
(laws 3 and 4).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import chains, prune_marks, tombstones, whole
from policies.lineage import Identity
from policies.model import (
    Archive,
    ArchiveCopy,
    CopyRoute,
    Guest,
    GuestType,
    Job,
    Mark,
    Node,
    Policy,
    PruneRules,
    Release,
    Rung,
    Suspicion,
    SuspicionKind,
    Tombstone,
    TombstoneRules,
)
from policies.retention import guard
from policies.site import load_policy

DAY = 86_400
A, B, MAC = "aaaaaaaa-1", "bbbbbbbb-1", "bc:24:11:00:00:01"
RULES = TombstoneRules(2, 90 * DAY)
POLICY: Policy = replace(
    load_policy("site: s\njobs: {nightly: {guests: all, keep: keep-last=1}}", "s"), tombstone=RULES
)
GUEST = Guest(105, "web", "a")
NODES = [Node("a", online=True), Node("b", online=True)]
SAID = Release(40 * DAY, "alice@desk", "it is retired", wholly=False)


def archive(day: int, uuid: str | None = A, **more: Any) -> Archive:
    volid = f"local:backup/vzdump-qemu-105-2026_03_{day:02d}-21_00_00.vma.zst"
    made = Archive(volid, "a", "local", 105, GuestType.QEMU, day * DAY, 1 << 30, uuid=uuid)
    return replace(made, **more)


FIVE = [archive(day, proven_at=day * DAY + 9 if day in (2, 3, 4) else None) for day in range(1, 6)]


def stone(listing: list[Archive], **more: Any) -> Tombstone:
    (chain,) = chains.chains(listing)
    made = tombstones.of_chain(105, chain, now=30 * DAY, name="web", seen_last=29 * DAY)
    return replace(made, **more)


def marks(listing: list[Archive], *gone: Tombstone, guests: tuple[Guest, ...] = ()) -> list[Any]:
    found = prune_marks.decide_all(listing, guests, POLICY, gone=gone)
    return [(one.mark, one.reasons[-1]) for one in found]


def kept(listing: list[Archive], *gone: Tombstone, guests: tuple[Guest, ...] = ()) -> list[int]:
    """The days whose archives stay after law 3."""
    found = prune_marks.decide_all(listing, guests, POLICY, gone=gone)
    after = guard(found, in_use=(), listed_before=None, now=400 * DAY, rules=PruneRules(1.0))
    return [one.archive.ctime // DAY for one in after.marked if one.mark is not Mark.REMOVE]


# --- who is gone ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "quorate", "guests", "seen", "why"),
    [
        (NODES, True, [GUEST], {105, 106}, None),
        (NODES[:1], None, [], {105}, None),
        ([], True, [GUEST], {105}, "named no node"),
        ([NODES[0], Node("b", online=False)], True, [GUEST], {105}, "b cannot be asked"),
        ([Node("a", online=True, unknown=True)], True, [], {105}, "a cannot be asked"),
        (NODES, False, [GUEST], {105}, "not quorate"),
        (NODES, True, [GUEST], {106, 107}, "none of the 2 guests"),
    ],
)
def test_law_4_nobody_is_missing_where_the_cluster_did_not_answer_whole(
    nodes: list[Node], quorate: bool | None, guests: list[Guest], seen: set[int], why: str | None
) -> None:
    found = tombstones.not_whole(nodes, quorate, guests, seen)
    assert found is None if why is None else found is not None and why in found


def test_law_10_only_a_machine_that_surely_is_not_there_is_missing() -> None:
    old, new = chains.chains([archive(1), archive(2, B)])
    both = (old, new)
    assert tombstones.missing(both, None, None) == both
    assert tombstones.missing(both, GUEST, Identity(B)) == (old,)
    assert tombstones.missing(both, GUEST, Identity("c")) == both
    assert tombstones.missing(both, GUEST, None) == ()
    assert tombstones.missing(both, GUEST, Identity()) == ()
    assert tombstones.missing(both, replace(GUEST, type=GuestType.LXC), None) == both
    (unknown,) = chains.chains([archive(1, None, type=None)])
    assert tombstones.missing((unknown,), replace(GUEST, type=GuestType.LXC), None) == ()


def test_law_10_while_it_is_asked_whose_archives_they_are_none_of_them_is_missing() -> None:
    found = chains.chains([archive(1, macs=MAC), archive(2, B, macs=MAC), archive(3, "c-1")])
    assert [one.name for one in tombstones.missing(found, None, None)] == ["c-1"]


def test_law_10_the_same_machine_returned_and_no_other() -> None:
    (chain,) = chains.chains([archive(1)])
    assert tombstones.returned(chain, GUEST, Identity(A))
    assert not tombstones.returned(chain, GUEST, Identity(B))
    assert not tombstones.returned(chain, GUEST, Identity())
    assert not tombstones.returned(chain, GUEST, None)
    assert not tombstones.returned(chain, replace(GUEST, type=GuestType.LXC), Identity(A))


def test_a_tombstone_is_of_the_chain_of_its_newest_archive_however_that_goes_on() -> None:
    mine = stone(FIVE)
    assert (mine.uuid, mine.newest, mine.name, mine.seen_last) == (A, 5 * DAY, "web", 29 * DAY)
    (chain,) = known = chains.chains(FIVE[:2])
    assert tombstones.chain_of(mine, known) is chain
    (more,) = known = chains.chains([archive(1, born=7)])
    assert tombstones.chain_of(mine, known) is more
    for other in (archive(1, B), archive(1, type=GuestType.LXC)):
        assert tombstones.chain_of(mine, chains.chains([other])) is None
    assert tombstones.chain_of(replace(mine, cut=DAY), [chain]) is None
    assert tombstones.chain_of(mine, []) is None
    (named,) = chains.chains([archive(1, name="of the archive")])
    assert tombstones.of_chain(105, named, now=1).name == "of the archive"


# --- what stays -----------------------------------------------------------------------------------


def test_the_time_is_counted_from_the_latest_that_is_known() -> None:
    """A clock that was behind when the guest was missed does not shorten it."""
    mine = stone(FIVE)
    assert tombstones.kept_until(mine, RULES) == 120 * DAY
    assert tombstones.kept_until(replace(mine, missing_since=0), RULES) == 119 * DAY
    early = replace(mine, missing_since=0, seen_last=None)
    assert tombstones.kept_until(early, RULES) == 95 * DAY


def test_law_3_of_a_guest_that_is_gone_everything_stays_and_it_is_said_until_when() -> None:
    for mark, why in marks(FIVE, stone(FIVE)):
        assert mark is Mark.KEEP
        assert why.startswith("guest 105 (web) is gone (missing since 1970-01-31): its archives")
        assert "kept until 1970-05-01" in why and "tombstones release 105" in why
    assert "is gone" in marks(FIVE, stone(FIVE, name=""))[0][1]
    assert kept(FIVE, stone(FIVE)) == [1, 2, 3, 4, 5]


def test_law_3_what_was_released_in_its_time_keeps_its_newest_proven_backups() -> None:
    released = stone(FIVE, released=SAID)
    assert kept(FIVE, released) == [3, 4]
    (mark, why), *_, (kept_mark, kept_why), _ = marks(FIVE, released)
    assert mark is Mark.REMOVE
    assert why == ("its tombstone was released by alice@desk on 1970-02-10 (it is retired)")
    assert kept_mark is Mark.KEEP and "newest 2 proven backups" in kept_why


def test_law_3_what_was_released_wholly_keeps_the_newest_proven_archive_and_no_other() -> None:
    assert kept(FIVE, stone(FIVE, released=replace(SAID, wholly=True))) == [4]
    bare = [replace(one, proven_at=None) for one in FIVE]
    assert kept(bare, stone(bare, released=replace(SAID, wholly=True))) == [5]
    unread = [archive(7, None, proven_at=9), archive(8, None)]
    gone = stone(unread, released=replace(SAID, wholly=True))
    later = [archive(day, proven_at=day * DAY) for day in (11, 12)]
    assert kept([*unread, *later], gone, guests=(GUEST,)) == [7, 12], "of each machine its own"
    assert "law 3: newest proven archive of guest 105 (web)" in marks(unread, gone)[0][1]


def test_law_3_where_none_is_proven_the_newest_intact_ones_stay_and_else_the_newest() -> None:
    bare = [replace(one, proven_at=None) for one in FIVE]
    intact = [replace(one, rung=Rung.INTACT) if n < 3 else one for n, one in enumerate(bare)]
    assert kept(intact, stone(intact, released=SAID)) == [2, 3]
    assert kept(bare, stone(bare, released=SAID)) == [4, 5]
    assert "newest 2 good backups" in marks(bare, stone(bare, released=SAID))[-1][1]


def test_a_backup_that_lies_in_two_places_takes_one_place() -> None:
    twice = [*FIVE, *(replace(one, node="b") for one in FIVE[2:4])]
    assert kept(twice, stone(twice, released=SAID)) == [3, 4, 3, 4]


def test_law_4_a_release_lets_go_of_nothing_while_it_is_not_sure_that_the_guest_is_gone() -> None:
    doubtful = stone(FIVE, released=replace(SAID, wholly=True), doubt="node b is offline")
    assert kept(FIVE, doubtful) == [1, 2, 3, 4, 5]
    assert marks(FIVE, doubtful)[0][1].endswith("not sure: node b is offline")


def test_a_guest_that_may_be_the_same_rotates_with_what_was_released() -> None:
    back = stone(FIVE, released=SAID, doubt="who knows", standing=True)
    assert kept(FIVE, back, guests=(GUEST,)) == [4, 5], "keep-last, and the newest proven"
    assert kept(FIVE, replace(back, released=None), guests=(GUEST,)) == [1, 2, 3, 4, 5]


def test_law_10_of_a_reused_vmid_only_the_released_machines_archives_go() -> None:
    new = [archive(day, B, operation="op") for day in (10, 11)]
    old = stone(FIVE, released=SAID)
    assert kept([*FIVE, *new], guests=(GUEST,)) == [1, 2, 3, 4, 5, 11]
    assert kept([*FIVE, *new], old, guests=(GUEST,)) == [3, 4, 11]
    wholly = replace(old, released=replace(SAID, wholly=True))
    assert kept([*FIVE, *new], wholly, guests=(GUEST,)) == [4, 11]


def test_law_3_what_is_protected_put_aside_asked_or_unsure_stays_whoever_released_it() -> None:
    bad = [*FIVE, archive(6, damaged="torn"), archive(7, protected=True), archive(8, size=0)]
    mine = stone(bad, released=SAID)
    assert kept(bad, mine) == [3, 4, 6, 7, 8]
    found = prune_marks.decide_all(FIVE, (), POLICY, {105: "who knows"}, [mine])
    assert {one.reasons for one in found} == {("who knows",)}
    asked = [replace(one, macs=MAC) for one in FIVE] + [archive(9, B, macs=MAC)]
    (first, _) = chains.chains(asked)
    gone = replace(tombstones.of_chain(105, first, now=1), released=SAID)
    assert all(why.startswith("lineage-asked") for _, why in marks(asked, gone))


def test_law_3_what_was_put_aside_stays_though_it_is_of_another_machine_than_the_guest_now() -> (
    None
):
    new = [archive(day, B, operation="op") for day in (10, 11)]
    bad = [
        *FIVE,
        archive(6, suspicious=(Suspicion(SuspicionKind.EMPTIED, "scsi0", 1, 0, "x"),)),
        archive(7, size=1 << 20),
    ]
    mine = stone(bad, released=SAID)
    assert kept([*bad, *new], mine, guests=(GUEST,)) == [3, 4, 6, 7, 11]


def test_what_was_put_aside_is_not_what_a_tombstone_keeps_in_place_of_whole_ones() -> None:
    seen = Suspicion(SuspicionKind.EMPTIED, "scsi0", 1, 0, "x")
    bare = [replace(one, proven_at=None, rung=Rung.INTACT) for one in FIVE]
    small = [archive(6, size=1 << 20, rung=Rung.INTACT), archive(7, suspicious=(seen,))]
    assert tombstones.held_backups([*bare, *small], RULES) == {4 * DAY, 5 * DAY}
    only = [archive(day, suspicious=(seen,)) for day in (1, 2, 3)]
    assert tombstones.held_backups(only, RULES) == {2 * DAY, 3 * DAY}


def test_what_was_renamed_is_left_alone_whoever_let_go_of_it() -> None:
    renamed = [archive(day, type=None) for day in (1, 2, 3)]
    wholly = replace(SAID, wholly=True)
    assert tombstones.fates(renamed, [stone(renamed, released=wholly)], RULES) == {}
    assert kept(renamed, stone(renamed, released=wholly)) == [1, 2, 3]


# --- whether a release counts ---------------------------------------------------------------------


def test_law_3_a_release_that_is_dated_in_the_future_is_none_and_it_is_said() -> None:
    ahead = stone(FIVE, released=replace(SAID, wholly=True))
    early = tombstones.doubted(ahead, FIVE, None, None, SAID.at - 1)
    assert "dated 1970-02-10 00:00 UTC, which is still to come" in early.doubt
    assert not early.standing and kept(FIVE, early) == [1, 2, 3, 4, 5]
    assert tombstones.doubted(ahead, FIVE, None, None, SAID.at) == ahead
    (shown,) = tombstones.listed([ahead], FIVE, [], RULES, SAID.at)
    assert not shown.over
    over = replace(ahead, released=replace(SAID, wholly=True, at=500 * DAY))
    (shown,) = tombstones.listed([over], FIVE, [], RULES, 499 * DAY)
    assert shown.over
    assert tombstones.doubted(over, FIVE, GUEST, Identity(), 499 * DAY).standing is False


def test_law_3_a_release_is_no_word_about_what_was_backed_up_since() -> None:
    """The machine came back and went again, and nobody looked meanwhile."""
    since = [*FIVE, archive(41)]
    released = stone(FIVE, released=replace(SAID, wholly=True))
    found = tombstones.doubted(released, since, None, None, 50 * DAY)
    assert since[-1].volid in found.doubt and "release it once more" in found.doubt
    assert kept(since, found) == [1, 2, 3, 4, 5, 41]
    at_once = [*FIVE, replace(archive(40), ctime=SAID.at)]
    assert tombstones.doubted(released, at_once, None, None, 50 * DAY) == released


def test_a_release_counts_where_the_guest_is_surely_gone_and_stands_where_nothing_tells() -> None:
    released = stone(FIVE, released=SAID)
    now = 50 * DAY
    assert tombstones.doubted(stone(FIVE), FIVE, GUEST, None, now) == stone(FIVE)
    assert tombstones.doubted(released, FIVE, None, None, now) == released
    assert tombstones.doubted(released, FIVE, GUEST, Identity(B), now) == released
    same = tombstones.doubted(released, FIVE, GUEST, Identity(A), now)
    assert same.standing and "nothing tells whether it is the same" in same.doubt
    nothing = tombstones.doubted(released, [archive(1, B)], None, None, now)
    assert nothing.doubt == "none of its archives is known" and not nothing.standing


def test_law_10_what_went_to_a_guests_rules_does_not_go_with_that_guest() -> None:
    beside = stone(FIVE, released=replace(SAID, beside=True))
    assert tombstones.doubted(beside, FIVE, GUEST, Identity(), 50 * DAY).standing
    for guest, machine in ((None, None), (GUEST, Identity(B))):
        found = tombstones.doubted(beside, FIVE, guest, machine, 50 * DAY)
        assert not found.standing and "is gone by now" in found.doubt
        assert kept(FIVE, found) == [1, 2, 3, 4, 5]


def test_law_10_a_release_of_one_machine_is_none_of_those_that_were_joined_with_it() -> None:
    apart = [archive(1, macs=MAC), archive(2, macs=MAC), archive(3, B, macs=MAC)]
    one, other = chains.chains(apart)
    said = chains.join(105, one, other, at=10 * DAY, who="w", why="y")
    joined = chains.settle(apart, [said])
    released = replace(SAID, wholly=True)
    first = tombstones.of_chain(105, one, now=20 * DAY)
    second = tombstones.of_chain(105, other, now=20 * DAY)
    gone = replace(first, released=released)
    for stones in ((gone, second), (second, gone)):
        assert kept(joined, *stones) == [1, 2, 3]
    both = (gone, replace(second, released=released))
    assert kept(joined, *both) == [2, 3], "until a newer backup of the joined one is proven"
    less = (gone, replace(second, released=SAID))
    assert kept(joined, *less) == [2, 3]
    assert marks(joined, *both)[0][1].count("was released by") == 2
    doubtful = (gone, replace(second, released=released, doubt="who knows"))
    assert kept(joined, *doubtful) == [1, 2, 3]


def test_law_10_a_tombstone_is_of_no_machine_that_only_shares_a_nic_with_its_chain() -> None:
    two = "bc:24:11:00:00:02"
    mine = [archive(1, macs=MAC), archive(2, None, macs=f"{MAC} {two}")]
    other = archive(3, B, macs=two)
    found = chains.chains([*mine, other])
    first = tombstones.of_chain(105, found[0], now=20 * DAY)
    assert (first.uuid, first.newest) == (A, 2 * DAY)
    assert tombstones.chain_of(first, found) is found[0]
    assert tombstones.chain_of(first, chains.chains([other])) is None
    weak = replace(first, uuid=None, macs=f"{MAC} {two}")
    assert tombstones.chain_of(weak, found) is found[0]
    unclear = chains.chains([mine[0], other])
    assert len(unclear) == 2 and tombstones.chain_of(weak, unclear) is None


# --- other guests ---------------------------------------------------------------------------------


def test_other_guests_archives_are_no_tombstones() -> None:
    others = [replace(one, vmid=106) for one in FIVE]
    assert tombstones.fates(others, [stone(FIVE)], RULES) == {}
    assert tombstones.fates([archive(1, B)], [stone(FIVE)], RULES) == {}
    assert tombstones.fates(FIVE, [], RULES) == {}


# --- shown ----------------------------------------------------------------------------------------


def copy_of(one: Archive) -> ArchiveCopy:
    route = CopyRoute("usb", "/usb", "usb", *whole.key(one), 105)
    return ArchiveCopy(route, "f", one.size, "", 1, "h", "op")


def test_a_tombstone_is_shown_with_what_it_holds_and_until_when() -> None:
    mine = stone(FIVE)
    (shown,) = tombstones.listed([mine], FIVE, [copy_of(FIVE[3]), copy_of(FIVE[0])], RULES, 0)
    assert (shown.chain, len(shown.archives), shown.copies) == (A, 5, 2)
    assert (shown.newest_proven, shown.until, shown.over) == (4 * DAY, 120 * DAY, False)
    (shown,) = tombstones.listed([mine], [], [], RULES, 120 * DAY)
    assert (shown.archives, shown.newest_proven, shown.over) == ((), None, False)
    (shown,) = tombstones.listed([mine], FIVE, [], RULES, 120 * DAY)
    assert shown.over
    partly = replace(mine, released=SAID)
    (shown,) = tombstones.listed([partly], FIVE, [], RULES, 120 * DAY)
    assert shown.over
    wholly = replace(mine, released=replace(SAID, wholly=True))
    (shown,) = tombstones.listed([wholly], FIVE, [], RULES, 120 * DAY)
    assert not shown.over


def test_a_guest_may_be_the_machine_of_a_tombstone_that_no_uuid_tells() -> None:
    (told,) = tombstones.listed([stone(FIVE)], FIVE, [], RULES, 0)
    assert not tombstones.may_be(told, GUEST)
    bare = [replace(one, uuid=None) for one in FIVE]
    (untold,) = tombstones.listed([stone(bare)], bare, [], RULES, 0)
    assert tombstones.may_be(untold, GUEST)
    assert not tombstones.may_be(untold, replace(GUEST, type=GuestType.LXC))


# --- whatever there is ----------------------------------------------------------------------------


@st.composite
def archives(draw: st.DrawFn) -> Archive:
    day = draw(st.integers(1, 99))
    made = archive(
        day,
        draw(st.sampled_from([None, A, B])),
        born=draw(st.sampled_from([None, None, 1])),
        macs=draw(st.sampled_from(["", MAC])),
        proven_at=draw(st.sampled_from([None, day * DAY + 9])),
        rung=draw(st.sampled_from([Rung.RECORDED, Rung.INTACT])),
        size=draw(st.sampled_from([0, 1 << 20, 1 << 30])),
        operation=draw(st.sampled_from([None, "op"])),
        node=draw(st.sampled_from(["a", "b"])),
        protected=draw(st.sampled_from([False, False, True])),
    )
    return replace(made, volid=f"{made.volid}-{day}-{made.uuid}")


@pytest.mark.slow
@given(
    st.lists(archives(), min_size=1, max_size=12, unique_by=whole.key),
    st.data(),
    st.integers(1, 3),
    st.integers(-50, 500),
)
@settings(max_examples=600, deadline=None)
def test_law_3_whatever_was_said_nothing_goes_that_must_stay(
    listing: list[Archive], data: st.DataObject, count: int, now: int
) -> None:
    """No prune removes the newest proven archive of a lineage, nor anything of a machine whose
    absence is not sure, nor more than was let go of.
    """
    policy = replace(
        POLICY,
        jobs=(Job("n", "21:00", "local", keep="keep-last=1"),),
        tombstone=TombstoneRules(count, 90 * DAY),
    )
    found = chains.chains(listing)
    there = data.draw(st.sampled_from([(), (GUEST,)]))
    gone = []
    for chain in found:
        if data.draw(st.booleans()):
            said = data.draw(st.sampled_from([None, SAID, replace(SAID, wholly=True)]))
            doubt = data.draw(st.sampled_from(["", "not sure"]))
            made = tombstones.of_chain(105, chain, now=data.draw(st.integers(0, 99)) * DAY)
            gone.append(replace(made, released=said, doubt=doubt))
    marked = prune_marks.decide_all(listing, there, policy, gone=gone)
    after = guard(marked, in_use=(), listed_before=None, now=now * DAY, rules=PruneRules(1.0))
    went = {whole.key(one.archive) for one in after.marked if one.mark is Mark.REMOVE}
    if not there:
        unsure = [one for one in gone if one.doubt or one.released is None]
        sure = {(one.uuid, one.born, one.macs) for one in gone if one not in unsure}
        assert not went or sure
    asked = chains.questions(listing)
    assert not asked or not went
    hollow = whole.hollow(listing)
    for chain in found:
        mine = tombstones.stones_of(chain, found, gone)
        proven = [
            one
            for one in chain.archives
            if one.proven_at is not None and whole.key(one) not in hollow
        ]
        if proven and not there:
            newest = max(one.ctime for one in proven)
            assert any(one.ctime == newest and whole.key(one) not in went for one in proven)
        if not mine and not there:
            assert not went & {whole.key(one) for one in chain.archives}
        if mine and all(one.released is None or one.doubt for one in mine):
            assert not went & {whole.key(one) for one in chain.archives}
        first = next(iter(mine), None)
        if first and first.released and not first.released.wholly:
            held = tombstones.held_backups(chain.archives, policy.tombstone)
            theirs = {whole.key(one) for one in chain.archives if one.ctime in held}
            assert not went & theirs
