"""Which copies at a target go, and which never do (law 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.age_keys import fingerprint
from policies.copies_due import route_of
from policies.copies_keep import Kept, decide, lost
from policies.copy_manifest import manifest_name
from policies.model import (
    Archive,
    ArchiveCopy,
    CopyTarget,
    Directory,
    Guest,
    GuestType,
    Mark,
    Policy,
    PruneRules,
    Release,
    Scratch,
    Tier,
    Tombstone,
    TombstoneRules,
)
from policies.pve.volid import file_of
from policies.whole import key

USB = CopyTarget("usb", Directory("/mnt/usb"), keep="keep-last=2")
POLICY = Policy(
    "s",
    "UTC",
    "en",
    (),
    {"iron": Tier("iron", 8 * 86400, 3600, 86400)},
    {},
    Scratch(9000, 9009),
    "iron",
    copies=(USB,),
    prune=PruneRules(max_share=0.9),
)
GUESTS = (Guest(105, "Kanboard", "clovis"), Guest(106, "Keyclock", "clovis"))
NOW = int(datetime(2026, 4, 1, tzinfo=UTC).timestamp())


def archive(day: int, vmid: int = 105, **more: Any) -> Archive:
    """An archive of a guest, made on that day of March at nine in the evening."""
    volid = f"local:backup/vzdump-qemu-{vmid}-2026_03_{day:02d}-21_00_00.vma.zst"
    at = int(datetime(2026, 3, day, 21, tzinfo=UTC).timestamp())
    made = Archive(volid, "clovis", "local", vmid, GuestType.QEMU, at, 100, "vma.zst")
    return replace(made, **more)


def copy_of(one: Archive) -> ArchiveCopy:
    return ArchiveCopy(
        route_of(one, USB), file_of(one.volid), one.size, "ab" * 32, NOW - 9, "read back", "01"
    )


def there(copies: Sequence[ArchiveCopy]) -> dict[str, int]:
    """What lies at the target when all copies are as they were verified."""
    return {one.file: one.size for one in copies} | {manifest_name(one.file): 9 for one in copies}


def judged(archives: Sequence[Archive], target: CopyTarget = USB, **more: Any) -> Kept:
    copies = [copy_of(one) for one in archives]
    given: dict[str, Any] = {"files": there(copies), "in_use": (), "now": NOW} | more
    guests, policy = given.pop("guests", GUESTS), given.pop("policy", POLICY)
    return decide(copies, archives, guests, policy, target, **given)


def days(kept: Kept, vmid: int = 105) -> list[str]:
    return [one.file[16:26] for one in kept.going(vmid)]


def why(kept: Kept, day: int, vmid: int = 105) -> str:
    name = file_of(archive(day, vmid).volid)
    (found,) = [one for one in kept.marked if one.copy.file == name]
    return "; ".join(found.reasons)


def test_the_targets_own_rules_say_which_copies_of_a_guest_go() -> None:
    march = [archive(day) for day in (1, 2, 3, 4)]
    assert days(judged(march)) == ["2026_03_01", "2026_03_02"]
    assert days(judged(march, replace(USB, keep="keep-last=3"))) == ["2026_03_01"]
    assert days(judged(march, replace(USB, keep="keep-all=1"))) == []


def test_each_guest_is_judged_by_itself() -> None:
    mixed = [archive(1), archive(2, 106), archive(3), archive(4, 106), archive(5)]
    assert (days(judged(mixed)), days(judged(mixed), 106)) == (["2026_03_01"], [])


def test_copies_of_a_guest_that_moved_between_two_nodes_are_judged_together() -> None:
    moved = [archive(1), archive(2, node="lge-pve02"), archive(3), archive(4, node="lge-pve02")]
    assert days(judged(moved)) == ["2026_03_01", "2026_03_02"]


def test_no_job_of_the_policy_need_cover_the_guest() -> None:
    assert POLICY.jobs == ()
    assert days(judged([archive(day) for day in (1, 2, 3)])) == ["2026_03_01"]


def test_a_copy_whose_archive_is_known_no_more_is_judged_by_its_name() -> None:
    march = [archive(day) for day in (1, 2, 3)]
    copies = [copy_of(one) for one in march]
    kept = decide(copies, [], GUESTS, POLICY, USB, files=there(copies), in_use=(), now=NOW)
    assert days(kept) == ["2026_03_01"]


def test_law_3_a_copy_of_the_future_stops_all_also_where_its_archive_is_known_no_more() -> None:
    copies = [copy_of(archive(day)) for day in (1, 2, 31)]
    early = archive(20).ctime
    kept = decide(copies, [], GUESTS, POLICY, USB, files=there(copies), in_use=(), now=early)
    assert days(kept) == [] and kept.refusal and "a clock is wrong" in kept.refusal


def test_a_copy_whose_name_tells_nothing_is_kept() -> None:
    strange = replace(archive(1), volid="local:backup/by-hand.vma.zst")
    kept = judged([strange, archive(2), archive(3), archive(4)])
    assert days(kept) == ["2026_03_02"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"proven_at": 7}, "law 3: newest proven archive of guest 105"),
        ({"changed": "size 9 -> 100"}, "the archive that it was made from is not fit"),
        ({"damaged": "torn"}, "the archive that it was made from is not fit"),
    ],
)
def test_law_3_what_a_rule_would_remove_stays_for_what_is_known_of_its_archive(
    changes: dict[str, Any], said: str
) -> None:
    kept = judged([archive(1, **changes), archive(2), archive(3), archive(4)])
    assert days(kept) == ["2026_03_02"] and said in why(kept, 1)


def test_law_3_a_copy_of_an_archive_that_is_damaged_counts_for_no_rule() -> None:
    kept = judged([archive(1), archive(2), archive(3), archive(4, damaged="torn")])
    assert days(kept) == ["2026_03_01"], "the two newest good ones are kept beside it"


def test_law_3_what_somebody_reads_or_copies_stays() -> None:
    kept = judged([archive(day) for day in (1, 2, 3)], in_use={archive(1).volid})
    assert days(kept) == [] and "in use" in why(kept, 1)


def test_a_protected_copy_stays_and_counts_not() -> None:
    march = [archive(day) for day in (1, 2, 3, 4)]
    protection = {f"{file_of(archive(4).volid)}.protected": 0}
    kept = judged(march, files=there([copy_of(one) for one in march]) | protection)
    assert days(kept) == ["2026_03_01"], "the third and the second are the last two that count"


def test_of_a_guest_that_is_gone_everything_stays() -> None:
    march = [archive(day) for day in (1, 2, 3)]
    kept = judged(march, guests=GUESTS[1:])
    assert days(kept) == [] and "no longer exists" in why(kept, 1)


def test_of_a_guest_of_which_nobody_knows_whether_it_stands_everything_stays() -> None:
    kept = judged([archive(day) for day in (1, 2, 3)], unsure={105: "it was not asked"})
    assert days(kept) == [] and why(kept, 1) == "it was not asked"


@pytest.mark.parametrize("harm", ["gone", "cut", "without its manifest"])
def test_law_3_nothing_goes_while_a_verified_copy_is_not_there_as_it_was(harm: str) -> None:
    march = [archive(day) for day in (1, 2, 3)]
    newest = file_of(archive(3).volid)
    files = there([copy_of(one) for one in march])
    if harm == "without its manifest":
        del files[manifest_name(newest)]
    else:
        files |= {newest: 5}
        if harm == "gone":
            del files[newest]
    kept = judged(march, files=files)
    assert days(kept) == [] and kept.refusal
    assert kept.refusal.startswith(f"law 3: {newest} should be there and is not as verified")


def test_many_that_are_not_there_are_counted() -> None:
    kept = judged([archive(day) for day in (1, 2, 3, 4, 5)], files={})
    assert kept.refusal and "and 2 more should be there and are not" in kept.refusal
    kept = judged([archive(day) for day in (1, 2, 3)], files={})
    assert kept.refusal and "more" not in kept.refusal


def test_law_3_a_run_that_would_remove_most_copies_of_a_target_is_refused() -> None:
    march = [archive(day) for day in range(1, 31)]
    kept = judged(march, replace(USB, keep="keep-last=1"))
    assert days(kept) == [] and kept.refusal and "29 of 30 archives would go" in kept.refusal


def test_law_3_nothing_goes_while_a_clock_is_wrong() -> None:
    kept = judged([archive(1), archive(2), archive(3)], now=NOW - 60 * 86400)
    assert days(kept) == [] and kept.refusal and "a clock is wrong" in kept.refusal


def test_law_10_copies_of_another_machine_under_the_same_vmid_stay() -> None:
    ours: dict[str, Any] = {"uuid": "44454c4c-0000-4000-8000-000000000105", "operation": "01"}
    other = archive(1, uuid="0b5e5e1e-0000-4000-8000-00000000001d")
    kept = judged([other, *(archive(day, **ours) for day in (2, 3, 4))])
    assert days(kept) == ["2026_03_02"] and "law 10" in why(kept, 1)


def test_one_file_with_two_routes_is_one_copy() -> None:
    both = [archive(1), archive(1, shared=True)]
    assert key(both[0]) != key(both[1])
    kept = judged([*both, archive(2), archive(3)])
    assert days(kept) == ["2026_03_01", "2026_03_01"]
    assert days(judged([*both, archive(2)])) == []


ARCHIVES = st.lists(
    st.builds(
        archive,
        st.integers(1, 28),
        st.sampled_from([105, 106, 107]),
        node=st.sampled_from(["clovis", "lge-pve02"]),
        proven_at=st.sampled_from([None, None, 7]),
        damaged=st.sampled_from(["", "", "", "torn"]),
        size=st.sampled_from([0, 40, 100, 100, 100]),
        protected=st.booleans(),
    ),
    unique_by=lambda one: one.volid,
    max_size=12,
)


@given(ARCHIVES, st.integers(1, 3), st.sets(st.integers(0, 11)))
def test_law_3_holds_at_a_target_whatever_lies_there(
    archives: list[Archive], last: int, used: set[int]
) -> None:
    pinned = {archives[index].volid for index in used if index < len(archives)}
    target = replace(USB, keep=f"keep-last={last}")
    kept = judged(archives, target, in_use=pinned, policy=replace(POLICY, prune=PruneRules(1.0)))
    gone = {one.file for vmid in (105, 106, 107) for one in kept.going(vmid)}
    assert {one.copy.file for one in kept.marked if one.mark is Mark.REMOVE} == gone
    assert not gone & {file_of(volid) for volid in pinned}
    assert not any(str(one.vmid) == "107" for one in archives if file_of(one.volid) in gone)
    for vmid in (105, 106):
        good = [one for one in archives if one.vmid == vmid and one.size > 0 and not one.unfit]
        left = [one for one in good if file_of(one.volid) not in gone]
        assert len(left) >= min(last, len(good))
        if proven := [one for one in good if one.proven_at]:
            newest = max(proven, key=lambda one: one.ctime)
            assert file_of(newest.volid) not in gone


@pytest.mark.parametrize("manifest", ["{}.copy.json", "{}.copy.json~2"])
def test_a_numbered_copy_at_an_immutable_target_is_there_with_a_manifest_of_the_archives_name(
    manifest: str,
) -> None:
    first = copy_of(archive(9))
    numbered = replace(first, file=f"{first.file}~2")
    files = {numbered.file: numbered.size, manifest.format(first.file): 9}
    assert lost([numbered], files, immutable=True) == []
    assert lost([numbered], {numbered.file: numbered.size}, immutable=True) == [numbered]
    assert lost([numbered], files | {numbered.file: 1}, immutable=True) == [numbered]


def test_where_things_are_renamed_only_the_manifest_beside_a_copy_speaks_of_it() -> None:
    copy = copy_of(archive(9))
    assert lost([copy], there([copy])) == []
    assert lost([copy], {copy.file: copy.size, f"{manifest_name(copy.file)}~2": 9}) == [copy]


# --- encrypted ------------------------------------------------------------------------------------


def encrypted(one: Archive) -> ArchiveCopy:
    return replace(copy_of(one), recipients=("age1a",), segments="60~2 70")


def decided(
    copies: Sequence[ArchiveCopy], archives: Sequence[Archive], files: dict[str, int]
) -> Kept:
    return decide(copies, archives, GUESTS, POLICY, USB, files=files, in_use=(), now=NOW)


def files_of(one: ArchiveCopy) -> dict[str, int]:
    return {
        f"{one.file}.00001.age~2": 60,
        f"{one.file}.00002.age": 70,
        f"{one.file}.age.json": 900,
    }


def test_encrypted_copies_are_kept_and_go_by_the_same_rules() -> None:
    archives = [archive(day) for day in (1, 2, 3, 4)]
    copies = [encrypted(one) for one in archives]
    files = {file: size for one in copies for file, size in files_of(one).items()}
    kept = decided(copies, archives, files=files)
    assert kept.refusal is None and [one.file for one in kept.going(105)] == [
        copies[0].file,
        copies[1].file,
    ]
    files |= {f"{copies[0].file}.protected.age": 200}
    assert [one.file for one in decided(copies, archives, files=files).going(105)] == [
        copies[1].file
    ]


@pytest.mark.parametrize(
    "harm",
    [
        {".00001.age~2": None},
        {".00002.age": 71},
        {".age.json": None},
    ],
)
def test_law_3_nothing_goes_while_an_encrypted_copy_is_not_there_as_verified(
    harm: dict[str, int | None],
) -> None:
    archives = [archive(day) for day in (1, 2, 3, 4)]
    copies = [encrypted(one) for one in archives]
    files: dict[str, int | None] = {}
    for one in copies:
        files |= files_of(one)
    files |= {copies[3].file + end: size for end, size in harm.items()}
    there = {file: size for file, size in files.items() if size}
    assert lost(copies, there) == [copies[3]]
    assert "copy sync --to usb" in str(decided(copies, archives, files=there).refusal)


def test_an_encrypted_copy_of_which_nobody_knows_the_segments_is_not_there() -> None:
    one = encrypted(archive(1))
    assert lost([one], files_of(one)) == []
    second = {f"{one.file}.age.json~2": 900}
    files = {file: size for file, size in files_of(one).items() if "json" not in file}
    assert lost([one], files | second) == [], "at an immutable target it may be the second"
    assert lost([replace(one, segments="")], files_of(one)) == [replace(one, segments="")]


KEY, LOST = "age1a", "age1b"


@given(
    st.lists(st.sampled_from([(), (KEY,), (LOST,), (KEY, LOST)]), min_size=1, max_size=9),
    st.integers(1, 3),
    st.sampled_from([(), (fingerprint(KEY),), (fingerprint(KEY), fingerprint(LOST))]),
)
def test_law_3_no_copy_that_can_surely_be_read_goes_for_one_that_nobody_was_shown_to_open(
    recipients: list[tuple[str, ...]], last: int, shown: tuple[str, ...]
) -> None:
    archives = [archive(day, proven_at=NOW - 5) for day in range(1, len(recipients) + 1)]
    copies = [
        replace(encrypted(one), recipients=whom) if whom else copy_of(one)
        for one, whom in zip(archives, recipients, strict=True)
    ]
    files = there([one for one in copies if not one.encrypted])
    for one in copies:
        files |= files_of(one) if one.encrypted else {}
    kept = decide(
        copies, archives, GUESTS, replace(POLICY, prune=PruneRules(1.0)),
        replace(USB, keep=f"keep-last={last}"),
        files=files, in_use=(), now=NOW, opened_by=shown,
    )  # fmt: skip
    assert kept.refusal is None
    for surely in (True, False):
        mine = [
            one
            for one in copies
            if surely
            is (not one.recipients or any(fingerprint(key) in shown for key in one.recipients))
        ]
        assert [one for one in mine if one in kept.going(105)] == mine[: max(0, len(mine) - last)]


def test_law_10_plain_copies_of_another_machine_stay_beside_encrypted_ones_of_the_guests() -> None:
    archives = [archive(day, uuid="aa-1" if day < 5 else "bb-1") for day in range(1, 7)]
    copies = [*map(copy_of, archives[:4]), *map(encrypted, archives[4:])]
    files = there(copies[:4])
    for one in copies[4:]:
        files |= files_of(one)
    kept = decide(copies, archives, GUESTS, POLICY, USB, files=files, in_use=(), now=NOW)
    assert kept.going(105) == []


def test_copies_to_a_key_that_was_shown_to_work_rotate_with_the_plain_ones_of_before() -> None:
    archives = [archive(day) for day in (1, 2, 3, 4)]
    copies = [*map(copy_of, archives[:2]), *map(encrypted, archives[2:])]
    files = there(copies[:2])
    for one in copies[2:]:
        files |= files_of(one)

    def going(*shown: str) -> int:
        kept = decide(
            copies, archives, GUESTS, POLICY, USB, files=files, in_use=(), now=NOW, opened_by=shown
        )
        return len(kept.going(105))

    assert (going(), going(fingerprint(LOST)), going(fingerprint(KEY))) == (0, 0, 2)


def test_law_3_of_a_guest_that_is_gone_copies_stay_until_its_tombstone_is_released() -> None:
    archives = [
        archive(day, uuid="aa-1", proven_at=NOW - 5 if day == 3 else None) for day in range(1, 6)
    ]
    copies = [copy_of(one) for one in archives]
    stone = Tombstone(105, GuestType.QEMU, NOW - 9, 0, uuid="aa-1")
    policy = replace(POLICY, tombstone=TombstoneRules(1, 86400))

    def left(gone: Tombstone) -> int:
        kept = decide(
            copies, archives, GUESTS[1:], policy, USB,
            files=there(copies), in_use=(), now=NOW, gone=[gone],
        )  # fmt: skip
        assert kept.refusal is None
        return len(copies) - len(kept.going(105))

    assert left(stone) == 5
    released = replace(stone, released=Release(NOW, "alice@desk", "why", wholly=True))
    assert left(released) == 1
    assert left(replace(released, doubt="a node is down")) == 5
    assert left(replace(released, uuid="bb-1")) == 5


def test_law_10_while_it_is_asked_whose_they_are_no_copy_goes() -> None:
    archives = [
        archive(day, uuid="aa-1" if day < 3 else "bb-1", macs="bc:24:11:00:00:01")
        for day in range(1, 6)
    ]
    copies = [copy_of(one) for one in archives]
    kept = decide(copies, archives, GUESTS, POLICY, USB, files=there(copies), in_use=(), now=NOW)
    assert kept.going(105) == []
    assert all("lineage-asked" in one.reasons[-1] for one in kept.marked)


def test_law_3_a_damaged_copy_is_put_aside_and_no_good_one_goes_because_of_it() -> None:
    archives = [archive(day) for day in (1, 2, 3)]
    assert days(judged(archives)) == ["2026_03_01"]
    copies = [copy_of(one) for one in archives]
    copies[2] = replace(copies[2], damaged="torn")
    kept = decide(copies, archives, GUESTS, POLICY, USB, files=there(copies), in_use=(), now=NOW)
    assert days(kept) == [] and kept.refusal is None
    (bad,) = (one for one in kept.marked if one.copy == copies[2])
    assert (
        bad.mark is Mark.KEEP and "was found damaged when it was read anew (torn)" in bad.reasons[0]
    )


def test_law_3_while_a_damaged_copy_is_not_there_no_other_one_goes() -> None:
    archives = [archive(day) for day in (1, 2, 3)]
    copies = [copy_of(one) for one in archives]
    copies[2] = replace(copies[2], damaged="it is not there any more")
    files = there(copies[:2])
    kept = decide(copies, archives, GUESTS, POLICY, USB, files=files, in_use=(), now=NOW)
    assert kept.refusal and "copy sync" in kept.refusal
