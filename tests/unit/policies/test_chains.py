"""Archives of one VMID are told apart by machine, and where nothing tells, a person is asked (law
10).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import chains, lineage, whole
from policies.chains import (
    UNREAD,
    Chain,
    Decision,
    DecisionKind,
    Piece,
    Question,
    Relation,
    Settled,
    relation,
)
from policies.lineage import Identity
from policies.model import Archive, Decided, GuestType, Mark, Marked, PruneRules, Rung
from policies.retention import guard

DAY = 86_400
A, B, C = "aaaaaaaa-1", "bbbbbbbb-1", "cccccccc-1"
MAC, OTHER = "bc:24:11:00:00:01", "bc:24:11:00:00:02"
BY: dict[str, Any] = {"at": 100 * DAY, "who": "alice@desk", "why": "restored with --unique"}


def archive(day: int, uuid: str | None = A, macs: str = MAC, **more: Any) -> Archive:
    volid = f"local:backup/vzdump-qemu-105-2026_03_{day:02d}-21_00_00.vma.zst"
    made = Archive(
        volid, "a", "local", 105, GuestType.QEMU, day * DAY, 1 << 30, uuid=uuid, macs=macs
    )
    return replace(made, **more)


def container(day: int, macs: str = MAC, **more: Any) -> Archive:
    return archive(day, None, macs, type=GuestType.LXC, **more)


def names(archives: list[Archive]) -> list[str]:
    return [one.name for one in chains.chains(archives)]


# --- what the configs say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        (Identity(A), Identity(A), "same"),
        (Identity(A), Identity(B), "another"),
        (Identity(A, macs=(MAC,)), Identity(B, macs=(OTHER,)), "another"),
        (Identity(A, macs=(MAC,)), Identity(B, macs=(MAC, OTHER)), "asked"),
        (Identity(A, 1), Identity(B, 1), "asked"),
        (Identity(A, 1), Identity(A, 2), "another"),
        (Identity(A, 1, macs=(MAC,)), Identity(A, 2, macs=(MAC,)), "asked"),
        (Identity(None, 1), Identity(None, 1), "same"),
        (Identity(None, 1), Identity(A, 1), "same"),
        (Identity(None, 1), Identity(None, 2), "another"),
        (Identity(macs=(MAC,)), Identity(macs=(MAC, OTHER)), "same"),
        (Identity(macs=(MAC,)), Identity(macs=(OTHER,)), "asked"),
        (Identity(A), Identity(None, 1), "untold"),
        (Identity(macs=(MAC,)), Identity(), "untold"),
        (Identity(), Identity(), "untold"),
    ],
)
def test_law_10_what_two_configs_say_of_their_machines(
    one: Identity, two: Identity, expected: str
) -> None:
    assert relation(one, two) == relation(two, one) == Relation(expected)


def test_what_people_said_comes_before_what_the_configs_say() -> None:
    mine, theirs = Decided("0", ("1",)), Decided("1", ("0",))
    same = Identity(A)
    assert relation(replace(same, decided=mine), replace(same, decided=theirs)) is Relation.ANOTHER
    assert (
        relation(replace(same, decided=mine), replace(Identity(B), decided=mine)) is Relation.SAME
    )
    unrelated = replace(same, decided=Decided("7"))
    assert relation(replace(same, decided=mine), unrelated) is Relation.SAME
    assert relation(replace(same, decided=mine), Identity(B)) is Relation.ANOTHER


# --- chains ---------------------------------------------------------------------------------------


def test_law_10_a_reused_vmid_is_two_chains_each_with_its_archives() -> None:
    found = chains.chains([archive(3, B, OTHER), archive(1), archive(2), archive(4, B, OTHER)])
    assert [(one.name, one.weak, len(one.archives)) for one in found] == [
        (A, False, 2),
        (B, False, 2),
    ]
    assert found[0].pieces == (Piece(A, None, MAC),)
    assert chains.questions([*found[0].archives, *found[1].archives]) == ()


def test_name_and_generation_may_change_within_a_chain_and_so_may_a_nic() -> None:
    assert names([archive(1), archive(2, macs=f"{MAC} {OTHER}", name="renamed")]) == [A]
    assert names([container(1), container(2, f"{MAC} {OTHER}"), container(3, OTHER)]) == [
        f"mac-{MAC}",
        f"mac-{OTHER}",
    ], "a chain contradicts none of its archives"


def test_what_nothing_tells_is_a_chain_of_its_own_and_kinds_are_never_one() -> None:
    found = chains.chains(
        [archive(1, None, ""), archive(2, None, ""), container(3, ""), archive(4, None, "", born=9)]
    )
    assert [(one.name, one.type, one.weak) for one in found] == [
        (UNREAD, GuestType.QEMU, True),
        (f"{UNREAD}+lxc", GuestType.LXC, True),
        ("created-9", GuestType.QEMU, True),
    ]
    assert not Piece().told and Piece(born=9).told


def test_machines_that_share_a_name_are_told_apart_by_more() -> None:
    twins = [archive(1, born=1), archive(2, born=2, macs=OTHER)]
    assert names(twins) == [A, f"{A}+2"]
    cut = Decided("0", ("1",), 0), Decided("1", ("0",), 0)
    both = [archive(1, None, "", decided=cut[0]), archive(2, None, "", decided=cut[1])]
    found = names([*both, archive(3, None, "")])
    assert found[:2] == [UNREAD, f"{UNREAD}+qemu"] and len(set(found)) == 3


def test_a_chain_is_found_by_its_name_or_the_beginning_of_it_alone() -> None:
    found = chains.chains([archive(1, "ab-1", ""), archive(2, "ab-2", ""), archive(3, "ab", "")])
    assert [one.name for one in found] == ["ab-1", "ab-2", "ab"]
    assert chains.find(found, "ab-2") is found[1]
    assert chains.find(found, "ab") is found[2]
    assert chains.find(found, "a") is chains.find(found, "") is chains.find(found, "x") is None


# --- questions ------------------------------------------------------------------------------------


def test_law_10_another_uuid_on_the_same_nics_is_asked_and_names_the_first_archive() -> None:
    listing = [archive(1), archive(2), archive(3, B), archive(4, B)]
    assert chains.questions(listing) == (
        Question(
            105,
            GuestType.QEMU,
            A,
            B,
            archive(3).volid,
            ("MAC addresses",),
            ("SMBIOS UUID",),
        ),
    )
    said = chains.asked(listing)[105, GuestType.QEMU]
    assert said.startswith("lineage-asked: ")
    assert f"lineage join 105 {A} {B}" in said and f"split 105 {archive(3).volid}" in said


def test_other_nics_are_asked_where_nothing_else_tells() -> None:
    (one,) = chains.questions([container(1, born=1), container(2, OTHER)])
    assert (one.same, one.differs) == ((), ("MAC addresses",))
    assert "(nothing stayed" in chains.in_words(one)
    assert chains.questions([container(1, born=1), container(2, OTHER, born=1)]) == ()
    (one,) = chains.questions([archive(1, born=1), archive(2, B, OTHER, born=1)])
    assert (one.same, one.differs) == (("creation time",), ("SMBIOS UUID", "MAC addresses"))
    (one,) = chains.questions([archive(1, born=1), archive(2, born=2)])
    assert (one.same, one.differs) == (("SMBIOS UUID", "MAC addresses"), ("creation time",))


def test_files_of_nobody_are_asked_nothing() -> None:
    assert chains.questions([archive(1, vmid=None), archive(2, B, vmid=None)]) == ()
    assert chains.questions([archive(1), archive(2)]) == ()


# --- decisions ------------------------------------------------------------------------------------


def told(listing: list[Archive], *decisions: Decision) -> list[Archive]:
    return chains.settle(listing, decisions)


def joined(listing: list[Archive], one: str, other: str, **by: Any) -> Decision:
    found = chains.chains(listing)
    first, second = chains.find(found, one), chains.find(found, other)
    assert first and second
    return chains.join(105, first, second, **(BY | by))


def parted(listing: list[Archive], day: int) -> tuple[Decision, ...]:
    volid = archive(day).volid
    found = chains.chains(listing)
    chain = next(c for c in found if any(a.volid == volid for a in c.archives))
    before = [
        one
        for question in chains.questions(listing)
        if question.newer == chain.name
        for one in found
        if one.name == question.older
    ]
    return chains.split(105, chain, volid, before, **BY)


CHANGED = [archive(1), archive(2), archive(3, B), archive(4, B)]


def test_law_10_a_join_answers_the_question_and_a_split_undoes_it() -> None:
    join = joined(CHANGED, A, B)
    one = told(CHANGED, join)
    assert names(one) == [A] and not chains.questions(one) and not lineage.others(one)
    apart = parted(one, 3)
    two = told(CHANGED, join, *apart)
    assert names(two) == [A, B] and not chains.questions(two)
    assert lineage.others(two) == {whole.key(a) for a in CHANGED[:2]}
    again = told(CHANGED, join, *apart, joined(two, A, B))
    assert names(again) == [A]


def test_law_10_a_split_answers_a_question_with_no_and_a_join_undoes_it() -> None:
    apart = parted(CHANGED, 3)
    two = told(CHANGED, *apart)
    assert names(two) == [A, B] and not chains.questions(two)
    assert names(told(CHANGED, *apart, joined(two, A, B))) == [A]


def test_law_10_a_split_within_a_chain_makes_what_comes_from_then_on_another_machine() -> None:
    listing = [archive(day) for day in (1, 2, 3)]
    apart = parted(listing, 2)
    two = told(listing, *apart)
    assert names(two) == [A, f"{A}@{2 * DAY}"]
    assert lineage.others(two) == {whole.key(listing[0])}
    # tonight's archive is of the new machine without anybody saying so again
    assert names(told([*listing, archive(9)], *apart)) == names(two)
    assert len(chains.chains(told([*listing, archive(9)], *apart))[1].archives) == 3
    assert names(told(listing, *apart, joined(two, A, f"{A}@"))) == [A]


def test_a_split_of_a_chain_of_which_nothing_is_before_it_is_nothing() -> None:
    assert parted([archive(1), archive(2)], 1) == ()


def test_a_first_archive_that_two_questions_are_about_is_said_apart_from_both() -> None:
    listing = [archive(1), archive(2, B, OTHER), archive(3, C, f"{MAC} {OTHER}")]
    assert len(chains.questions(listing)) == 2
    apart = parted(listing, 3)
    two = told(listing, *apart)
    assert len(apart) == 2 and not chains.questions(two) and names(two) == [A, B, C]


def test_a_decision_holds_for_what_is_alike_and_for_no_other_guest() -> None:
    join = joined(CHANGED, A, B)
    more = archive(5, B, f"{MAC} {OTHER}", born=7)
    assert names(told([*CHANGED, more], join)) == [A]
    other = replace(CHANGED[0], vmid=106)
    assert told([other, container(1)], join) == [other, container(1)]
    stranger = archive(6, C, OTHER)
    assert names(told([*CHANGED, stranger], join)) == [A, C]
    assert told(told(CHANGED, join)) == CHANGED, "nothing is left of what nobody said"


def test_what_was_said_of_chains_that_were_joined_holds_for_all_of_them() -> None:
    listing = [archive(1), archive(2, B), archive(3, C)]
    first = joined(listing, A, B)
    second = joined(told(listing, first), A, C)
    assert names(told(listing, first, second)) == [A]
    settled = Settled([first, second]).of(Identity(C, macs=(MAC,)), 9 * DAY)
    assert settled is not None and settled.joined_at == 100 * DAY and settled.apart == ()


def test_what_was_not_read_can_be_split_and_joined_too() -> None:
    listing = [archive(day, None, "") for day in (1, 2)]
    apart = parted(listing, 2)
    two = told(listing, *apart)
    assert [one.name for one in chains.chains(two)] == [UNREAD, f"{UNREAD}@{2 * DAY}"]


def test_the_present_machine_is_told_by_what_people_said_alone_too() -> None:
    listing = [archive(day, None, "") for day in (1, 2)]
    two = told(listing, *parted(listing, 2))
    assert lineage.others(two) == {whole.key(listing[0])}
    (reason,) = lineage.another(lineage.of_archive(two[0]), lineage.of_archive(two[1]))
    assert "catalog lineage list" in reason


# --- law 3 ----------------------------------------------------------------------------------------


def guarded(listing: list[Archive]) -> list[Archive]:
    """Those that a prune by which all would go keeps for law 3."""
    marked = [Marked(one, Mark.REMOVE, ("x",)) for one in listing]
    found = guard(marked, in_use=(), listed_before=None, now=300 * DAY, rules=PruneRules(1.0))
    return [one.archive for one in found.marked if one.mark is Mark.KEEP]


def test_law_3_a_join_lets_go_of_neither_chains_newest_proven_archive_before_a_newer_proof() -> (
    None
):
    old, new = archive(1, proven_at=2 * DAY), archive(3, B, proven_at=4 * DAY)
    listing = [old, archive(2), new, archive(4, B)]
    join = joined(listing, A, B)
    assert guarded(told(listing, join)) == told([old, new], join)
    # a new proof of an old backup is not one of the joined machine
    late = replace(new, proven_at=120 * DAY)
    assert len(guarded(told([old, archive(2), late], join))) == 2
    after = archive(110, B, proven_at=111 * DAY)
    assert guarded(told([*listing, after], join)) == told([after], join)


def test_law_3_a_join_under_a_clock_that_was_behind_lets_go_of_nothing_either() -> None:
    old, new = archive(1, proven_at=2 * DAY), archive(3, B, proven_at=4 * DAY)
    join = joined([old, new], A, B, at=0)
    assert join.at == 4 * DAY
    assert len(guarded(told([old, new], join))) == 2


def test_law_3_a_damaged_archive_is_not_the_newer_proof_of_a_joined_chain() -> None:
    old, new = archive(1, proven_at=2 * DAY), archive(3, B, proven_at=4 * DAY)
    join = joined([old, new], A, B)
    bad = archive(110, B, proven_at=111 * DAY, damaged="torn")
    assert {one.ctime for one in guarded(told([old, new, bad], join))} >= {DAY, 3 * DAY}


def test_law_3_a_split_keeps_what_was_joined_held_as_it_was() -> None:
    listing = [archive(1, proven_at=1), archive(2, B, proven_at=2), archive(3, B)]
    join = joined(listing, A, B)
    one = told(listing, join)
    two = told(listing, join, *parted(one, 3))
    assert {a.ctime for a in guarded(two)} == {DAY, 2 * DAY, 3 * DAY}


def test_law_3_older_machines_are_each_a_guest_of_their_own() -> None:
    listing = [archive(1, A, "", proven_at=1), archive(2, B, "", proven_at=1), archive(3, C, "")]
    assert guarded(listing) == listing
    assert chains.law_groups([archive(1), archive(2)]) == {}


def test_law_3_of_each_nic_that_was_joined_the_newest_proven_archive_stays() -> None:
    listing = [archive(1, A, MAC, proven_at=2 * DAY), archive(2, A, "", proven_at=3 * DAY)]
    apart = parted(listing, 2)
    one, other = chains.chains(told(listing, *apart))
    join = chains.join(105, one, other, **(BY | {"at": 0}))
    known = told(listing, *apart, join)
    assert guarded(known) == known


def test_law_3_what_only_a_nic_tells_to_be_of_an_older_machine_keeps_its_newest_proven() -> None:
    listing = [
        archive(1, A, MAC, proven_at=1),
        archive(2, None, MAC, proven_at=1),
        archive(3, B, OTHER, proven_at=1),
    ]
    assert lineage.others(listing) == {whole.key(listing[0])}
    assert guarded(listing) == listing


def test_law_10_what_was_apart_from_a_machine_is_apart_from_both_parts_of_it() -> None:
    """Two splits of one config are three machines, in whichever order they were said."""
    listing = [archive(day, proven_at=1) for day in (1, 2, 3)]
    first = parted(listing, 2)
    second = parted(told(listing, *first), 3)
    late = parted(listing, 3)
    early = parted(told(listing, *late), 2)
    for said in ((*first, *second), (*late, *early)):
        three = told(listing, *said)
        assert [len(one.archives) for one in chains.chains(three)] == [1, 1, 1]
        assert lineage.others(three) == {whole.key(one) for one in listing[:2]}
        assert guarded(three) == three


def test_law_10_what_tells_nothing_is_known_by_having_been_there() -> None:
    """Of an archive that was made later, and not read, nobody said anything."""
    listing = [archive(1), archive(2, None, "")]
    join = joined(listing, A, UNREAD, at=0)
    assert names(told(listing, join)) == [A]
    later = archive(3, None, "")
    assert names(told([*listing, later], join)) == [A, UNREAD]
    bare = [archive(day, None, "") for day in (1, 2)]
    apart = chains.split(105, chains.chains(bare)[0], bare[1].volid, (), at=0, who="w", why="y")
    assert apart[0].at == 2 * DAY
    assert [one.decided is None for one in told([*bare, later], *apart)] == [False, False, True]


def test_law_10_the_present_machine_is_told_by_what_was_joined_with_it_too() -> None:
    listing = [
        archive(1, A, "", proven_at=1),
        archive(2, B, MAC, proven_at=1),
        archive(3, None, OTHER, proven_at=1),
    ]
    join = joined(listing, B, f"mac-{OTHER}")
    known = told(listing, join)
    assert lineage.others(known) == {whole.key(listing[0])}
    present = lineage.present(known)
    assert present is not None and present.uuid == B and present.macs == (OTHER,)
    assert guarded(known) == known


@st.composite
def archives(draw: st.DrawFn) -> Archive:
    day = draw(st.integers(1, 250))
    made = archive(
        day,
        draw(st.sampled_from([None, A, B, C])),
        draw(st.sampled_from(["", MAC, OTHER, f"{MAC} {OTHER}"])),
        born=draw(st.sampled_from([None, 1, 2])),
        proven_at=draw(st.sampled_from([None, None, (day + 1) * DAY, 1])),
        rung=draw(st.sampled_from([Rung.RECORDED, Rung.INTACT])),
        type=draw(st.sampled_from([GuestType.QEMU, GuestType.QEMU, GuestType.LXC])),
        operation=draw(st.sampled_from([None, "op"])),
    )
    return replace(made, volid=f"{made.volid}-{day}-{made.type}")


LISTINGS = st.lists(archives(), min_size=1, max_size=12, unique_by=whole.key)


def said(data: st.DataObject, listing: list[Archive]) -> list[Decision]:
    """Whatever people may say one after another."""
    made: list[Decision] = []
    for _ in range(data.draw(st.integers(0, 4))):
        found = chains.chains(chains.settle(listing, made))
        chain = data.draw(st.sampled_from(found))
        at = data.draw(st.integers(0, 300)) * DAY
        alike = [one for one in found if one.type is chain.type and one is not chain]
        joins: bool = data.draw(st.booleans())
        if alike and joins:
            other = data.draw(st.sampled_from(alike))
            made.append(chains.join(105, chain, other, at=at, who="w", why="y"))
        else:
            volid = data.draw(st.sampled_from(chain.archives)).volid
            made += chains.split(105, chain, volid, alike, at=at, who="w", why="y")
    return made


def newest_proven(chain: Chain) -> Archive | None:
    return max(
        (one for one in chain.archives if one.proven_at is not None),
        key=lambda one: one.ctime,
        default=None,
    )


@pytest.mark.slow
@given(LISTINGS, st.data())
@settings(max_examples=500, deadline=None)
def test_law_3_whatever_people_say_the_newest_proven_archive_of_each_chain_stays(
    listing: list[Archive], data: st.DataObject
) -> None:
    decisions = said(data, listing)
    known = chains.settle(listing, decisions)
    kept = {whole.key(one) for one in guarded(known)}
    others = lineage.others(known)
    for chain in chains.chains(known):
        foreign = [one for one in chain.archives if whole.key(one) in others]
        # the guest's own archives are one guest, those of other machines each one of their own
        for group in (foreign,) if foreign else ():
            newest = newest_proven(replace(chain, archives=tuple(group)))
            assert newest is None or any(
                whole.key(one) in kept and one.ctime >= newest.ctime for one in group
            )
    for one in (each for each in decisions if each.kind is DecisionKind.JOIN):
        of_it = [archive for archive in known if archive.type is one.type]
        for side in (one.one, one.other):
            _joined_side_stays(of_it, side, kept, one.at)


def _joined_side_stays(
    known: list[Archive], side: tuple[Piece, ...], kept: set[tuple[str, str]], at: int
) -> None:
    """Of each side of a join the newest proven archive stays, but for a newer backup that was proven
    after it.
    """
    theirs = [one for one in known if chains.piece_of(one) in side]
    newest = max(
        (one for one in theirs if one.proven_at is not None),
        key=lambda one: one.ctime,
        default=None,
    )
    if newest is not None:
        later = [
            one
            for one in known
            if one.proven_at is not None
            and min(one.ctime, one.proven_at) > at
            and one.ctime > newest.ctime
        ]
        own = [one for one in theirs if one.ctime >= newest.ctime]
        assert any(whole.key(one) in kept for one in [*own, *later])


@pytest.mark.slow
@given(LISTINGS, st.data())
@settings(max_examples=300, deadline=None)
def test_each_archive_is_in_one_chain_and_no_chain_holds_two_machines(
    listing: list[Archive], data: st.DataObject
) -> None:
    known = chains.settle(listing, said(data, listing))
    found = chains.chains(known)
    assert sorted(whole.key(one) for chain in found for one in chain.archives) == sorted(
        map(whole.key, known)
    )
    assert len({chain.name for chain in found}) == len(found)
    for chain in found:
        for one in chain.archives:
            for other in chain.archives:
                how = relation(lineage.of_archive(one), lineage.of_archive(other))
                assert how not in (Relation.ANOTHER, Relation.ASKED)
