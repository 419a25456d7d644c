"""Which guests cannot be proven for lack of a check, and what would fit them."""

from __future__ import annotations

import pytest

from policies.check_kinds import asks_service
from policies.model import CheckSpec, Policy, Rung
from policies.service_checks import ANY, default_demoted, demoted, suggestions, unasked, wanted_rung
from policies.site import load_policy

TEXT = """
site: home
tiers: {gold: {}, desk: {proof-rung: booted}}
default-tier: %s
jobs: {nightly: {guests: %s}}
guests:
  101: {tier: desk, checks: [agent]}
  102: {tier: gold, role: directory, checks: [{tcp: {port: 53, name: DNS}}]}
  103: {tier: gold, checks: [agent, ssh]}
  104: {tier: gold, checks: []}
  105: {checks: [agent]}
"""


def policy(default: str = "gold", guests: str = "[101, 102, 200]") -> Policy:
    return load_policy(TEXT % (default, guests), "home.yaml")


def test_only_a_check_that_is_answered_in_the_services_own_words_asks_it() -> None:
    assert not asks_service([]) and not asks_service(["agent", "tcp", "of a later version"])
    for kind in ("http", "ssh", "ldap"):
        assert asks_service(["agent", kind])


def test_a_guest_is_proven_at_its_tiers_rung() -> None:
    assert [wanted_rung(policy(), vmid) for vmid in (101, 102, 105, 999)] == [
        Rung.BOOTED,
        Rung.HEALTHY,
        Rung.HEALTHY,
        Rung.HEALTHY,
    ]
    assert [wanted_rung(policy("desk"), vmid) for vmid in (102, 105, 999)] == [
        Rung.HEALTHY,
        Rung.BOOTED,
        Rung.BOOTED,
    ]


def test_every_guest_that_the_policy_names_and_that_no_test_can_prove_is_told() -> None:
    assert [item.vmid for item in demoted(policy())] == [102, 104, 105, 200]
    assert [item.vmid for item in demoted(policy("desk"))] == [102, 104]


def test_the_guests_that_a_policy_does_not_name_are_demoted_where_a_job_takes_all_and_their_tier_wants_health() -> (
    None
):
    assert default_demoted(policy(guests="all"))
    assert not default_demoted(policy()) and not default_demoted(policy("desk", "all"))
    two = "jobs: {weekly: {guests: [101]}, nightly: {guests: %s}}"
    assert default_demoted(
        load_policy(
            TEXT.replace("jobs: {nightly: {guests: %s}}", two) % ("gold", "all"), "home.yaml"
        )
    )


def test_what_a_guest_lacks_is_told_with_its_checks_and_what_would_fit() -> None:
    item = unasked(policy(), 102, "dc1")
    assert item is not None
    assert (item.name, item.tier, item.checks, item.suggested) == (
        "dc1",
        "gold",
        ("DNS",),
        ("ldap",),
    )
    assert unasked(policy(), 103) is None and unasked(policy(), 101) is None
    nameless = unasked(policy(), 200)
    assert nameless is not None and nameless.name == ""
    tagged = unasked(policy(), 104, "", ("web", "prod"))
    assert tagged is not None and tagged.suggested == ("http",)


@pytest.mark.parametrize(
    ("ports", "words", "expected"),
    [
        ((443, 22), ("directory",), ("http: {tls: true}", "ssh")),
        ((5432,), ("Web site",), ("http",)),
        ((5432,), ("database",), ANY),
        ((), ("contrôleur de domaine Active Directory",), ("ldap",)),
        ((), ("PfSense",), ("http: {tls: true}",)),
        ((), ("website-builder",), ANY),
        ((), (), ANY),
        ((8080, 8080), (), ("http: 8080",)),
        ((), ("Firewall",), ("http: {tls: true}",)),
        ((), ("debian",), ("ssh",)),
    ],
)
def test_ports_suggest_a_check_before_words_do(
    ports: tuple[int, ...], words: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert (
        suggestions([CheckSpec("tcp", f"tcp {port}", {"port": port}) for port in ports], words)
        == expected
    )


def test_where_nothing_is_known_of_a_guest_any_of_three_checks_is_suggested() -> None:
    assert suggestions([], []) == ("ssh", "http", "ldap")


@pytest.mark.parametrize(
    ("port", "check"),
    [
        (22, "ssh"),
        (80, "http"),
        (443, "http: {tls: true}"),
        (389, "ldap"),
        (636, "ldap: {tls: true}"),
        (8006, "http: {port: 8006, tls: true}"),
        (8443, "http: {port: 8443, tls: true}"),
    ],
)
def test_a_well_known_port_suggests_the_check_of_what_answers_there(port: int, check: str) -> None:
    assert suggestions([CheckSpec("tcp", "it", {"port": port})], ()) == (check,)
    written = check if ":" not in check else f"{{{check}}}"
    assert load_policy(f"site: x\nguests: {{105: {{checks: [{written}]}}}}", "x").guests[105].checks


@pytest.mark.parametrize(
    "check", ["ssh", "http", "http: {tls: true}", "ldap", "ldap: {tls: true}", "http: 8080"]
)
def test_a_suggestion_is_written_as_a_policy_takes_it(check: str) -> None:
    written = check if ":" not in check else f"{{{check}}}"
    assert load_policy(f"site: x\nguests: {{105: {{checks: [{written}]}}}}", "x").guests[105].checks
