"""What is read from a site's facts: what can be restored from, what was ever proven, and whom a job
of PVE's covers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.compliance import facts as site_facts
from policies.compliance.facts import BackupOutcome, ClusterJob, GuestFacts, SiteFacts
from policies.model import Archive, Guest, GuestType, Proof, Rung, Verdict

UUID, OTHER = "44454c4c-0000-4000-8000-000000000105", "0b5e5e1e-0000-4000-8000-00000000001d"


def archive(at: int, **more: Any) -> Archive:
    made = Archive(f"local:backup/{at}", "a", "local", 105, GuestType.QEMU, at, 100, proven_at=at)
    return replace(made, **more)


def proof(
    of: Archive, ended: int, verdict: Verdict = Verdict.PROVEN, rung: Rung = Rung.HEALTHY
) -> Proof:
    return Proof(f"01{ended}", 105, of.volid, "a", of.ctime, verdict, rung, ended - 1, ended)


def facts(
    *proofs: Proof, archives: tuple[Archive, ...] = (), **more: Any
) -> tuple[SiteFacts, GuestFacts]:
    guest = GuestFacts(105, "board", Guest(105, "board", "a"), archives=archives, proofs=proofs)
    return SiteFacts("home", 1000, (guest,), **more), guest


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"size": 1}, True),
        ({"size": 0}, False),
        ({"changed": "name x -> y"}, False),
        ({"holds_disk": False}, False),
        ({"uuid": OTHER, "operation": None}, False),
    ],
    ids=[
        "whole",
        "of a byte",
        "without a size",
        "changed since it was recorded",
        "without any disk",
        "of another machine",
    ],
)
def test_law_4_what_can_be_restored_from_has_a_size_a_disk_and_is_this_machines(
    changes: dict[str, Any], good: bool
) -> None:
    newest, told = (
        archive(9, uuid=UUID, operation="01", holds_disk=True),
        archive(5, uuid=UUID, holds_disk=True),
    )
    found = site_facts.usable((newest, replace(told, **changes)))
    assert [one.ctime for one in found] == ([5, 9] if good else [9])


def test_law_10_what_was_changed_is_not_restored_from_though_nothing_tells_whose_it_is() -> None:
    changed = archive(5, changed="size 5 -> 6 bytes")
    assert [one.ctime for one in site_facts.usable((changed, archive(9)))] == [9]
    assert site_facts.usable((changed,)) == (), "though it is the only one"


def test_archives_of_one_second_are_told_in_the_order_of_their_names() -> None:
    assert [
        one.volid
        for one in site_facts.usable((archive(5, volid="b"), archive(5, volid="a"), archive(4)))
    ] == [
        "local:backup/4",
        "a",
        "b",
    ]


def test_law_5_a_simulated_site_proves_nothing_and_never_did() -> None:
    one = archive(5)
    for simulated in (False, True):
        site, guest = facts(proof(one, 9), archives=(one,), simulated=simulated)
        assert (
            bool(site_facts.proven(site, guest))
            is bool(site_facts.once_proven(site, guest))
            is not simulated
        )


def test_law_5_one_good_test_is_enough_to_have_been_proven_once_also_of_what_is_gone() -> None:
    gone = archive(5)
    site, guest = facts(proof(gone, 8, Verdict.FAILED), proof(gone, 9))
    assert site_facts.once_proven(site, guest) and site_facts.proven(site, guest) == ()
    site, guest = facts(proof(gone, 8, Verdict.FAILED))
    assert not site_facts.once_proven(site, guest)
    site, guest = facts(proof(gone, 9, rung=Rung.BOOTED), archives=(gone,))
    assert not site_facts.once_proven(site, guest) and site_facts.once_proven(
        site, guest, Rung.BOOTED
    )
    assert (
        site_facts.proven(site, guest) == ()
        and len(site_facts.proven(site, guest, Rung.BOOTED)) == 1
    )


def test_the_latest_test_that_was_run_counts_and_a_skipped_one_was_not() -> None:
    one = archive(5)
    _, guest = facts(proof(one, 8, Verdict.FAILED), proof(one, 7), proof(one, 9, Verdict.SKIPPED))
    latest = site_facts.newest_proof(guest)
    assert latest is not None and (latest.ended, latest.verdict) == (8, Verdict.FAILED)
    assert site_facts.newest_proof(facts(proof(one, 9, Verdict.SKIPPED))[1]) is None


def test_what_would_be_lost_with_an_archive_is_its_node_or_the_storage_that_all_share() -> None:
    assert site_facts.place(archive(5)) == "a"
    assert site_facts.place(archive(5, storage="nas", shared=True)) == "storage nas"


def test_the_last_backup_is_the_one_that_was_opened_last() -> None:
    backups = (BackupOutcome(7, False, "full"), BackupOutcome(9, True), BackupOutcome(8, False))
    assert GuestFacts(105, "x", None, backups=backups).last_backup == BackupOutcome(9, True)
    assert GuestFacts(105, "x", None).last_backup is None


@pytest.mark.parametrize(
    ("guest", "matters"),
    [
        (Guest(105, "x", "a"), True),
        (Guest(105, "x", "a", GuestType.LXC), False),
        (Guest(105, "x", "a", template=True), False),
        (None, False),
    ],
)
def test_an_agent_matters_in_a_vm_that_can_run(guest: Guest | None, matters: bool) -> None:
    assert GuestFacts(105, "x", guest).agent_matters is matters


@pytest.mark.parametrize(
    ("guests", "exclude", "covered"),
    [
        (None, (), True),
        (None, (105,), False),
        ((105,), (), True),
        ((106,), (), False),
        ((105,), (105,), False),
    ],
)
def test_a_job_of_pves_covers_whom_it_names_or_all_but_whom_it_leaves_out(
    guests: tuple[int, ...] | None, exclude: tuple[int, ...], covered: bool
) -> None:
    assert ClusterJob("b", True, None, "local", guests, exclude).covers(105) is covered


def test_what_nobody_told_of_is_not_taken_for_anything() -> None:
    site, guest = facts()
    assert (site.simulated, site.release, guest.ha_managed) == (False, "", False)
    assert (BackupOutcome(7, True).detail, BackupOutcome(7, True).until) == ("", 0)
    assert ClusterJob("b", True, None, "local", None).schedule == ""
