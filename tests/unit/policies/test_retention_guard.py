"""Law 3: what prune never removes, and when it stops altogether."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from policies.model import Archive, GuestType, Mark, Marked, PruneRules
from policies.retention import Guarded, guard

NOW = 1_800_000_000
DAY = 86400


def marked(
    mark: Mark = Mark.REMOVE,
    *,
    age: float = 1,
    vmid: int = 108,
    proven: bool = False,
    storage: str = "local",
) -> Marked:
    ctime = NOW - int(age * DAY)
    archive = Archive(
        f"{storage}:backup/vzdump-qemu-{vmid}-{ctime}.vma.zst",
        "clovis",
        storage,
        vmid,
        GuestType.QEMU,
        ctime,
        1,
        proven_at=ctime + 3600 if proven else None,
    )
    return Marked(archive, mark, ("decided",))


def guarded(
    decided: Sequence[Marked],
    *,
    in_use: Sequence[str] = (),
    listed_before: int | None = None,
    now: int = NOW,
    share: float = 1.0,
    uncopied: Mapping[str, str] = MappingProxyType({}),
) -> Guarded:
    return guard(
        decided,
        in_use=in_use,
        listed_before=listed_before,
        now=now,
        rules=PruneRules(share),
        uncopied=uncopied,
    )


def words(result: Guarded) -> list[str]:
    return [str(one.mark) for one in result.marked]


def test_law_3_the_last_archive_of_a_guest_stays() -> None:
    result = guarded([marked(age=2), marked(age=1), marked(vmid=109, mark=Mark.KEEP)])
    assert words(result) == ["remove", "keep", "keep"]
    assert result.marked[1].reasons == ("decided", "law 3: last archive of guest 108")


def test_law_3_an_archive_that_stays_elsewhere_is_enough() -> None:
    assert words(guarded([marked(), marked(Mark.KEEP, storage="nas")])) == ["remove", "keep"]


def test_law_3_the_newest_proven_archive_stays_although_newer_unproven_ones_do() -> None:
    result = guarded(
        [marked(Mark.KEEP, age=1), marked(age=9, proven=True), marked(age=20, proven=True)]
    )
    assert words(result) == ["keep", "keep", "remove"]
    assert result.marked[1].reasons[-1] == "law 3: newest proven archive of guest 108"


def test_law_3_a_kept_newer_proof_frees_the_older_one() -> None:
    assert words(guarded([marked(Mark.KEEP, age=1, proven=True), marked(age=9, proven=True)])) == [
        "keep",
        "remove",
    ]


def test_law_3_the_proof_of_one_guest_says_nothing_of_another() -> None:
    result = guarded(
        [
            marked(Mark.KEEP, vmid=108, proven=True),
            marked(Mark.KEEP, vmid=109),
            marked(vmid=109, age=9, proven=True),
        ]
    )
    assert words(result) == ["keep", "keep", "keep"]


def test_law_3_an_archive_in_use_stays() -> None:
    decided = [marked(age=9), marked(Mark.KEEP)]
    result = guarded(decided, in_use=[decided[0].archive.volid])
    assert words(result) == ["keep", "keep"]
    assert "in use" in result.marked[0].reasons[-1]


def test_law_3_an_archive_that_is_still_to_be_copied_stays_and_no_other_for_its_sake() -> None:
    older, newer = marked(age=2), marked(age=1, proven=True)
    result = guarded([older, newer, marked(age=3)], uncopied={older.archive.volid: "usb"})
    assert words(result) == ["keep", "keep", "remove"]
    assert result.marked[0].reasons == ("decided", "law 3: its copy to usb is not verified yet")
    # what stays anyway keeps the reason that it has
    both = {older.archive.volid: "usb", newer.archive.volid: "usb"}
    assert guarded([older, newer], uncopied=both).marked[1].reasons == (
        "decided",
        "law 3: newest proven archive of guest 108",
    )
    protected = marked(Mark.PROTECTED, age=2)
    kept = guarded([protected, newer], uncopied={protected.archive.volid: "usb"}).marked[0]
    assert kept == protected


def test_law_3_protected_and_renamed_archives_are_left_as_they_are() -> None:
    decided = [marked(Mark.PROTECTED), marked(Mark.RENAMED, age=2)]
    assert list(guarded(decided).marked) == decided


def test_law_3_a_listing_that_shrank_stops_the_run() -> None:
    result = guarded([marked(age=9), marked(Mark.KEEP)], listed_before=3)
    assert (
        result.refusal
        == "law 3: 2 archives are listed where 3 were before, and we did not remove the others"
    )


def test_law_3_a_listing_that_grew_does_not_stop_it() -> None:
    assert guarded([marked(age=9), marked(Mark.KEEP)], listed_before=1).refusal is None


def test_law_3_a_clock_that_jumped_back_stops_the_run() -> None:
    result = guarded([marked(age=9), marked(Mark.KEEP)], now=NOW - 5 * DAY)
    assert result.refusal is not None and "4 days in the future" in result.refusal


def test_law_3_an_hour_of_drift_between_nodes_does_not_stop_it() -> None:
    assert guarded([marked(age=9), marked(Mark.KEEP, age=-3644 / DAY)]).refusal is None


def test_law_3_more_than_the_set_share_stops_the_run() -> None:
    decided = [marked(Mark.KEEP), *[marked(age=age) for age in (2, 3, 4)]]
    assert guarded(decided, share=0.75).refusal is None
    assert (
        guarded(decided, share=0.5).refusal
        == "law 3: 3 of 4 archives would go, more than 50% of them in one run"
    )


def test_law_3_what_the_law_keeps_does_not_count_as_going() -> None:
    assert guarded([marked(), marked(vmid=109)], share=0.1).refusal is None


def test_law_3_nothing_to_remove_is_never_refused() -> None:
    assert guarded([marked(Mark.KEEP)], listed_before=99, now=0).refusal is None


MARKED = st.builds(
    marked,
    st.sampled_from(list(Mark)),
    age=st.floats(0, 500),
    vmid=st.sampled_from([100, 108, 109]),
    proven=st.booleans(),
    storage=st.sampled_from(["local", "nas"]),
)


@given(st.lists(MARKED, max_size=30, unique_by=lambda one: one.archive.volid))
def test_law_3_holds_over_any_decision(decided: list[Marked]) -> None:
    in_use = [one.archive.volid for one in decided[::3]]
    result = guarded(decided, in_use=in_use)
    assert [one.archive for one in result.marked] == [one.archive for one in decided]
    for before, after in zip(decided, result.marked, strict=True):
        assert after.mark is before.mark or (before.mark is Mark.REMOVE and after.mark is Mark.KEEP)
    for vmid in {one.archive.vmid for one in decided}:
        group = [one for one in result.marked if one.archive.vmid == vmid]
        assert any(one.mark is not Mark.REMOVE for one in group)
        proven = [one for one in group if one.archive.proven_at is not None]
        if proven:
            assert max(proven, key=lambda one: one.archive.ctime).mark is not Mark.REMOVE
    assert not [
        one for one in result.marked if one.archive.volid in in_use and one.mark is Mark.REMOVE
    ]


def without_disk(one: Marked) -> Marked:
    return replace(one, archive=replace(one.archive, holds_disk=False))


def test_law_3_the_last_whole_archive_stays_although_one_without_a_disk_does() -> None:
    result = guarded([without_disk(marked(Mark.KEEP, age=1)), marked(age=2), marked(age=3)])
    assert words(result) == ["keep", "keep", "remove"]
    assert result.marked[1].reasons[-1] == "law 3: last archive of guest 108 that can hold a disk"


def test_law_3_a_proof_of_an_archive_without_a_disk_does_not_free_the_proven_one() -> None:
    result = guarded(
        [
            without_disk(marked(Mark.KEEP, age=1, proven=True)),
            marked(Mark.KEEP, age=2),
            marked(age=9, proven=True),
        ]
    )
    assert words(result) == ["keep", "keep", "keep"]
