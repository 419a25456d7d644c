"""The health checks of a policy: what each short form means, at which port it asks, and what is
refused.
"""

from __future__ import annotations

import pytest

from policies.guest_policy import AGENT
from policies.model import CheckSpec, PolicyError
from policies.site.checks import needs_network, port_of, read_checks
from policies.yaml_reader import read


def checks(text: str) -> tuple[CheckSpec, ...]:
    return read_checks(read(text, "x.yaml"))


def refusal(text: str) -> str:
    with pytest.raises(PolicyError) as refused:
        checks(text)
    return str(refused.value)


WEB = {"path": "/", "status": 200, "tls": False}


@pytest.mark.parametrize(
    ("text", "kind", "name", "options", "timeout"),
    [
        ("agent", "agent", "agent", {}, 10),
        ("{agent: {name: it, timeout: 5s}}", "agent", "it", {}, 5),
        ("{agent: }", "agent", "agent", {}, 10),
        ("{tcp: 443}", "tcp", "tcp 443", {"port": 443}, 10),
        ("{tcp: {port: 1}}", "tcp", "tcp 1", {"port": 1}, 10),
        ("{tcp: {port: 65535, name: top, timeout: 7s}}", "tcp", "top", {"port": 65535}, 7),
        ("ssh", "ssh", "ssh 22", {"port": 22}, 10),
        ("{ssh: }", "ssh", "ssh 22", {"port": 22}, 10),
        ("{ssh: 2222}", "ssh", "ssh 2222", {"port": 2222}, 10),
        ("{ssh: {port: 2223}}", "ssh", "ssh 2223", {"port": 2223}, 10),
        ("{ssh: {name: shell}}", "ssh", "shell", {"port": 22}, 10),
        ("http", "http", "http :80/", {"port": 80} | WEB, 10),
        ("{http: 8080}", "http", "http :8080/", {"port": 8080} | WEB, 10),
        (
            "{http: {path: /login}}",
            "http",
            "http :80/login",
            {"port": 80} | WEB | {"path": "/login"},
            10,
        ),
        ("{http: {tls: true}}", "http", "https :443/", {"port": 443} | WEB | {"tls": True}, 10),
        (
            "{http: {tls: true, port: 8443}}",
            "http",
            "https :8443/",
            {"port": 8443} | WEB | {"tls": True},
            10,
        ),
        ("{http: {status: 100}}", "http", "http :80/", {"port": 80} | WEB | {"status": 100}, 10),
        ("{http: {status: 599}}", "http", "http :80/", {"port": 80} | WEB | {"status": 599}, 10),
        (
            "{http: {contains: GLPI}}",
            "http",
            "http :80/",
            {"port": 80} | WEB | {"contains": "GLPI"},
            10,
        ),
        (
            "{http: {host: a.example}}",
            "http",
            "http :80/",
            {"port": 80} | WEB | {"host": "a.example"},
            10,
        ),
        ("ldap", "ldap", "ldap 389", {"port": 389, "tls": False}, 10),
        ("{ldap: 3268}", "ldap", "ldap 3268", {"port": 3268, "tls": False}, 10),
        (
            "{ldap: {base: dc=x}}",
            "ldap",
            "ldap 389",
            {"port": 389, "tls": False, "base": "dc=x"},
            10,
        ),
        ("{ldap: {tls: true}}", "ldap", "ldaps 636", {"port": 636, "tls": True}, 10),
        (
            "{ldap: {tls: true, port: 3269, name: dir}}",
            "ldap",
            "dir",
            {"port": 3269, "tls": True},
            10,
        ),
    ],
)
def test_a_check_means_what_the_page_says(
    text: str, kind: str, name: str, options: dict[str, object], timeout: int
) -> None:
    (check,) = checks(f"[{text}]")
    assert (check.kind, check.name, dict(check.options), check.timeout) == (
        kind,
        name,
        options,
        timeout,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{tcp: }]", "the port is missing; allowed: tcp: PORT, such as `- tcp: 443`"),
        ("[{tcp: {name: x}}]", "the key 'port' is missing; allowed: port: 1 to 65535"),
        ("[{tcp: 0}]", "0 is out of range"),
        ("[{tcp: 65536}]", "65536 is out of range"),
        ("[{tcp: {port: 65536}}]", "65536 is out of range"),
        ("[{tcp: {port: 0}}]", "0 is out of range"),
        ("[{ssh: 0}]", "0 is out of range"),
        ("[{http: {status: 99}}]", "99 is out of range"),
        ("[{http: {status: 600}}]", "600 is out of range"),
        ("[{http: {path: 'a b'}}]", "allowed: a path that begins with /"),
        ("[{http: {host: -a}}]", "allowed: a host's name, such as www.example.com"),
        ("[{ssh: {path: /}}]", "the key 'path' is unknown"),
        ("[{}]", "0 keys are written here; allowed: one check an item, as `- tcp: 22`"),
        ("[{ssh: , ldap: }]", "2 keys are written here"),
        ("[[ssh]]", "a list is written here; allowed: agent, tcp, http, ssh, ldap"),
        ("[ssh, {ssh: {timeout: 5s}}]", "the check 'ssh 22' is written twice"),
        ("ssh", "this is not a list; allowed: a list of checks, such as [agent, ssh"),
    ],
)
def test_what_is_no_check_is_refused_with_what_is_allowed(text: str, said: str) -> None:
    assert said in refusal(text)


def test_checks_keep_their_order_and_the_agent_alone_needs_no_network() -> None:
    found = checks("[{tcp: 22}, agent, http]")
    assert [check.kind for check in found] == ["tcp", "agent", "http"]
    assert needs_network(found) and not needs_network([AGENT]) and not needs_network([])
    assert CheckSpec("agent", "agent", timeout=10) == AGENT


@pytest.mark.parametrize(
    ("check", "port"),
    [
        (CheckSpec("agent", "agent"), None),
        (CheckSpec("agent", "agent", {"port": 5}), None),
        (CheckSpec("tcp", "x"), None),
        (CheckSpec("of another version", "x", {"port": 70}), None),
        (CheckSpec("tcp", "x", {"port": 53}), 53),
        (CheckSpec("ssh", "x"), 22),
        (CheckSpec("http", "x"), 80),
        (CheckSpec("ldap", "x"), 389),
        (CheckSpec("http", "x", {"tls": True}), 443),
        (CheckSpec("ldap", "x", {"tls": True}), 636),
        (CheckSpec("ldap", "x", {"tls": True, "port": "3269"}), 3269),
    ],
)
def test_a_check_asks_at_its_own_port_or_at_the_usual_one(
    check: CheckSpec, port: int | None
) -> None:
    assert port_of(check) == port
