"""What retention makes of every archive before law 3: kept with a reason, put aside, or judged by
its job's keep rules.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.model import Archive, Guest, GuestType, Mark
from policies.prune_marks import ANOTHER, ASIDE, CHANGED, DAMAGED, SMALL, decide_all
from policies.site import load_policy

POLICY = load_policy(
    """
site: test
timezone: Europe/Paris
jobs:
  nightly: {storage: local, guests: [108, 109], keep: keep-last=1}
""",
    "test",
)
THERE = [
    Guest(108, "one", "a"),
    Guest(109, "two", "b"),
    Guest(110, "three", "a"),
    Guest(1, "first", "a"),
]


def archive(day: int, **changes: Any) -> Archive:
    vmid = changes.get("vmid", 108)
    volid = f"{changes.get('storage', 'local')}:backup/vzdump-qemu-{vmid}-2026_03_{day:02d}-21_00_00.vma.zst"
    return replace(
        Archive(volid, "a", "local", 108, GuestType.QEMU, 1_772_400_000 + day * 86_400, 1000),
        **changes,
    )


def marks(*archives: Archive, unsure: dict[int, str] | None = None) -> list[tuple[Mark, str]]:
    found = decide_all(archives, THERE, POLICY, unsure or {})
    assert [one.archive for one in found] == list(archives), "in the order given"
    return [(one.mark, one.reasons[-1]) for one in found]


def test_the_archives_of_a_guest_are_judged_by_the_rules_of_its_job() -> None:
    assert [mark for mark, _ in marks(archive(3), archive(1), archive(2))] == [
        Mark.KEEP,
        Mark.REMOVE,
        Mark.REMOVE,
    ]


def test_each_storage_is_judged_alone_and_a_shared_one_once_whichever_node_lists_it() -> None:
    found = marks(archive(1), archive(2), archive(1, node="b"), archive(1, storage="usb"))
    assert [mark for mark, _ in found] == [Mark.REMOVE, Mark.KEEP, Mark.KEEP, Mark.KEEP]
    shared = [
        archive(day, node=node, storage="nas", shared=True) for day, node in ((1, "a"), (2, "b"))
    ]
    assert [mark for mark, _ in marks(*shared)] == [Mark.REMOVE, Mark.KEEP]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"vmid": None}, "its name is not a vzdump name, so nobody knows whose it is"),
        ({"vmid": 7}, "guest 7 no longer exists: its archives are kept until somebody decides"),
        ({"vmid": 110}, "no job of the policy covers guest 110, so no retention applies"),
        (
            {"type": GuestType.LXC},
            "108 is a VM by now: the archives of the container before it are kept until somebody "
            "decides",
        ),
    ],
)
def test_law_3_what_no_rule_speaks_of_is_kept_and_protected_stays_protected(
    changes: dict[str, Any], why: str
) -> None:
    old, new = archive(1, **changes), archive(2, **changes)
    assert marks(old, new, replace(old, volid=f"{old.volid}x", protected=True)) == [
        (Mark.KEEP, why),
        (Mark.KEEP, why),
        (Mark.PROTECTED, why),
    ]


def test_law_3_archives_of_a_vm_are_kept_where_a_container_has_its_vmid_by_now() -> None:
    found = decide_all([archive(1), archive(2)], [Guest(108, "one", "a", GuestType.LXC)], POLICY)
    why = (
        "108 is a container by now: the archives of the VM before it are kept until somebody "
        "decides"
    )
    assert [(one.mark, one.reasons) for one in found] == [(Mark.KEEP, (why,))] * 2


def test_an_archive_of_a_kind_that_is_not_known_is_judged_as_its_guests() -> None:
    assert [mark for mark, _ in marks(archive(1, type=None), archive(2, type=None))] == [
        Mark.REMOVE,
        Mark.KEEP,
    ]


def test_law_3_while_it_is_not_known_whether_a_guest_stands_there_its_archives_are_kept_and_no_others() -> (
    None
):
    others = [archive(1, vmid=109), archive(2, vmid=109)]
    found = marks(
        archive(1),
        archive(2),
        *others,
        archive(1, vmid=None),
        unsure={108: "who knows", 0: "nobody's"},
    )
    assert found[:2] == [(Mark.KEEP, "who knows")] * 2
    assert [mark for mark, _ in found[2:4]] == [Mark.REMOVE, Mark.KEEP]
    assert marks(archive(1, vmid=None), unsure={1: "the first's"})[0][1].startswith(
        "its name is not a vzdump name"
    )


def test_what_must_not_stand_for_a_whole_archive_is_put_aside_and_counts_not() -> None:
    whole = [archive(day) for day in (1, 2)]
    changed, empty = archive(3, changed="size 5 -> 6 bytes"), archive(4, holds_disk=False)
    found = marks(*whole, changed, empty)
    assert [mark for mark, _ in found] == [Mark.REMOVE, Mark.KEEP, Mark.KEEP, Mark.KEEP]
    assert found[2:] == [(Mark.KEEP, CHANGED.format("size 5 -> 6 bytes")), (Mark.KEEP, ASIDE)]


def test_law_3_a_damaged_archive_rotates_no_good_one_out() -> None:
    good, bad = archive(1), archive(2, damaged="cluster 7 is torn")
    assert marks(good, bad) == [
        (Mark.KEEP, "keep-last 1/1: newest of 2026-03-01 21:00:00"),
        (Mark.KEEP, DAMAGED.format("cluster 7 is torn")),
    ]


def test_law_10_another_machines_archive_is_put_aside_before_it_is_called_small() -> None:
    mine = [archive(day, uuid="aa", born=5) for day in (2, 3)]
    found = marks(archive(1, uuid="bb", born=1, size=10), *mine)
    assert found[0] == (Mark.KEEP, ANOTHER.format(108))
    assert [mark for mark, _ in found[1:]] == [Mark.REMOVE, Mark.KEEP]


def test_an_archive_whose_size_has_collapsed_takes_no_whole_ones_place() -> None:
    found = marks(*(archive(day, size=1000) for day in (1, 2, 3)), archive(4, size=100))
    assert [mark for mark, _ in found] == [Mark.REMOVE, Mark.REMOVE, Mark.KEEP, Mark.KEEP]
    assert found[3][1] == SMALL
