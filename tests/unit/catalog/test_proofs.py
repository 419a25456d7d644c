"""What the catalog remembers of proofs, and what a proof does to its archive."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backupsvc.catalog import Catalog
from policies.model import Archive, CheckResult, GuestType, Outcome, Proof, Rung, Stage, Verdict

ARCHIVE = Archive("local:backup/a.vma.zst", "clovis", "local", 108, GuestType.QEMU, 1000, 500)
PROOF = Proof(
    operation="01A",
    vmid=108,
    volid=ARCHIVE.volid,
    node="clovis",
    archive_ctime=1000,
    verdict=Verdict.PROVEN,
    rung=Rung.HEALTHY,
    started=2000,
    ended=2060,
    rto=41.5,
    stages=(Stage("restore", 12.25), Stage("boot", 9.0)),
    checks=(
        CheckResult("web", Outcome.PASSED, "200 OK", 0.2, "http"),
        CheckResult("agent", Outcome.INCONCLUSIVE, "off"),
    ),
    stripped=("hostpci0: removed",),
    asserted=("holds: every NIC is on vmbr9",),
    reasons=("restored, booted",),
    scratch_vmid=9000,
    scratch_node="lge-pve02",
)


@pytest.fixture(autouse=True)
def _archive(catalog: Catalog) -> None:
    catalog.archives.observe([ARCHIVE], scope=[], at=1)


def state(catalog: Catalog) -> tuple[Rung, int | None]:
    found = catalog.archives.get("clovis", ARCHIVE.volid)
    assert found
    return found.rung, found.proven_at


def test_a_proof_comes_back_exactly_as_it_went_in(catalog: Catalog) -> None:
    assert catalog.proofs.record(PROOF)
    assert catalog.proofs.find() == [PROOF]


def test_law_5_a_proven_verdict_moves_the_date_of_proof(catalog: Catalog) -> None:
    catalog.proofs.record(PROOF)
    assert state(catalog) == (Rung.HEALTHY, 2060)


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.SKIPPED])
def test_law_5_any_other_verdict_raises_the_rung_at_most(
    catalog: Catalog, verdict: Verdict
) -> None:
    catalog.proofs.record(replace(PROOF, verdict=verdict, rung=Rung.RESTORED))
    assert state(catalog) == (Rung.RESTORED, None)


def test_law_5_a_simulated_test_says_nothing_of_the_archive(catalog: Catalog) -> None:
    catalog.proofs.record(replace(PROOF, verdict=Verdict.SIMULATED))
    assert state(catalog) == (Rung.RECORDED, None)


def test_law_5_a_later_failure_withdraws_the_proof_and_an_earlier_one_does_not_bring_it_back(
    catalog: Catalog,
) -> None:
    catalog.proofs.record(PROOF)
    catalog.proofs.record(
        replace(PROOF, operation="01B", verdict=Verdict.FAILED, rung=Rung.RECORDED, ended=3000)
    )
    catalog.proofs.record(replace(PROOF, operation="01C", ended=1500))
    assert state(catalog) == (Rung.RECORDED, None)
    assert len(catalog.proofs.find()) == 3


def test_law_5_an_inconclusive_test_withdraws_nothing(catalog: Catalog) -> None:
    catalog.proofs.record(PROOF)
    catalog.proofs.record(
        replace(
            PROOF, operation="01B", verdict=Verdict.INCONCLUSIVE, rung=Rung.RECORDED, ended=3000
        )
    )
    assert state(catalog) == (Rung.HEALTHY, 2060)


def test_law_5_an_older_proof_that_arrives_late_moves_nothing_back(catalog: Catalog) -> None:
    catalog.proofs.record(PROOF)
    catalog.proofs.record(replace(PROOF, operation="01C", ended=1500))
    assert state(catalog) == (Rung.HEALTHY, 2060)


def test_law_5_a_proof_of_the_file_that_stood_there_before_proves_nothing(catalog: Catalog) -> None:
    catalog.proofs.record(replace(PROOF, archive_ctime=999))
    assert state(catalog) == (Rung.RECORDED, None)


def test_law_6_a_step_that_is_resumed_records_its_proof_once(catalog: Catalog) -> None:
    assert catalog.proofs.record(PROOF)
    assert not catalog.proofs.record(replace(PROOF, verdict=Verdict.FAILED))
    assert catalog.proofs.find() == [PROOF]


def test_law_8_a_proof_is_kept_even_if_the_catalog_does_not_know_its_archive(
    catalog: Catalog,
) -> None:
    assert catalog.proofs.record(replace(PROOF, volid="local:backup/unknown"))
    assert len(catalog.proofs.find()) == 1


def test_proofs_come_newest_first_by_guest_and_by_time_with_the_end_left_out(
    catalog: Catalog,
) -> None:
    for operation, vmid, ended in [("01A", 108, 100), ("01B", 109, 200), ("01C", 108, 300)]:
        catalog.proofs.record(replace(PROOF, operation=operation, vmid=vmid, ended=ended))
    assert [proof.ended for proof in catalog.proofs.find()] == [300, 200, 100]
    assert [proof.ended for proof in catalog.proofs.find(vmid=108, limit=1)] == [300]
    assert [proof.ended for proof in catalog.proofs.find(since=100, until=300)] == [200, 100]
