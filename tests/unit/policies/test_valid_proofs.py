"""Which proofs still stand: only those of an archive that is there, unchanged, and that no later
test found bad (law 5).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.model import Archive, GuestType, Proof, Rung, Verdict
from policies.valid_proofs import good, valid_proofs

ARCHIVE = Archive("local:backup/1", "a", "local", 108, GuestType.QEMU, 1000, 500, proven_at=5000)
PROOF = Proof("01", 108, ARCHIVE.volid, "a", 1000, Verdict.PROVEN, Rung.HEALTHY, 4900, 5000)
FAILED = replace(PROOF, verdict=Verdict.FAILED, rung=Rung.RECORDED)


@pytest.mark.parametrize(
    ("verdict", "rung", "is_good"),
    [
        (Verdict.PROVEN, Rung.HEALTHY, True),
        (Verdict.PROVEN, Rung.CURRENT, True),
        (Verdict.PROVEN, Rung.BOOTED, False),
        (Verdict.INCONCLUSIVE, Rung.HEALTHY, False),
        (Verdict.SIMULATED, Rung.HEALTHY, False),
    ],
)
def test_law_5_only_a_proven_verdict_at_healthy_or_above_is_good(
    verdict: Verdict, rung: Rung, is_good: bool
) -> None:
    proof = replace(PROOF, verdict=verdict, rung=rung)
    assert good(proof) is is_good
    assert valid_proofs([proof], [ARCHIVE]) == ((proof,) if is_good else ())


@pytest.mark.parametrize(
    "changes",
    [{"proven_at": None}, {"size": 0}, {"ctime": 1001}, {"node": "b"}, {"volid": "local:backup/2"}],
    ids=["withdrawn", "empty", "another time", "another node", "another name"],
)
def test_law_5_a_proof_does_not_stand_for_another_archive(changes: dict[str, Any]) -> None:
    assert valid_proofs([PROOF], [replace(ARCHIVE, **changes)]) == ()
    assert valid_proofs([PROOF], [replace(ARCHIVE, size=1)]) == (PROOF,)


@pytest.mark.parametrize(("ended", "stands"), [(4999, True), (5000, False), (5001, False)])
def test_law_5_a_failure_that_is_not_older_withdraws_the_proof(ended: int, stands: bool) -> None:
    assert valid_proofs([PROOF, replace(FAILED, ended=ended)], [ARCHIVE]) == (
        (PROOF,) if stands else ()
    )


def test_law_5_the_latest_of_several_failures_counts() -> None:
    failures = [replace(FAILED, ended=ended) for ended in (6000, 4000)]
    assert valid_proofs([replace(PROOF, ended=5500), *failures], [ARCHIVE]) == ()
    assert valid_proofs([replace(PROOF, ended=6001), *failures], [ARCHIVE]) != ()


def test_law_5_on_a_shared_storage_a_failure_on_another_node_is_of_the_same_archive() -> None:
    shared = replace(ARCHIVE, shared=True)
    there = replace(PROOF, node="b")
    assert valid_proofs([there], [shared]) == (there,)
    assert valid_proofs([PROOF, replace(FAILED, node="b", ended=6000)], [shared]) == ()
    assert valid_proofs([PROOF, replace(FAILED, node="b", ended=6000)], [ARCHIVE]) == (PROOF,)


def test_the_oldest_backup_comes_first_and_of_one_the_oldest_proof() -> None:
    older = replace(ARCHIVE, volid="local:backup/0", ctime=900)
    first = replace(PROOF, volid=older.volid, archive_ctime=900, ended=7000)
    again = replace(PROOF, ended=6000)
    assert valid_proofs([again, PROOF, first], [ARCHIVE, older]) == (first, PROOF, again)
