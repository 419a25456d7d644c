"""What earlier proofs say about where the next test should run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backupsvc.operations.restore_test.proving import node_to_avoid
from policies.model import Proof, Rung, Verdict

UNDECIDED = Proof(
    "01A", 108, "local:backup/x", "clovis", 1000, Verdict.INCONCLUSIVE, Rung.RECORDED, 2000, 2100,
    scratch_vmid=9000, scratch_node="lge-pve02", cause="platform",
)  # fmt: skip


@pytest.mark.parametrize("cause", ["platform", "capacity", "network", "storage"])
def test_the_node_on_which_the_last_test_could_not_be_decided_is_avoided(cause: str) -> None:
    assert node_to_avoid([replace(UNDECIDED, cause=cause)]) == "lge-pve02"


def test_a_node_is_not_avoided_for_what_lay_elsewhere_or_is_over() -> None:
    assert node_to_avoid([]) is None
    assert node_to_avoid([replace(UNDECIDED, cause=None)]) is None
    assert node_to_avoid([replace(UNDECIDED, cause="time")]) is None
    assert node_to_avoid([replace(UNDECIDED, verdict=Verdict.FAILED, cause="service")]) is None
    assert (
        node_to_avoid([replace(UNDECIDED, verdict=Verdict.PROVEN, cause=None), UNDECIDED]) is None
    )
