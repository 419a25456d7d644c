"""The health checks of a policy: ``agent``, ``ssh``, ``ldap``, ``tcp: 22``, ``http: {port: 8080, path: /login}``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import MappingProxyType

from policies.check_levels import NETWORK_KINDS
from policies.model import CheckSpec
from policies.yaml_reader import Section, Value

TIMEOUT = 10  # seconds for one attempt
_PORTS = {"ssh": 22, "http": 80, "ldap": 389}
_TLS_PORTS = {"http": 443, "ldap": 636}
HOST_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_FORMS = "a list of checks, such as [agent, ssh, {tcp: 443}, {http: {port: 80, path: /login, contains: Welcome}}]"


def needs_network(checks: Collection[CheckSpec]) -> bool:
    """Given checks, return whether any of them speaks to the guest over the network."""
    return any(check.kind in NETWORK_KINDS for check in checks)


def port_of(check: CheckSpec) -> int | None:
    """Given a check, return the TCP port at which it asks, None if it does not speak to the guest over the network."""
    usual = _TLS_PORTS if check.options.get("tls") else _PORTS
    port = check.options.get("port") or usual.get(check.kind)
    return int(str(port)) if port and check.kind in NETWORK_KINDS else None


def read_checks(value: Value) -> tuple[CheckSpec, ...]:
    """Given a list of checks, return them. Raise PolicyError for an unknown kind, a wrong option, or one check written twice."""
    checks: dict[str, CheckSpec] = {}
    for item in value.items(_FORMS):
        check = _check(item)
        if check.name in checks:
            raise item.wrong(f"the check {check.name!r} is written twice", "each check once, or a `name:` of its own for each")
        checks[check.name] = check
    return tuple(checks.values())


def _check(item: Value) -> CheckSpec:
    """Given one check, as a bare kind or as ``kind: options``, return it."""
    if not item.is_mapping:
        return _KINDS[item.choice(tuple(_KINDS))](item, None)
    entries = list(item.entries(_FORMS).items())
    if len(entries) != 1:
        raise item.wrong(f"{len(entries)} keys are written here", "one check an item, as `- tcp: 22`")
    _, (key, value) = entries[0]
    kind = Value(key.node, item.path, item.source).choice(tuple(_KINDS))
    return _KINDS[kind](item, None if value.is_null else value)


def _agent(item: Value, value: Value | None) -> CheckSpec:
    section = value.section("name", "timeout") if value else None
    return _spec("agent", "agent", section)


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
    section = _options(value, "port", "path", "status", "contains", "tls", "host") if value else None
    if section is None:
        port = _port(value) if value else 80
        return _spec("http", f"http :{port}/", None, port=port, path="/", status=200, tls=False)
    tls = section.take("tls", Value.boolean, False)
    port = section.take("port", _port, 443 if tls else 80)
    path = section.take("path", lambda one: one.matching(r"/[!-~]*", "a path that begins with /"), "/")
    options: dict[str, object] = {
        "port": port,
        "path": path,
        "status": section.take("status", lambda one: one.integer(100, 599), 200),
        "tls": tls,
    }
    if contains := section.take("contains", Value.text, ""):
        options["contains"] = contains
    if host := section.take("host", lambda one: one.matching(HOST_NAME, "a host's name, such as www.example.com"), ""):
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


_KINDS: dict[str, Callable[[Value, Value | None], CheckSpec]] = {
    "agent": _agent,
    "tcp": _tcp,
    "http": _http,
    "ssh": _ssh,
    "ldap": _ldap,
}


def _options(value: Value, *keys: str) -> Section | None:
    """Given what follows a kind, return its options, or None if a port alone is written."""
    return value.section(*keys, "name", "timeout") if value.is_mapping else None


def _port(value: Value) -> int:
    return value.integer(1, 65535)


def _spec(kind: str, name: str, section: Section | None, **options: object) -> CheckSpec:
    """Given a kind, its default name and its options, return the check with the name and timeout that every kind may set."""
    if section is None:
        return CheckSpec(kind, name, MappingProxyType(options), TIMEOUT)
    name = section.take("name", Value.text, name)
    return CheckSpec(kind, name, MappingProxyType(options), section.take("timeout", Value.duration, TIMEOUT))
