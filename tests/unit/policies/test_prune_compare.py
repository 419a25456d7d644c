"""Our keep rules against PVE's own dry run: the same marks on the same archives, or the guest loses
nothing.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import prune_guard, retention
from policies.model import Archive, GuestType, Job, Mark, Marked, Policy, Scratch
from policies.prune_compare import DIFFERS, Question, differing, explanation, questions, unasked
from policies.pve.prune_backups import parse_keep
from policies.pve.volid import file_of, parse_name
from pvelab.guests import prune as lab

KEEP = "keep-last=1,keep-daily=2"
JOB = Job("nightly", "21:00", "local", keep=KEEP, guests=(107, 108))
FREE: Any = MappingProxyType({})


def policy(*jobs: Job) -> Policy:
    return Policy("s", "Europe/Paris", "en", jobs, FREE, FREE, Scratch(9000, 9009), "standard")


def archive(vmid: int | None, time: str, **changes: Any) -> Archive:
    """``time`` as a name has it, such as 2026_03_09-21_00_02."""
    whole = Archive(
        f"local:backup/vzdump-qemu-{vmid}-{time}.vma.zst",
        "clovis",
        "local",
        vmid,
        GuestType.QEMU,
        1,
        500,
    )
    return replace(whole, **changes)


def marked(mark: Mark, *archives: Archive) -> list[Marked]:
    return [Marked(one, mark, ("why",)) for one in archives]


def theirs(archives: tuple[Archive, ...], keep: str, zone: str) -> dict[str, str]:
    """What a node in that time zone says, by the lab's reading of PVE's rules."""
    candidates = []
    for one in archives:
        name = parse_name(file_of(one.volid))
        time = name.ctime(ZoneInfo(zone)) if name else None
        group = (name.kind, name.vmid) if name and name.kind and name.vmid else None
        candidates.append(lab.Candidate(group, time or one.ctime, one.protected))
    marks = lab.prune(candidates, lab.parse_keep(keep), zone)
    return {one.volid: mark for one, mark in zip(archives, marks, strict=True)}


NIGHTS = [archive(108, f"2026_03_{day:02d}-21_00_02") for day in range(1, 8)]
OTHERS = [archive(107, f"2026_03_{day:02d}-21_10_02") for day in range(1, 4)]


def test_a_storage_is_asked_once_for_all_guests_of_one_job_that_would_lose_something() -> None:
    decided = [*marked(Mark.REMOVE, NIGHTS[0]), *marked(Mark.KEEP, *NIGHTS[1:], *OTHERS)]
    (asked,) = questions(decided, policy(JOB))
    assert asked == Question("clovis", "local", KEEP, (108,), tuple(NIGHTS))
    (every,) = questions(decided, policy(JOB), every=True)
    assert every.vmids == (107, 108) and every.archives == (*NIGHTS, *OTHERS)


def test_other_rules_other_nodes_and_other_storages_are_questions_of_their_own() -> None:
    second = Job("others", "22:00", "local", keep="keep-last=2", guests=(107,))
    first = replace(JOB, guests=(108,))
    elsewhere = archive(108, "2026_03_01-22_00_00", node="lge-pve02")
    both = [
        archive(108, f"2026_03_0{day}-23_00_00", storage="nas", shared=True, node=node)
        for day, node in ((1, "clovis"), (2, "lge-pve02"))
    ]
    asked = questions(
        marked(Mark.REMOVE, NIGHTS[0], OTHERS[0], elsewhere, *both), policy(first, second)
    )
    assert [(one.node, one.storage, one.keep, one.vmids) for one in asked] == [
        ("clovis", "local", KEEP, (108,)),
        ("clovis", "local", "keep-last=2", (107,)),
        ("lge-pve02", "local", KEEP, (108,)),
        ("clovis", "nas", KEEP, (108,)),  # through one node: PVE lists a shared storage the same
    ]


def test_pve_is_not_asked_where_no_rule_judges() -> None:
    nobodys = archive(None, "x", volid="local:backup/vzdump-mine.vma.zst")
    uncovered = archive(109, "2026_03_01-21_00_02")
    decided = marked(Mark.REMOVE, nobodys, uncovered, NIGHTS[0])
    assert questions(decided, policy(replace(JOB, keep="keep-all=1"))) == ()
    assert questions(marked(Mark.KEEP, *NIGHTS), policy(JOB)) == ()
    (asked,) = questions(decided, policy(JOB), every=True)
    assert asked.vmids == (108,)


@pytest.mark.slow
@given(
    days=st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=15),
    hours=st.lists(st.integers(0, 23), min_size=15, max_size=15),
    protected=st.sets(st.integers(0, 14)),
    keep=st.sampled_from([KEEP, "keep-last=2", "keep-weekly=2,keep-monthly=1", "keep-hourly=3"]),
)
def test_a_node_that_counts_as_we_do_says_the_same(
    days: list[int], hours: list[int], protected: set[int], keep: str
) -> None:
    archives = tuple(
        archive(
            108,
            f"2026_{1 + day // 28:02d}_{1 + day % 28:02d}-{hours[at]:02d}_10_00",
            protected=at in protected,
        )
        for at, day in enumerate(days)
    )
    question = Question("clovis", "local", keep, (108,), archives)
    assert differing(question, theirs(archives, keep, "Europe/Paris"), "Europe/Paris") == {}


def test_a_mark_that_differs_stops_its_guest_alone_and_is_named() -> None:
    archives = (*NIGHTS, *OTHERS)
    question = Question("clovis", "local", KEEP, (107, 108), archives)
    answer = theirs(archives, KEEP, "Europe/Paris")
    assert differing(question, answer, "Europe/Paris") == {}
    found = differing(question, answer | {NIGHTS[-1].volid: "remove"}, "Europe/Paris")
    assert found == {
        108: f"{DIFFERS}: PVE's own dry run on storage local of clovis, by {KEEP} marks "
        f"{NIGHTS[-1].volid} (remove, where our rules say keep)"
    }


def test_only_three_of_many_differences_are_named() -> None:
    question = Question("clovis", "local", KEEP, (108,), tuple(NIGHTS))
    said = differing(question, dict.fromkeys((one.volid for one in NIGHTS), "renamed"), "UTC")[108]
    assert said.count("where our rules say") == 3 and said.endswith(" and 4 more")
    few = differing(question, {one.volid: "keep" for one in NIGHTS[4:]}, "UTC")[108]
    assert NIGHTS[0].volid in few and few.count("local:backup") == 3 and " and 1 more" in few


def test_three_differences_are_all_named() -> None:
    three = tuple(NIGHTS[:3])
    question = Question("clovis", "local", "keep-last=9", (108,), three)
    said = differing(question, dict.fromkeys((one.volid for one in three), "remove"), "UTC")[108]
    assert said.count("where our rules say") == 3 and "more" not in said
    unknown = differing(question, {}, "UTC")[108]
    assert unknown.count("local:backup") == 3 and "more" not in unknown


def test_an_archive_that_pve_does_not_know_stops_its_guest() -> None:
    question = Question("clovis", "local", KEEP, (108,), tuple(NIGHTS))
    answer = theirs(tuple(NIGHTS), KEEP, "Europe/Paris")
    del answer[NIGHTS[2].volid]
    said = differing(question, answer, "Europe/Paris")[108]
    assert f"does not know {NIGHTS[2].volid}: what is there changed meanwhile" in said


def test_an_archive_that_came_since_our_listing_is_judged_by_what_it_does_to_the_others() -> None:
    question = Question("clovis", "local", KEEP, (108,), tuple(NIGHTS))
    tonight = archive(108, "2026_03_08-21_00_02")
    answer = theirs((*NIGHTS, tonight), KEEP, "Europe/Paris")
    assert list(differing(question, answer, "Europe/Paris")) == [108]


def test_a_node_of_another_time_zone_is_noticed() -> None:
    archives = tuple(
        archive(108, time)
        for time in ("2026_03_02-23_30_00", "2026_03_03-00_30_00", "2026_03_03-23_30_00")
    )
    keep = "keep-daily=2"
    ours = retention.mark_all(archives, parse_keep(keep), "Europe/Paris")
    shifted = [  # as if the file's local time were read in UTC and counted ten hours east
        replace(one, volid=f"local:backup/vzdump-qemu-108-{time}.vma.zst")
        for one, time in zip(
            archives,
            ("2026_03_03-09_30_00", "2026_03_03-10_30_00", "2026_03_04-09_30_00"),
            strict=True,
        )
    ]
    elsewhere = retention.mark_all(shifted, parse_keep(keep), "UTC")
    answer = {one.volid: str(other.mark) for one, other in zip(archives, elsewhere, strict=True)}
    assert [one.mark for one in ours] != [one.mark for one in elsewhere]
    question = Question("clovis", "local", keep, (108,), archives)
    assert list(differing(question, answer, "Europe/Paris")) == [108]


def test_a_name_that_tells_no_guest_stops_nobody() -> None:
    stray = archive(None, "x", volid="local:backup/vzdump-mine.vma.zst")
    assert differing(Question("clovis", "local", KEEP, (), (stray,)), {}, "UTC") == {}


def test_a_dry_run_that_cannot_be_asked_stops_all_its_guests() -> None:
    question = Question("clovis", "local", KEEP, (107, 108), tuple(NIGHTS))
    said = unasked(question, "timed out")
    assert list(said) == [107, 108] and said[107] == said[108]
    assert said[108] == (
        f"{DIFFERS}: PVE's own dry run for storage local on clovis could not be compared: timed out"
    )
    message, hint = prune_guard.refusal(said) or ("", "")
    assert message.startswith("nothing of guests 107, 108 may be removed: prune-differs")
    assert "time zone" in hint


@pytest.mark.parametrize(
    ("mark", "reasons", "pve", "said"),
    [
        (
            Mark.REMOVE,
            ("not covered by any keep rule",),
            "remove",
            "it would be removed: not covered by any keep rule (PVE's own dry run says remove, "
            "too)",
        ),
        (
            Mark.KEEP,
            ("not covered by any keep rule", "law 3: last archive of guest 108"),
            "remove",
            "it stays: not covered by any keep rule; but law 3: last archive of guest 108 (PVE's "
            "own dry run says remove)",
        ),
        (
            Mark.PROTECTED,
            ("protected",),
            None,
            "it stays, as it is protected in PVE: protected (PVE's own dry run was not asked about "
            "it, or does not list it)",
        ),
        (
            Mark.RENAMED,
            (),
            "renamed",
            "it stays, as PVE never removes a file of such a name: no rule speaks of it (PVE's "
            "own dry run says renamed, too)",
        ),
    ],
)
def test_each_archive_is_explained_in_words(
    mark: Mark, reasons: tuple[str, ...], pve: str | None, said: str
) -> None:
    assert explanation(Marked(NIGHTS[0], mark, reasons), pve) == said
