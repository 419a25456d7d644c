"""A job counts the guests that it must back up, so that an absent one is seen (law 4)."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from policies.jobs import expected, job_for, rank
from policies.model import Guest, Job, Policy, Scratch
from policies.site import load_policy

GUESTS = [
    Guest(108, "Debian-Server", "clovis"),
    Guest(101, "Windows-Client", "clovis"),
    Guest(9000, "restore-test-x", "clovis"),
]


def policy(*jobs: Job) -> Policy:
    """Given jobs, return a policy with a scratch range."""
    nothing: MappingProxyType[Any, Any] = MappingProxyType({})
    return Policy(
        "site", "Europe/Paris", "fr", jobs, nothing, nothing, Scratch(9000, 9099), "standard"
    )


def test_a_job_of_all_guests_leaves_out_the_scratch_copies() -> None:
    job = Job("nightly", "21:00", "local")
    assert [item.vmid for item in expected(job, policy(job), GUESTS)] == [101, 108]


def test_law_4_a_listed_guest_that_the_cluster_lacks_is_expected_all_the_same() -> None:
    job = Job("nightly", "21:00", "local", guests=(101, 105))
    found = {item.vmid: item.guest for item in expected(job, policy(job), GUESTS)}
    assert found[105] is None
    assert found[101] is not None


def test_excluded_guests_are_not_expected_unless_asked_for() -> None:
    job = Job("nightly", "21:00", "local", exclude=(101,))
    assert [item.vmid for item in expected(job, policy(job), GUESTS)] == [108]
    assert [item.vmid for item in expected(job, policy(job), GUESTS, only=[101])] == [101]


def test_the_first_job_that_covers_a_guest_gives_its_retention() -> None:
    first, second = Job("a", "21:00", "local", guests=(101,)), Job("b", "22:00", "local")
    rules = policy(first, second)
    assert job_for(rules, 101) is first
    assert job_for(rules, 108) is second
    assert job_for(rules, 9000) is None


def test_a_job_gives_no_retention_to_a_guest_that_it_leaves_out() -> None:
    first, second = (
        Job("a", "21:00", "local", exclude=(101,)),
        Job("b", "22:00", "local", guests=(101,)),
    )
    assert job_for(policy(first, second), 101) is second
    assert job_for(policy(first), 101) is None


TIERS = """
site: home
tiers:
  weekly: {rpo: 7d}
  slowly-proven: {rpo: 1d, proof-age: 90d}
  soon-proven: {rpo: 1d, proof-age: 7d}
  also-soon: {rpo: 1d, proof-age: 7d}
default-tier: weekly
guests: {101: {tier: soon-proven}, 102: {tier: slowly-proven}, 103: {tier: also-soon}}
"""


def test_the_guest_of_the_strictest_tier_goes_first_by_its_rpo_then_by_the_age_of_its_proof() -> (
    None
):
    rules = load_policy(TIERS, "home.yaml")
    assert [rank(rules, vmid) for vmid in (103, 101, 102, 999)] == [0, 1, 2, 3]


def test_a_guest_of_no_tier_that_there_is_goes_last() -> None:
    assert rank(policy(), 101) == 0
    assert rank(replace(load_policy(TIERS, "home.yaml"), default_tier="gone"), 999) == 4
