"""The kinds of checks that a policy may ask for: how each is worded, at which port it asks, and
which rung a good answer shows.

A sign of life (the agent's ping, an open port of which nothing is asked) shows that a copy boots:
an agent answers while the database beside it is dead. Only a check of the service, one that must be
answered in the service's own words, shows more.

How a kind asks stands in ``backupsvc/checks/``, in the module of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from policies.model import CheckSpec
from policies.yaml_reader import Section, Value

TIMEOUT = 10  # seconds for one attempt
HOST_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"


class Level(StrEnum):
    """How much a good answer shows."""

    LIFE = "sign of life"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class CheckKind:
    """One kind of check.

    Args:
        name: the word for it in the policy.
        level: what its good answer shows.
        read: given where it is written and what follows its name (None: nothing), return the check.
        port: the TCP port at which it asks where the check names none, ``tls_port`` the one with
        TLS.
        network: it is asked through the probe, on the isolated bridge.
    """

    name: str
    level: Level
    read: Callable[[Value, Value | None], CheckSpec]
    port: int | None = None
    tls_port: int | None = None
    network: bool = True


def _tcp(item: Value, value: Value | None) -> CheckSpec:
    if value is None:
        raise item.wrong("the port is missing", "tcp: PORT, such as `- tcp: 443`")
    section = _options(value, "port")
    port = section.need("port", "1 to 65535").integer(1, 65535) if section else _port(value)
    return _spec("tcp", f"tcp {port}", section, port=port)


def _ssh(item: Value, value: Value | None) -> CheckSpec:
    section = _options(value, "port") if value else None
    port = section.take("port", _port, 22) if section else _port(value) if value else 22
    return _spec("ssh", f"ssh {port}", section, port=port)


def _http(item: Value, value: Value | None) -> CheckSpec:
    section = (
        _options(value, "port", "path", "status", "contains", "tls", "host") if value else None
    )
    if section is None:
        port = _port(value) if value else 80
        return _spec("http", f"http :{port}/", None, port=port, path="/", status=200, tls=False)
    tls = section.take("tls", Value.boolean, False)
    port = section.take("port", _port, 443 if tls else 80)
    path = section.take(
        "path", lambda one: one.matching(r"/[!-~]*", "a path that begins with /"), "/"
    )
    options: dict[str, object] = {
        "port": port,
        "path": path,
        "status": section.take("status", lambda one: one.integer(100, 599), 200),
        "tls": tls,
    }
    if contains := section.take("contains", Value.text, ""):
        options["contains"] = contains
    if host := section.take(
        "host", lambda one: one.matching(HOST_NAME, "a host's name, such as www.example.com"), ""
    ):
        options["host"] = host
    return _spec("http", f"{'https' if tls else 'http'} :{port}{path}", section, **options)


def _ldap(item: Value, value: Value | None) -> CheckSpec:
    section = _options(value, "port", "tls", "base") if value else None
    if section is None:
        port = _port(value) if value else 389
        return _spec("ldap", f"ldap {port}", None, port=port, tls=False)
    tls = section.take("tls", Value.boolean, False)
    port = section.take("port", _port, 636 if tls else 389)
    options: dict[str, object] = {"port": port, "tls": tls}
    if base := section.take("base", Value.text, ""):
        options["base"] = base
    return _spec("ldap", f"{'ldaps' if tls else 'ldap'} {port}", section, **options)


def _options(value: Value, *keys: str) -> Section | None:
    """Given what follows a kind, return its options, or None if a port alone is written."""
    return value.section(*keys, "name", "timeout") if value.is_mapping else None


def _port(value: Value) -> int:
    return value.integer(1, 65535)


def _spec(kind: str, name: str, section: Section | None, **options: object) -> CheckSpec:
    """Given a kind, its default name and its options, return the check with the name and timeout
    that every kind may set.
    """
    if section is None:
        return CheckSpec(kind, name, MappingProxyType(options), TIMEOUT)
    name = section.take("name", Value.text, name)
    return CheckSpec(
        kind, name, MappingProxyType(options), section.take("timeout", Value.duration, TIMEOUT)
    )


# tcp is a sign of life alone: a listener may accept while the service behind it is dead
_ALL = (
    CheckKind(
        "agent",
        Level.LIFE,
        lambda item, value: _spec(
            "agent", "agent", value.section("name", "timeout") if value else None
        ),
        network=False,
    ),
    CheckKind("tcp", Level.LIFE, _tcp),
    CheckKind("http", Level.SERVICE, _http, 80, 443),
    CheckKind("ssh", Level.SERVICE, _ssh, 22),
    CheckKind("ldap", Level.SERVICE, _ldap, 389, 636),
)
CHECK_KINDS: Mapping[str, CheckKind] = MappingProxyType({kind.name: kind for kind in _ALL})
NETWORK_KINDS = frozenset(kind.name for kind in _ALL if kind.network)


def level_of(kind: str) -> Level:
    """Given the name of a kind of check, return what its good answer shows; of a kind that nobody
    knows, the less.
    """
    # a catalog may name kinds of another release
    return CHECK_KINDS[kind].level if kind in CHECK_KINDS else Level.LIFE


def asks_service(kinds: Iterable[str]) -> bool:
    """Given the kinds of a guest's checks, return whether any of them asks its service."""
    return any(level_of(kind) is Level.SERVICE for kind in kinds)
