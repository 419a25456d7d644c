"""Law 1: when a copy is gone. Law 5: what a test is worth whose copy was moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.causes import Cause
from policies.model import Rung, Scratch, Verdict
from policies.moved import Fate, Look, Moved, fate, in_ha, judged, ours_to_remove
from policies.verdict import Judgement

GONE = Look(9000, "clovis", quorate=True, free=True)


def test_law_1_a_copy_is_gone_when_a_quorate_cluster_calls_its_vmid_free_and_nothing_of_it_is_left() -> (
    None
):
    assert fate(GONE).fate is Fate.GONE
    assert fate(replace(GONE, quorate=None)).fate is Fate.GONE  # a node without a cluster


@pytest.mark.parametrize(
    ("changes", "wanted", "said"),
    [
        ({"quorate": False}, Fate.UNKNOWN, "no quorum"),
        ({"free": False, "listed_on": "clovis"}, Fate.THERE, "still in use on clovis"),
        ({"free": False, "listed_on": "lge-pve02"}, Fate.ELSEWHERE, "on lge-pve02 by now"),
        ({"free": False}, Fate.UNKNOWN, "does not list where"),
        ({"left": ("local-lvm:vm-9000-disk-0",)}, Fate.LEFT, "local-lvm:vm-9000-disk-0"),
    ],
)
def test_law_1_whatever_is_unknown_or_left_is_not_gone(
    changes: dict[str, Any], wanted: Fate, said: str
) -> None:
    decision = fate(replace(GONE, **changes))
    assert decision.fate is wanted and said in decision.why


@given(
    st.builds(
        Look,
        st.just(9000),
        st.sampled_from(["a", "b"]),
        st.sampled_from([True, False, None]),
        st.booleans(),
        st.sampled_from(["a", "b", None]),
        st.lists(st.sampled_from(["s:vm-9000-disk-0", "s:vm-9000-disk-1"]), max_size=2).map(tuple),
    )
)
def test_law_1_nothing_but_all_three_answers_together_is_gone(look: Look) -> None:
    assert (fate(look).fate is Fate.GONE) == (
        look.quorate is not False and look.free and not look.left
    )


def test_law_1_only_volumes_that_the_copy_named_or_that_were_not_there_before_are_ours() -> None:
    volids = ("scratch:vm-9000-disk-0", "other:vm-9000-disk-0", "moved:vm-9000-disk-1")
    ours, others = ours_to_remove(volids, named={"moved:vm-9000-disk-1"}, looked_empty={"scratch"})
    assert (ours, others) == (
        ("scratch:vm-9000-disk-0", "moved:vm-9000-disk-1"),
        ("other:vm-9000-disk-0",),
    )


@pytest.mark.parametrize(
    ("verdict", "cause", "becomes"),
    [
        (Verdict.PROVEN, None, (Verdict.INCONCLUSIVE, Cause.PLATFORM)),
        (Verdict.FAILED, Cause.BOOT, (Verdict.INCONCLUSIVE, Cause.PLATFORM)),
        (Verdict.FAILED, Cause.SERVICE, (Verdict.INCONCLUSIVE, Cause.PLATFORM)),
        (Verdict.FAILED, Cause.ARCHIVE, (Verdict.FAILED, Cause.ARCHIVE)),
        (Verdict.SIMULATED, None, (Verdict.SIMULATED, None)),
    ],
)
def test_law_5_a_copy_that_moved_proves_nothing_and_costs_the_archive_nothing(
    verdict: Verdict, cause: Cause | None, becomes: tuple[Verdict, Cause | None]
) -> None:
    for away, lost, why in (
        (Moved("clovis", "lge-pve02", 7), None, "from clovis to lge-pve02"),
        (Moved("clovis", "lge-pve02", 7), "lge-pve02", "from clovis to lge-pve02"),
        (None, "clovis", "node clovis"),
    ):
        found = judged(Judgement(verdict, Rung.HEALTHY, ("because",), cause), away, lost)
        assert (found.verdict, found.cause) == becomes
        assert (why in found.reasons[0]) == (becomes[0] is Verdict.INCONCLUSIVE)
    untouched = Judgement(verdict, Rung.HEALTHY, ("because",), cause)
    assert judged(untouched, None, None) == untouched


def test_law_2_vmids_that_ha_would_start_are_known_by_its_configuration() -> None:
    scratch = Scratch(9000, 9002)
    assert in_ha({"vm:9001", "ct:9002", "vm:108", "vm:90000", "vm:8999", "vm:9003"}, scratch) == {
        9001,
        9002,
    }
    assert in_ha(set(), scratch) == frozenset()


def test_what_became_of_a_copy_is_kept_in_an_operations_memory_by_these_words() -> None:
    assert {one.name: one.value for one in Fate} == {
        "GONE": "gone",
        "THERE": "there",
        "ELSEWHERE": "elsewhere",
        "LEFT": "left volumes",
        "UNKNOWN": "unknown",
    }
