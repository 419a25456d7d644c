"""Retention: PVE's own answers, case by case, and the properties that hold whatever the listing."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import Archive, GuestType, Mark, Marked, PolicyError
from policies.pve.prune_backups import Keep, parse_keep
from policies.pve.volid import file_of, parse_name
from policies.retention import decide

GOLDEN = Path(__file__).parents[2] / "golden" / "prune_vectors.json"
CASES: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
PARIS = "Europe/Paris"


def local_ctime(volid: str, tz: str) -> int | None:
    name = parse_name(file_of(volid))
    return name.ctime(ZoneInfo(tz)) if name else None


def archive(
    volid: str,
    vmid: int | None = 108,
    *,
    protected: bool = False,
    ctime: int = 0,
    node: str = "clovis",
) -> Archive:
    return Archive(
        volid, node, volid.partition(":")[0], vmid, GuestType.QEMU, ctime, 1, protected=protected
    )


def vzdump(
    when: str, vmid: int = 108, kind: str = "qemu", extension: str = "vma.zst", **more: Any
) -> Archive:
    name = datetime.fromisoformat(when).strftime(
        f"vzdump-{kind}-{vmid}-%Y_%m_%d-%H_%M_%S.{extension}"
    )
    return archive(f"local:backup/{name}", vmid, **more)


def marks(archives: Sequence[Archive], keep: str, tz: str = PARIS) -> list[str]:
    return [str(one.mark) if one else "-" for one in decide(archives, parse_keep(keep), tz)]


def reason(archives: Sequence[Archive], keep: str, index: int) -> str:
    marked = decide(archives, parse_keep(keep), PARIS)[index]
    assert marked is not None
    return marked.reasons[0]


# --- PVE's own answers ----------------------------------------------------------------------------


def from_case(entry: dict[str, Any]) -> Archive:
    return archive(
        entry["volid"], entry["vmid"], protected=bool(entry.get("protected")), ctime=entry["ctime"]
    )


def test_all_492_cases_are_here() -> None:
    assert len(CASES) == 492


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['category']}")
def test_pve_would_do_the_same(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(PolicyError) as refused:
            parse_keep(case["prune_backups"])
        assert refused.value.message == case["error"]
        return
    keep = parse_keep(case["prune_backups"])
    archives = [from_case(entry) for entry in case["backups"]]
    marked = decide(archives, keep, case["tz"], vmid=case.get("vmid"), type=case.get("type"))
    wrong = [
        f"{entry['volid']}: PVE says {entry.get('mark')}, we say {one.mark if one else None} "
        f"({one.reasons if one else ''})"
        for entry, one in zip(case["backups"], marked, strict=True)
        if entry.get("mark") != (str(one.mark) if one else None)
    ]
    assert not wrong, f"{keep} in {case['tz']}:\n" + "\n".join(wrong)


def test_pve_reads_the_same_time_from_a_name_on_days_when_the_clock_changes() -> None:
    read = [
        (entry["prune_ctime"], local_ctime(entry["volid"], case["tz"]))
        for case in CASES
        for entry in case["backups"]
        if "prune_ctime" in entry
    ]
    assert len(read) > 30
    assert all(theirs == ours for theirs, ours in read)


def test_a_kept_string_means_what_pve_made_of_it() -> None:
    for case in CASES:
        if parsed := case.get("keep_parsed"):
            rules = dict(parse_keep(case["prune_backups"]).counts()) or {"keep-all": 1}
            assert rules == {name: count for name, count in parsed.items() if count}, case["id"]


# --- the keep string ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("keep-last=3,keep-last=4", "duplicate key in comma-separated list property: keep-last"),
        ("keep-last=", "missing key in comma-separated list property"),
        ("=3", "missing key in comma-separated list property"),
        ("keep-all=maybe", "format error\nkeep-all: type check ('boolean') failed - got 'maybe'"),
    ],
)
def test_a_wrong_keep_string_is_refused_with_pve_words(text: str, refusal: str) -> None:
    with pytest.raises(PolicyError) as refused:
        parse_keep(text)
    assert refused.value.message == refusal


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "keep-all=1",
        "keep-all=yes",
        "keep-all=0",
        "keep-last=0",
        "keep-daily=0,keep-last=-0",
    ],
)
def test_nothing_positive_keeps_everything(text: str) -> None:
    assert parse_keep(text) == Keep(keep_all=True)
    assert str(parse_keep(text)) == "keep-all=1"


def test_a_number_too_long_for_any_listing_is_only_a_large_number() -> None:
    assert parse_keep("keep-last=" + "9" * 5000).keep_last > 10**15


@given(st.lists(st.integers(0, 99), min_size=6, max_size=6))
def test_a_keep_string_written_out_reads_back_as_itself(counts: list[int]) -> None:
    keep = Keep(False, *counts) if any(counts) else Keep(keep_all=True)
    assert parse_keep(str(keep)) == keep


def test_the_rules_are_described_in_english() -> None:
    assert (
        parse_keep("keep-daily=7,keep-last=3").describe()
        == "of each guest, keep 3 last, 7 daily archives"
    )
    assert parse_keep("keep-all=1").describe() == "keep every archive"


# --- marks and reasons ----------------------------------------------------------------------------


def test_every_mark_says_which_rule_made_it() -> None:
    listing = [vzdump(f"2026-03-{day:02} 21:00:02") for day in (7, 8, 9, 10)] + [
        vzdump("2026-03-08 09:00:00")
    ]
    keep = "keep-last=1,keep-daily=2"
    assert marks(listing, keep) == ["remove", "keep", "keep", "keep", "remove"]
    assert reason(listing, keep, 3) == "keep-last 1/1: newest of 2026-03-10 21:00:02"
    assert reason(listing, keep, 2) == "keep-daily 1/2: newest of 2026-03-09"
    assert reason(listing, keep, 4) == "keep-daily: a newer archive of 2026-03-08 is kept"
    assert reason(listing, keep, 0) == "not covered by any keep rule"


def test_the_week_around_new_year_is_the_iso_week() -> None:
    listing = [vzdump("2027-01-02 21:00:00"), vzdump("2026-12-28 21:00:00")]
    assert marks(listing, "keep-weekly=5") == ["keep", "remove"]
    assert reason(listing, "keep-weekly=5", 0) == "keep-weekly 1/5: newest of 2026-W53"


def test_a_protected_archive_stays_and_takes_no_place() -> None:
    listing = [
        vzdump("2026-03-10 21:00:00", protected=True),
        vzdump("2026-03-09 21:00:00"),
        vzdump("2026-03-08 21:00:00"),
    ]
    assert marks(listing, "keep-last=1") == ["protected", "keep", "remove"]


def test_a_renamed_archive_stays_and_says_why() -> None:
    listing = [
        archive("local:backup/vzdump-qemu-108-before-upgrade.vma.zst"),
        archive("local:backup/golden.vma"),
    ]
    assert marks(listing, "keep-last=1") == ["renamed", "renamed"]
    assert reason(listing, "keep-last=1", 0) == "renamed: name is not a vzdump name"


def test_a_name_with_an_impossible_date_is_renamed_and_so_never_removed() -> None:
    assert marks(
        [archive("local:backup/vzdump-qemu-108-2026_13_40-21_00_02.vma.zst")], "keep-last=1"
    ) == ["renamed"]


def test_a_name_of_the_first_day_that_there_is_ends_no_decision() -> None:
    listing = [
        archive("local:backup/vzdump-qemu-108-0001_01_01-00_00_00.vma.zst"),
        vzdump("2026-03-10 21:00:00"),
    ]
    assert marks(listing, "keep-last=2,keep-daily=1") == ["renamed", "keep"]


def test_the_owner_is_the_one_in_the_name_as_pve_has_it() -> None:
    listing = [
        vzdump("2026-03-10 21:00:00", vmid=108),
        archive("local:backup/vzdump-qemu-109-2026_03_09-21_00_00.vma", 108),
    ]
    assert marks(listing, "keep-last=1") == ["keep", "keep"]


def test_containers_and_machines_of_one_vmid_are_apart() -> None:
    listing = [
        vzdump("2026-03-10 21:00:00"),
        vzdump("2026-03-09 21:00:00", kind="lxc", extension="tar.zst"),
    ]
    assert marks(listing, "keep-last=1") == ["keep", "keep"]


def test_the_same_name_on_another_node_neither_keeps_nor_removes() -> None:
    listing = [
        vzdump("2026-03-10 21:00:00"),
        vzdump("2026-03-10 21:00:00", node="lge-pve02"),
        vzdump("2026-03-09 21:00:00"),
    ]
    assert marks(listing, "keep-last=1") == ["keep", "keep", "remove"]


def test_what_the_filters_leave_out_comes_back_without_a_mark_in_its_place() -> None:
    listing = [vzdump("2026-03-10 21:00:00", vmid=108), vzdump("2026-03-10 21:00:00", vmid=109)]
    decided = decide(listing, parse_keep("keep-last=1"), PARIS, vmid=109)
    assert decided[0] is None
    assert decided[1] is not None and decided[1].archive is listing[1]


def test_the_two_hours_after_two_in_autumn_are_one_hour_for_keep_hourly() -> None:
    listing = [
        vzdump("2026-10-25 02:50:00"),
        vzdump("2026-10-25 02:10:00"),
        vzdump("2026-10-25 01:10:00"),
    ]
    assert marks(listing, "keep-hourly=2") == ["keep", "remove", "keep"]


def test_the_absent_hour_in_spring_is_read_an_hour_later() -> None:
    absent = vzdump("2026-03-29 02:30:00")
    assert local_ctime(absent.volid, PARIS) == int(
        datetime(2026, 3, 29, 3, 30, tzinfo=ZoneInfo(PARIS)).timestamp()
    )


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(PolicyError, match="not a known time zone"):
        decide([], parse_keep(""), "Europe/Nowhere")


# --- properties -----------------------------------------------------------------------------------

KEEPS = st.builds(lambda *counts: Keep(False, *counts), *[st.integers(0, 4)] * 6).filter(
    lambda keep: bool(keep.counts())
)
MOMENTS = st.integers(0, 400 * 24 * 4).map(
    lambda quarter: datetime(2025, 1, 1) + timedelta(minutes=15 * quarter)
)
ARCHIVES = st.builds(
    lambda when, vmid, kind, protected: vzdump(
        when.isoformat(), vmid, kind, "tar" if kind == "lxc" else "vma", protected=protected
    ),
    MOMENTS,
    st.sampled_from([100, 108, 999]),
    st.sampled_from(["qemu", "lxc"]),
    st.booleans(),
)
LISTINGS = st.lists(ARCHIVES, max_size=40, unique_by=lambda one: one.volid)


def by_volid(decided: Sequence[Marked | None]) -> dict[str, tuple[Mark, tuple[str, ...]]]:
    return {one.archive.volid: (one.mark, one.reasons) for one in decided if one}


@given(LISTINGS, KEEPS)
def test_every_archive_comes_back_in_order_with_a_reason(
    listing: list[Archive], keep: Keep
) -> None:
    decided = decide(listing, keep, PARIS)
    assert [one.archive for one in decided if one] == listing
    assert all(one and one.reasons and all(one.reasons) for one in decided)


@given(LISTINGS)
def test_keep_all_removes_nothing(listing: list[Archive]) -> None:
    assert all(
        one and one.mark is not Mark.REMOVE for one in decide(listing, Keep(keep_all=True), PARIS)
    )


@given(LISTINGS, KEEPS, st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(
    listing: list[Archive], keep: Keep, shuffler: random.Random
) -> None:
    shuffled = list(listing)
    shuffler.shuffle(shuffled)
    assert by_volid(decide(shuffled, keep, PARIS)) == by_volid(decide(listing, keep, PARIS))


@given(LISTINGS, KEEPS)
def test_a_guest_is_decided_alone(listing: list[Archive], keep: Keep) -> None:
    whole = by_volid(decide(listing, keep, PARIS))
    for vmid in (100, 108, 999):
        assert (
            by_volid(decide([one for one in listing if one.vmid == vmid], keep, PARIS)).items()
            <= whole.items()
        )


@given(LISTINGS, KEEPS)
def test_no_rule_keeps_more_than_its_count_and_a_guest_never_loses_its_newest(
    listing: list[Archive], keep: Keep
) -> None:
    decided = [
        one for one in decide(listing, keep, PARIS) if one and one.mark in (Mark.KEEP, Mark.REMOVE)
    ]
    for key in {("lxc" in one.archive.volid, one.archive.vmid) for one in decided}:
        group = [one for one in decided if ("lxc" in one.archive.volid, one.archive.vmid) == key]
        kept = Counter(one.reasons[0].split(" ")[0] for one in group if one.mark is Mark.KEEP)
        assert all(kept[rule] <= count for rule, count in keep.counts())
        assert max(group, key=lambda one: one.archive.volid).mark is Mark.KEEP


@given(LISTINGS, KEEPS)
def test_what_was_removed_does_not_change_a_second_decision(
    listing: list[Archive], keep: Keep
) -> None:
    left = [
        one.archive for one in decide(listing, keep, PARIS) if one and one.mark is not Mark.REMOVE
    ]
    assert not [one for one in decide(left, keep, PARIS) if one and one.mark is Mark.REMOVE]
