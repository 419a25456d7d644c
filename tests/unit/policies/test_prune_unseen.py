"""What is known and could not be listed never makes an archive go, and is said guest by guest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policies import prune_guard
from policies.model import Archive, GuestType, Mark, Marked

MARKS = st.sampled_from([Mark.KEEP, Mark.REMOVE, Mark.PROTECTED, Mark.RENAMED])


def archive(second: int, node: str = "a", storage: str = "local", **changes: Any) -> Archive:
    volid = f"{storage}:backup/vzdump-qemu-108-2026_03_09-21_00_{second:02d}.vma.zst"
    return replace(
        Archive(volid, node, storage, 108, GuestType.QEMU, 1_773_086_400 + second, 1000 + second),
        **changes,
    )


@given(
    st.lists(st.tuples(MARKS, MARKS), max_size=12),
    st.lists(st.tuples(st.integers(0, 14), st.sampled_from(["local", "usb"])), max_size=6),
)
def test_law_3_an_archive_goes_only_if_it_goes_with_and_without_what_is_unseen_and_is_no_twin_of_that(
    pairs: list[tuple[Mark, Mark]], hidden: list[tuple[int, str]]
) -> None:
    listed = [archive(second) for second in range(len(pairs))]
    plain = [Marked(one, mark, ("alone",)) for one, (mark, _) in zip(listed, pairs, strict=True)]
    aware = [Marked(one, mark, ("beside",)) for one, (_, mark) in zip(listed, pairs, strict=True)]
    found = prune_guard.beside_unseen(
        plain, aware, [archive(second, "b", storage) for second, storage in hidden]
    )
    assert [one.archive for one in found] == listed
    twins = {second for second, _ in hidden}
    for number, (one, (alone, beside)) in enumerate(zip(found, pairs, strict=True)):
        assert (one.mark is Mark.REMOVE) == (alone is beside is Mark.REMOVE and number not in twins)
        assert one == plain[number] if alone is not Mark.REMOVE else one.reasons


def test_a_file_of_the_same_name_and_another_size_is_no_twin() -> None:
    mine = Marked(archive(1), Mark.REMOVE, ("old",))
    assert prune_guard.beside_unseen([mine], [mine], [archive(1, "b", size=5)]) == (mine,)
    (held,) = prune_guard.beside_unseen([mine], [mine], [archive(1, "b", "usb")])
    twin = "usb:backup/vzdump-qemu-108-2026_03_09-21_00_01.vma.zst on b"
    assert held.mark is Mark.KEEP
    assert held.reasons == (
        "old",
        f"law 3: {twin}, of equal name and size, may be its copy, and is out of reach",
    )


def test_where_nothing_is_unseen_a_decision_stays_what_it_is() -> None:
    decided = [Marked(archive(number, "a"), mark, ("why",)) for number, mark in enumerate(Mark)]
    assert prune_guard.beside_unseen(decided, decided, ()) == tuple(decided)
    assert prune_guard.beside_unseen(decided, list(decided), ()) == tuple(decided)


def test_each_guest_is_told_what_is_unseen_of_it_and_why() -> None:
    unseen = [
        archive(1, "b"),
        archive(2, "", "nas", shared=True, proven_at=5),
        archive(3, "b", vmid=109),
        archive(4, "b", vmid=None),
    ]
    why = {("b", "local"): "node b is offline", ("", "nas"): "596 Connection timed out"}
    on_b = "1 on storage local of b, where node b is offline"
    assert prune_guard.out_of_reach(unseen, why) == {
        108: "guest 108: 2 known archives are out of reach, and not gone (1 on the shared storage "
        "nas, where 596 Connection "
        f"timed out; {on_b}), proven ones among them: no other goes because of them",
        109: f"guest 109: 1 known archive is out of reach, and not gone ({on_b}): no other goes "
        "because of it",
    }
    assert prune_guard.out_of_reach([], {}) == {}
