"""A policy in which everything is written, one in which nothing is, and the edges of what may be
written.
"""

from __future__ import annotations

import pytest

from policies.compliance.findings import RULES
from policies.model import (
    CheckSpec,
    Exemption,
    GuestPolicy,
    HaRules,
    Job,
    PolicyError,
    PruneRules,
    Rung,
    Scratch,
    Tier,
    TombstoneRules,
    Window,
)
from policies.site import FINDINGS, load_policy

HOUR, DAY = 3600, 86400
WHOLE = """
site: campus
timezone: Europe/Paris
language: fr
max-clock-drift: 45s
scratch:
  vmids: 100-120
  bridge: vmbr9
  storage: thin
  node: pve2
  pool: copies/tests
  memory: 1024
  bandwidth: 5000
  restore-timeout: 2h
  window: 01:00-06:00
  settle: 1m
tiers:
  gold: {rpo: 1d, rto: 2h, proof-age: 3d, copies: 3, depth: 30d, proof-rung: booted}
  plain: {}
default-tier: gold
jobs:
  nightly:
    schedule: "22:30"
    storage: nas
    guests: [201, 202]
    mode: suspend
    compress: lzo
    keep: keep-last=3
    window: 3h
    bandwidth: 6000
    timeout: 6h
    thaw: true
  weekly: {exclude: [203], mode: stop, compress: gzip}
guests:
  201:
    name: web
    tier: plain
    role: intranet
    address: 10.0.0.5
    network: isolated
    checks: [agent]
    boot-timeout: 5m
    check-timeout: 2m
    memory: 512
    settle: 20s
    thaw: false
  202: {}
  203:
prune: {max-share: 25%}
tombstone: {keep-proven: 5, for: 1w}
ha: {drill: {window: "sat 22:00-23:30"}}
exemptions:
  - {finding: clock-drift, vmid: 201, owner: ops, reason: it moves, until: 2026-12-31}
  - {finding: never-proven, owner: ops, reason: it is new, until: 2026-06-30}
"""


def refusal(text: str) -> str:
    with pytest.raises(PolicyError) as refused:
        load_policy(text, "site.yaml")
    return str(refused.value)


def test_everything_that_is_written_is_read_into_its_place() -> None:
    policy = load_policy(WHOLE, "campus.yaml")
    assert (policy.site, policy.timezone, policy.language, policy.max_clock_drift) == (
        "campus",
        "Europe/Paris",
        "fr",
        45,
    )
    assert policy.scratch == Scratch(
        100,
        120,
        bridge="vmbr9",
        storage="thin",
        node="pve2",
        pool="copies/tests",
        memory=1024,
        bandwidth=5000,
        restore_timeout=2 * HOUR,
        window=Window(60, 360, tuple(range(7)), "01:00-06:00"),
        settle=60,
    )
    assert policy.jobs == (
        Job(
            "nightly",
            "22:30",
            "nas",
            (201, 202),
            (),
            "suspend",
            "lzo",
            "keep-last=3",
            3 * HOUR,
            6000,
            6 * HOUR,
            True,
        ),
        Job("weekly", "21:00", "local", None, (203,), "stop", "gzip"),
    )
    assert policy.tiers == {
        "gold": Tier("gold", DAY, 2 * HOUR, 3 * DAY, 3, 30, Rung.BOOTED),
        "plain": Tier("plain", 8 * DAY, 4 * HOUR, 7 * DAY),
    }
    agent = (CheckSpec("agent", "agent"),)
    assert policy.guests == {
        201: GuestPolicy(
            201,
            "web",
            "plain",
            "intranet",
            "isolated",
            "10.0.0.5",
            agent,
            300,
            120,
            memory=512,
            thaw=False,
            settle=20,
        ),
        202: GuestPolicy(202, "", "gold", checks=agent),
        203: GuestPolicy(203, "", "gold", checks=agent),
    }
    assert (policy.default_tier, policy.prune, policy.source) == (
        "gold",
        PruneRules(0.25),
        "campus.yaml",
    )
    assert policy.tombstone == TombstoneRules(5, 7 * DAY)
    assert policy.ha == HaRules(Window(22 * 60, 23 * 60 + 30, (5,), "sat 22:00-23:30"))
    assert policy.exemptions == (
        Exemption("clock-drift", 201, "ops", "it moves", "2026-12-31"),
        Exemption("never-proven", None, "ops", "it is new", "2026-06-30"),
    )


def test_what_is_not_written_means_what_the_page_says() -> None:
    policy = load_policy(
        "site: home\njobs: {nightly: {}}\nprune: {}\nguests: {105: {role: board}}", "home.yaml"
    )
    assert (policy.timezone, policy.language, policy.max_clock_drift, policy.exemptions) == (
        "UTC",
        "en",
        30,
        (),
    )
    assert policy.scratch == Scratch(9000, 9099, restore_timeout=4 * HOUR, settle=30)
    assert policy.jobs == (Job("nightly", "21:00", "local", window=4 * HOUR, timeout=12 * HOUR),)
    assert policy.tiers == {
        "standard": Tier("standard", 8 * DAY, 4 * HOUR, 7 * DAY, 1, 0, Rung.HEALTHY)
    }
    assert (policy.prune, policy.default_tier) == (PruneRules(0.5), "standard")
    assert policy.tombstone == TombstoneRules(2, 180 * DAY)
    assert load_policy("site: x\ntombstone: {}", "x").tombstone == policy.tombstone
    assert policy.ha == HaRules(None)
    for nothing in ("{}", "{drill: {}}"):
        assert load_policy(f"site: x\nha: {nothing}", "x").ha == policy.ha
    guest = GuestPolicy(
        105,
        "",
        "standard",
        "board",
        checks=(CheckSpec("agent", "agent"),),
        boot_timeout=600,
        check_timeout=300,
    )
    assert policy.guests == {105: guest}
    assert load_policy("site: home\nscratch: {}", "x").scratch == Scratch(
        9000, 9099, restore_timeout=4 * HOUR, settle=30
    )


def test_the_one_tier_that_is_written_is_that_of_guests_that_name_none_and_standard_else() -> None:
    assert load_policy("site: x\ntiers: {gold: {}}", "x").default_tier == "gold"
    assert load_policy("site: x\ntiers: {gold: {}, standard: {}}", "x").default_tier == "standard"


@pytest.mark.parametrize("finding", FINDINGS)
def test_each_finding_may_be_accepted_by_its_id(finding: str) -> None:
    text = f"site: x\nexemptions: [{{finding: {finding}, owner: a, reason: b, until: 2026-12-31}}]"
    assert load_policy(text, "x").exemptions[0].finding == finding


def test_the_findings_that_may_be_accepted_are_these() -> None:
    assert {rule.id for rule in RULES} - set(FINDINGS) == {"node-offline", "status-unknown"}
    assert set(FINDINGS) >= {
        "archive-changed",
        "archive-corrupt",
        "archive-shrunk",
        "archive-suspicious",
        "archives-on-guest-node",
        "backup-missed",
        "catalog-snapshot-unproven",
        "clock-drift",
        "copy-corrupt",
        "copy-deletable",
        "copy-moved",
        "disk-excluded",
        "exception-expired",
        "foreign-job",
        "guest-agent-missing",
        "guest-left-frozen",
        "guest-not-covered",
        "job-pinned-to-node",
        "kit-unrehearsed",
        "lineage-asked",
        "listing-blind",
        "never-proven",
        "no-service-check",
        "orphan-copy",
        "quorum-two-votes",
        "scratch-not-isolated",
        "storage-filling",
        "storage-prunes",
        "tombstone-over",
    }


@pytest.mark.parametrize(
    "line",
    [
        "scratch: {vmids: 100-999999999}",
        "scratch: {vmids: 9000-9000}",
        "scratch: {vmids: 9000 - 9001}",
        "scratch: {memory: 16}",
        "scratch: {memory: 4194304}",
        "scratch: {bandwidth: 1}",
        "scratch: {bandwidth: 100000000}",
        "scratch: {settle: 1h}",
        "scratch: {bridge: v0}",
        "scratch: {node: a}",
        "jobs: {n: {guests: [100, 999999999]}}",
        "jobs: {n: {guests: all, exclude: [100]}}",
        "jobs: {a_b-9: {}}",
        "tiers: {gold: {copies: 1, depth: 1d}}",
        "tiers: {gold: {copies: 10}}",
        "guests: {100: {}, 999999999: {}}",
        "guests: {105: {network: link-down, checks: [agent]}}",
        "guests: {105: {checks: [ssh]}}",
        "prune: {max-share: 100%}",
        "prune: {max-share: 1}",
        "prune: {max-share: 0.5%}",
    ],
)
def test_what_is_just_allowed_is_read(line: str) -> None:
    assert load_policy(f"site: x\n{line}", "x").site == "x"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("scratch: {vmids: 99-120}", "not a range of VMIDs"),
        ("scratch: {memory: 15}", "15 is out of range"),
        ("scratch: {memory: 4194305}", "4194305 is out of range"),
        ("scratch: {bandwidth: 0}", "0 is out of range"),
        ("scratch: {bandwidth: 100000001}", "100000001 is out of range"),
        ("scratch: {settle: 3601s}", "3601s is too long"),
        ("scratch: {bridge: v}", "'v'"),
        ("scratch: {node: -a}", "'-a'"),
        ("scratch: {pool: 'a b'}", "'a b'"),
        ("scratch: {storage: x y}", "'x y'"),
        ("jobs: {n: {guests: [1000000000]}}", "1000000000 is out of range"),
        ("jobs: {n: {exclude: [9000]}}", "9000 lies in the scratch range"),
        ("jobs: {n: {guests: all, exclude: [100, 100]}}", "100 is written twice"),
        ("jobs: {n: {compress: none}}", "carries no checksum"),
        ("jobs: {9n: {}}", "'9n'"),
        ("tiers: {gold: {copies: 11}}", "11 is out of range"),
        ("guests: {1000000000: {}}", "1000000000 is out of range"),
        ("prune: {max-share: 1.5}", "1.5 is out of range"),
        (
            "exemptions: [{finding: clock-drift, vmid: 99, owner: a, reason: b, until: "
            "2026-12-31}]",
            "99 is out of range",
        ),
        (
            "exemptions: [{finding: clock-drift, owner: a, until: 2026-12-31}]",
            "'reason' is missing",
        ),
        ("exemptions: [{finding: clock-drift, owner: a, reason: b}]", "'until' is missing"),
        ("exemptions: [{owner: a, reason: b, until: 2026-12-31}]", "'finding' is missing"),
    ],
)
def test_what_is_just_not_allowed_is_refused_by_name(line: str, what: str) -> None:
    assert what in refusal(f"site: x\n{line}")


def test_law_5_an_address_and_an_isolated_bridge_are_asked_for_only_where_a_check_needs_them() -> (
    None
):
    bridge = "site: x\nscratch: {bridge: vmbr9}\n"
    assert (
        load_policy(f"{bridge}guests: {{105: {{checks: [agent]}}}}", "x").guests[105].network
        == "link-down"
    )
    assert (
        load_policy(f"{bridge}guests: {{105: {{network: isolated}}}}", "x").guests[105].network
        == "isolated"
    )
    assert "the check 'ssh 22' speaks to it" in refusal(
        f"{bridge}guests: {{105: {{checks: [agent, ssh]}}}}"
    )
    two = "guests: {105: {address: 10.0.0.5}, 106: {}, 107: {address: 10.0.0.6}}"
    assert len(load_policy(f"{bridge}{two}", "x").guests) == 3, "who has no address shares none"


@pytest.mark.parametrize(
    ("address", "words"),
    [("127.0.0.1", "a loopback"), ("224.0.0.5", "a multicast"), ("0.0.0.0", "an unspecified")],
)
def test_law_5_an_address_of_no_guest_is_refused_in_plain_words(address: str, words: str) -> None:
    said = refusal(f"site: x\nguests: {{105: {{address: '{address}'}}}}")
    assert f"{address} is {words} address: another machine would answer" in said
