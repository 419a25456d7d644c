"""The site's policy: what a short one means, and what a wrong one is told."""

from __future__ import annotations

import ast
import hashlib
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.guest_policy import policy_for
from policies.model import IntegrityRules, Policy, PolicyError, Rung
from policies.service_checks import default_demoted, demoted, wanted_rung
from policies.site import SECTIONS, load_policy

SITES = ["langeo", "small", "large"]


def site_text(name: str) -> str:
    return files("policies").joinpath("sites", f"{name}.yaml").read_text(encoding="utf-8")


def load(text: str) -> Policy:
    return load_policy(text, "site.yaml")


def refusal(text: str) -> str:
    with pytest.raises(PolicyError) as refused:
        load(text)
    return str(refused.value)


# --- the shipped policies -------------------------------------------------------------------------


@pytest.mark.parametrize("name", SITES)
def test_every_shipped_policy_is_right(name: str) -> None:
    policy = load_policy(site_text(name), f"{name}.yaml")
    assert policy.site == name
    assert policy.jobs
    assert policy.digest == hashlib.sha256(site_text(name).encode()).hexdigest()


def test_the_reference_site_lists_its_eleven_guests_with_their_addresses() -> None:
    policy = load(site_text("langeo"))
    assert sorted(policy.guests) == list(range(100, 111)) == list(policy.jobs[0].guests or ())
    assert policy.timezone == "Europe/Paris"
    assert policy.jobs[0].schedule == "21:00"
    addresses = {vmid: guest.address for vmid, guest in policy.guests.items()}
    assert (
        addresses[100] == "192.168.10.1"
        and addresses[110] == "192.168.30.10"
        and addresses[109] == "192.168.20.109"
    )


def test_the_reference_site_asks_108_over_the_isolated_bridge_and_never_its_agent() -> None:
    guest = load(site_text("langeo")).guests[108]
    assert guest.network == "isolated"
    assert [check.kind for check in guest.checks] == ["ssh", "http"]


def test_the_reference_site_gives_a_domain_controller_half_an_hour() -> None:
    guest = load(site_text("langeo")).guests[102]
    assert (guest.boot_timeout, guest.check_timeout) == (1800, 1800)
    assert [check.options["port"] for check in guest.checks] == [389, 88, 53]


def test_the_reference_site_asks_every_service_and_wants_no_more_of_workstations_than_that_they_boot() -> (
    None
):
    policy = load(site_text("langeo"))
    booted = [vmid for vmid in policy.guests if wanted_rung(policy, vmid) is Rung.BOOTED]
    assert booted == [101, 109] and {policy.guests[vmid].tier for vmid in booted} == {"workstation"}
    assert policy.guests[102].checks[0].kind == "ldap"
    assert [(check.kind, check.options["tls"]) for check in policy.guests[100].checks] == [
        ("http", True)
    ]


@pytest.mark.parametrize("name", SITES)
def test_no_shipped_policy_has_a_guest_that_cannot_be_proven(name: str) -> None:
    policy = load(site_text(name))
    assert demoted(policy) == () and not default_demoted(policy)


def test_the_small_policy_names_no_guest_and_needs_no_bridge() -> None:
    policy = load(site_text("small"))
    assert policy.guests == {} and policy.jobs[0].guests is None and policy.scratch.bridge is None


# --- a short policy -------------------------------------------------------------------------------


def test_a_name_alone_is_a_policy() -> None:
    policy = load("site: home")
    assert (policy.timezone, policy.language, policy.jobs, policy.default_tier) == (
        "UTC",
        "en",
        (),
        "standard",
    )
    assert 9000 in policy.scratch and 9099 in policy.scratch and 9100 not in policy.scratch


def test_an_empty_job_has_sensible_words() -> None:
    job = load("site: home\njobs: {nightly: {}}").jobs[0]
    assert (job.schedule, job.storage, job.guests, job.mode, job.compress, job.keep) == (
        "21:00",
        "local",
        None,
        "snapshot",
        "zstd",
        "keep-all=1",
    )


def test_an_unlisted_guest_is_asked_through_its_agent_at_the_default_tier() -> None:
    guest = policy_for(load("site: home"), 105, "Kanboard")
    assert (guest.vmid, guest.name, guest.tier, guest.network) == (
        105,
        "Kanboard",
        "standard",
        "link-down",
    )
    assert [check.kind for check in guest.checks] == ["agent"]


def test_a_listed_guest_keeps_its_words_and_takes_the_cluster_name_if_it_has_none() -> None:
    policy = load("site: home\nguests: {105: {role: board}, 106: {name: mine}, 107: }")
    assert policy_for(policy, 105, "Kanboard").name == "Kanboard"
    assert policy_for(policy, 105, "Kanboard").role == "board"
    assert policy_for(policy, 106, "theirs").name == "mine"
    assert [check.kind for check in policy_for(policy, 107, "x").checks] == ["agent"]


def test_no_checks_written_as_such_are_no_checks() -> None:
    assert load("site: home\nguests: {105: {checks: []}}").guests[105].checks == ()


def test_a_guest_asked_over_the_network_goes_onto_the_isolated_bridge_where_there_is_one() -> None:
    guest = "guests: {105: {address: 10.0.0.5, checks: [ssh]}}"
    assert (
        load(f"site: home\nscratch: {{bridge: vmbr9}}\n{guest}").guests[105].network == "isolated"
    )
    assert load(f"site: home\n{guest}").guests[105].network == "link-down"


@pytest.mark.parametrize(("written", "seconds"), [("0", 0), ("0s", 0), ("30s", 30), ("1h", 3600)])
def test_a_copy_settles_for_as_long_as_the_site_or_the_guest_says_and_half_a_minute_else(
    written: str, seconds: int
) -> None:
    policy = load(
        f"site: home\nscratch: {{settle: {written}}}\nguests: {{105: {{settle: {written}}}, 106: "
        f"{{role: x}}}}"
    )
    assert (policy.scratch.settle, policy.guests[105].settle, policy.guests[106].settle) == (
        seconds,
        seconds,
        None,
    )
    assert load("site: home").scratch.settle == 30


def test_an_unquoted_time_stays_a_time() -> None:
    assert load("site: home\njobs: {nightly: {schedule: 21:00}}").jobs[0].schedule == "21:00"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("24h", 86400), ("1h30m", 5400), ("7d", 604800), ("2w", 1209600)],
)
def test_durations_are_written_with_their_unit(text: str, seconds: int) -> None:
    assert load(f"site: home\nmax-clock-drift: {text}").max_clock_drift == seconds


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", IntegrityRules(30 * 86400, 500 << 30)),
        ("integrity: {}", IntegrityRules(30 * 86400, 500 << 30)),
        ("integrity: {every: 7d, budget: 2TiB}", IntegrityRules(7 * 86400, 2 << 40)),
        ("integrity: {budget: 300 MiB}", IntegrityRules(30 * 86400, 300 << 20)),
        ("integrity: {every: never}", None),
    ],
)
def test_how_often_archives_are_read_anew_is_written_with_a_budget(
    text: str, rules: IntegrityRules | None
) -> None:
    assert load(f"site: home\n{text}").integrity == rules


@pytest.mark.parametrize(
    ("written", "name", "options"),
    [
        ("agent", "agent", {}),
        ("ssh", "ssh 22", {"port": 22}),
        ("ldap", "ldap 389", {"port": 389, "tls": False}),
        ("{ldap: 3268}", "ldap 3268", {"port": 3268, "tls": False}),
        (
            "{ldap: {tls: true, base: 'dc=example,dc=com'}}",
            "ldaps 636",
            {"port": 636, "tls": True, "base": "dc=example,dc=com"},
        ),
        (
            "{http: {tls: true, host: www.example.com}}",
            "https :443/",
            {"port": 443, "path": "/", "status": 200, "tls": True, "host": "www.example.com"},
        ),
        ("{ssh: 2222}", "ssh 2222", {"port": 2222}),
        ("{tcp: 443}", "tcp 443", {"port": 443}),
        ("{tcp: {port: 389, name: LDAP}}", "LDAP", {"port": 389}),
        ("http", "http :80/", {"port": 80, "path": "/", "status": 200, "tls": False}),
        ("{http: 8080}", "http :8080/", {"port": 8080, "path": "/", "status": 200, "tls": False}),
        (
            "{http: {tls: true, path: /login}}",
            "https :443/login",
            {"port": 443, "path": "/login", "status": 200, "tls": True},
        ),
        (
            "{http: {contains: GLPI, status: 403}}",
            "http :80/",
            {"port": 80, "path": "/", "status": 403, "tls": False, "contains": "GLPI"},
        ),
    ],
)
def test_checks_are_written_short_or_long(
    written: str, name: str, options: dict[str, object]
) -> None:
    check = (
        load(f"site: home\nguests: {{105: {{address: 10.0.0.5, checks: [{written}]}}}}")
        .guests[105]
        .checks[0]
    )
    assert (check.name, dict(check.options), check.timeout) == (name, options, 10)


def test_a_tier_proves_at_healthy_unless_it_wants_no_more_than_booted() -> None:
    tiers = load(
        "site: home\ntiers: {gold: {}, desk: {proof-rung: booted}}\ndefault-tier: gold"
    ).tiers
    assert {name: tier.proof_rung for name, tier in tiers.items()} == {
        "gold": Rung.HEALTHY,
        "desk": Rung.BOOTED,
    }


def test_a_check_may_have_its_own_timeout() -> None:
    text = (
        "site: home\nguests: {105: {address: 10.0.0.5, checks: [{tcp: {port: 22, timeout: 45s}}]}}"
    )
    assert load(text).guests[105].checks[0].timeout == 45


def keys_that_are_read() -> set[str]:
    """Every key that the reader knows, from the calls of ``section`` in its source."""
    keys = set(SECTIONS)
    for module in (
        *Path(str(files("policies.site"))).glob("*.py"),
        Path(str(files("policies"))) / "check_kinds.py",
    ):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(
                node.func, "attr", getattr(node.func, "id", "")
            ) in ("section", "_options"):
                keys |= {str(word.value) for word in node.args if isinstance(word, ast.Constant)}
    return keys


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[4] / "docs" / "policy.md").read_text(encoding="utf-8")
    assert {"restore-timeout", "contains", "max-share"} <= keys_that_are_read()
    assert [key for key in sorted(keys_that_are_read()) if f"`{key}`" not in page] == []


def test_the_documented_shortest_policy_means_what_the_page_says() -> None:
    page = (Path(__file__).parents[4] / "docs" / "policy.md").read_text(encoding="utf-8")
    policy = load(page.split("```yaml\n")[1].split("```")[0])
    job = policy.jobs[0]
    assert (job.schedule, job.guests, job.storage, job.keep) == (
        "21:00",
        None,
        "local",
        "keep-last=3,keep-daily=7",
    )


# --- a wrong policy: file, line, what is wrong, what is allowed -----------------------------------

WRONG = [
    ("", 1, "the policy is empty", "site: NAME"),
    ("# only a comment\n", 1, "the policy is empty", "site: NAME"),
    ("[a, b]", 1, "not a mapping", "site, timezone"),
    ("site: [", 1, "not YAML", ""),
    ("site: x\n\tfoo: 1", 2, "not YAML", ""),
    ("site: x\n---\nsite: y", 2, "single document", ""),
    ("timezone: UTC", 1, "'site' is missing", "site: the site's name"),
    ("site:", 1, "'site' is missing", "site: the site's name"),
    ("site: x\nsite: y", 2, "written twice, first in line 1", "each key once"),
    ("site: x\ntimezome: UTC", 2, "'timezome' is unknown (did you mean 'timezone'?)", "timezone"),
    ("site: x\ntimezone: Mars/Base", 2, "'Mars/Base' is not a known time zone", "Europe/Paris"),
    ("site: x\nlanguage: de", 2, "'de' is unknown", "en, fr"),
    ("site: x\nmax-clock-drift: 30", 2, "'30' is not a duration", "90s"),
    ("site: x\nintegrity: {every: 30}", 2, "'30' is not a duration", "90s"),
    ("site: x\nintegrity: {budget: 500}", 2, "'500'", "500GiB"),
    ("site: x\nintegrity: {often: 1d}", 2, "'often' is unknown", "every, budget"),
    ("site: x\nmax-clock-drift: 0s", 2, "'0s' is not a duration", "90s"),
    ("site: x\nscratch:\n  vmids: 50-60", 3, "not a range", "100-999999999"),
    ("site: x\nscratch:\n  vmids: 9099-9000", 3, "not a range", "FIRST-LAST"),
    ("site: x\nscratch: {bridge: vmbr 9}", 2, "'vmbr 9'", "vmbr9"),
    ("site: x\nscratch: {memory: 4}", 2, "4 is out of range", "MiB"),
    ("site: x\nscratch:\n  window: 1-6", 3, "'1-6' is not a time range", "01:00-06:00"),
    ("site: x\nscratch:\n  window: 01:00-25:00", 3, "25:00 in '01:00-25:00' is no time of day", "HH:MM-HH:MM"),
    ("site: x\nscratch: {settle: 61m}", 2, "61m is too long", "up to 1h"),
    ("site: x\nscratch: {settle: 30}", 2, "'30' is not a duration", "90s"),
    ("site: x\nscratch: {bandwidth: fast}", 2, "'fast' is not a whole number", "KiB/s"),
    ("site: x\nscratch: {restore_timeout: 4h}", 2, "did you mean 'restore-timeout'?", "restore-timeout"),
    ("site: x\njobs:\n  nightly:\n    schedule: 25:00", 4, "not a calendar event", "21:00"),
    ("site: x\njobs:\n  nightly:\n    keep: keep-foo=1", 4, "keep-foo: property is not defined in "
                                                            "schema", "keep-last=3"),
    ("site: x\njobs:\n  nightly:\n    keep: keep-all=1,keep-last=2", 4, "keep-all cannot be set "
                                                                        "together", "keep-all=1"),
    ("site: x\njobs:\n  nightly:\n    compress: 0", 4, "carries no checksum of its data", "zstd"),
    ("site: x\njobs:\n  nightly:\n    compress: 1", 4, "1 means lzo", "zstd"),
    ("site: x\njobs:\n  nightly:\n    compress: zst", 4, "did you mean 'zstd'?", "zstd, gzip, lzo"),
    ("site: x\njobs:\n  nightly:\n    mode: live", 4, "'live' is unknown", "snapshot, suspend, stop"),
    ("site: x\njobs:\n  nightly:\n    windw: 4h", 4, "did you mean 'window'?", "schedule"),
    ("site: x\njobs:\n  nightly:\n    guests: []", 4, "the list is empty", "all"),
    ("site: x\njobs:\n  nightly:\n    guests: some", 4, "not a list", "VMIDs"),
    ("site: x\njobs:\n  nightly:\n    guests: [99]", 4, "99 is out of range", "100 to 999999999"),
    ("site: x\njobs:\n  nightly:\n    guests: [100, 100]", 4, "100 is written twice", "each VMID once"),
    ("site: x\njobs:\n  nightly:\n    guests: [9001]", 4, "9001 lies in the scratch range", "outside 9000-9099"),
    ("site: x\njobs:\n  nightly:\n    guests: [100]\n    exclude: [101]", 5, "excluded from a list", "guests: all"),
    ("site: x\njobs:\n  two words: {}", 3, "'two words'", "a letter"),
    ("site: x\njobs: [nightly]", 2, "not a mapping", "job names"),
    ("site: x\ntiers:\n  gold:\n    rpo: soon", 4, "'soon' is not a duration", "24h"),
    ("site: x\ntiers:\n  gold:\n    depth: 36h", 4, "36h is not a number of days", "30d"),
    ("site: x\ntiers:\n  gold:\n    copies: 0", 4, "0 is out of range", "1 to 10"),
    ("site: x\ntiers: {gold: {}, silver: {}}", 1, "'default-tier' is missing", "gold, silver"),
    ("site: x\ntiers: {gold: {}}\ndefault-tier: glod", 3, "did you mean 'gold'?", "gold"),
    ("site: x\nguests:\n  99: {}", 3, "99 is out of range", "100 to 999999999"),
    ("site: x\nguests:\n  web: {}", 3, "'web' is not a whole number", "100 to 999999999"),
    ("site: x\nguests:\n  9050: {}", 3, "9050 lies in the scratch range", "scratch.vmids"),
    ("site: x\nguests:\n  105:\n    tier: gold", 4, "'gold' is unknown", "standard"),
    ("site: x\nguests:\n  105: {}\n  0105: {}", 4, "written twice", "each VMID once"),
    ("site: x\nguests:\n  105:\n    address: 10.0.0.5/24", 4, "is not an IP address", "192.168.10.8"),
    ("site: x\nguests:\n  105:\n    address: 127.0.0.1", 4, "127.0.0.1 is a loopback address", "192.168.10.8"),
    ("site: x\nguests:\n  105:\n    address: '::1'", 4, "::1 is a loopback address", "192.168.10.8"),
    ("site: x\nguests:\n  105:\n    address: 224.0.0.5", 4, "224.0.0.5 is a multicast address", "192.168.10.8"),
    ("site: x\nguests:\n  105:\n    address: 0.0.0.0", 4, "0.0.0.0 is an unspecified address", "192.168.10.8"),
    ("site: x\nguests:\n  104: {address: 10.0.0.5}\n  105:\n    address: 10.0.0.5", 5, "of guest 104 too", "for each guest"),
    ("site: x\nguests:\n  105:\n    network: isolated", 4, "no isolated bridge", "scratch.bridge"),
    ("site: x\nguests:\n  105:\n    network: link-down\n    checks: [ssh]", 4, "'ssh 22' needs the network", "isolated"),
    ("site: x\nscratch: {bridge: vmbr9}\nguests:\n  105:\n    checks: [ssh]", 5, "'address' is missing", "IP address"),
    ("site: x\nguests:\n  105:\n    checks: agent", 4, "not a list", "[agent, ssh"),
    ("site: x\nguests:\n  105:\n    checks:\n      - htp: 80", 5, "did you mean 'http'?", "agent, tcp, http, ssh"),
    ("site: x\nguests:\n  105:\n    checks:\n      - ping", 5, "'ping' is unknown", "agent, tcp, http, ssh"),
    ("site: x\nguests:\n  105:\n    checks:\n      - tcp", 5, "the port is missing", "tcp: PORT"),
    ("site: x\nguests:\n  105:\n    checks:\n      - tcp: 70000", 5, "70000 is out of range", "1 to 65535"),
    ("site: x\nguests:\n  105:\n    checks:\n      - tcp: 22\n        ssh: 22", 5, "2 keys", "one check an item"),
    ("site: x\nguests:\n  105:\n    checks:\n      - http: {pth: /}", 5, "did you mean 'path'?", "contains"),
    ("site: x\nguests:\n  105:\n    checks:\n      - http: {path: login}", 5, "'login'", "begins with /"),
    ("site: x\nguests:\n  105:\n    checks:\n      - http: {tls: maybe}", 5, "neither true nor false", "true or false"),
    ("site: x\nguests:\n  105:\n    checks:\n      - agent\n      - agent", 6, "written twice", "name:"),
    ("site: x\nguests:\n  105:\n    checks:\n      - http: {host: 'a b'}", 5, "'a b'", "a host's name"),
    ("site: x\nguests:\n  105:\n    checks:\n      - ldap: {bas: x}", 5, "did you mean 'base'?", "base"),
    ("site: x\ntiers:\n  gold:\n    proof-rung: restored", 4, "'restored' is unknown", "healthy, booted"),
    ("site: x\nprune: {max-share: 0%}", 2, "0% is out of range", "50%"),
    ("site: x\nprune: {max-share: 101%}", 2, "101% is out of range", "50%"),
    ("site: x\nprune: {max-share: half}", 2, "'half'", "50%"),
    ("site: x\nexemptions:\n  - finding: clock-drft", 3, "did you mean 'clock-drift'?", "never-proven"),
    ("site: x\nexemptions:\n  - finding: clock-drift", 3, "'owner' is missing", "who answers"),
    ("site: x\nexemptions:\n  - {finding: clock-drift, owner: a, reason: b, until: 2026-02-30}", 3, "not a day", "2026-12-31"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "what", "allowed"),
    WRONG,
    ids=[f"{line}-{what[:40]}" for _, line, what, _ in WRONG],
)
def test_a_wrong_policy_is_told_file_line_and_what_is_allowed(
    text: str, line: int, what: str, allowed: str
) -> None:
    sentence = refusal(text)
    assert sentence.startswith(f"site.yaml:{line}: ")
    assert what in sentence.partition("; allowed:")[0]
    assert allowed in sentence
    assert "\n" not in sentence


def test_a_keep_string_is_refused_with_pve_words_on_one_line() -> None:
    assert "format error, keep-last: type check ('integer') failed - got 'abc'" in refusal(
        "site: x\njobs: {n: {keep: keep-last=abc}}"
    )


@given(
    st.text(max_size=60) | st.text(alphabet="site: x\n-[]{}&*!|>'\"%@`,?#guests105", max_size=60)
)
def test_any_text_is_a_policy_or_is_refused_with_its_file(text: str) -> None:
    try:
        load(text)
    except PolicyError as error:
        assert str(error).startswith("site.yaml:")


@pytest.mark.slow
@given(st.sampled_from(SITES), st.data())
def test_a_shipped_policy_with_a_line_lost_or_doubled_never_breaks_the_reader(
    name: str, data: st.DataObject
) -> None:
    lines = site_text(name).splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    changed = data.draw(
        st.sampled_from(
            [lines[:index] + lines[index + 1 :], [*lines[:index], lines[index], *lines[index:]]]
        )
    )
    try:
        load("\n".join(changed))
    except PolicyError as error:
        assert error.line is not None
