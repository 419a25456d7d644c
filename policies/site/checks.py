"""The health checks of a policy: ``agent``, ``ssh``, ``ldap``, ``tcp: 22``, ``http: {port: 8080,
path: /login}``.
"""

from __future__ import annotations

from collections.abc import Collection

from policies.check_kinds import CHECK_KINDS, NETWORK_KINDS
from policies.model import CheckSpec
from policies.yaml_reader import Value

_FORMS = (
    "a list of checks, such as [agent, ssh, {tcp: 443}, {http: {port: 80, path: /login, contains: "
    "Welcome}}]"
)


def needs_network(checks: Collection[CheckSpec]) -> bool:
    """Given checks, return whether any of them speaks to the guest over the network."""
    return any(check.kind in NETWORK_KINDS for check in checks)


def port_of(check: CheckSpec) -> int | None:
    """Given a check, return the TCP port at which it asks, None if it does not speak to the guest
    over the network.
    """
    kind = CHECK_KINDS.get(check.kind)
    if kind is None or not kind.network:
        return None
    port = check.options.get("port") or (kind.tls_port if check.options.get("tls") else kind.port)
    return int(str(port)) if port else None


def read_checks(value: Value) -> tuple[CheckSpec, ...]:
    """Given a list of checks, return them. Raise PolicyError for an unknown kind, a wrong option,
    or one check written twice.
    """
    checks: dict[str, CheckSpec] = {}
    for item in value.items(_FORMS):
        if item.is_mapping:
            entries = list(item.entries(_FORMS).values())
            if len(entries) != 1:
                raise item.wrong(
                    f"{len(entries)} keys are written here", "one check an item, as `- tcp: 22`"
                )
            key, options = entries[0]
            kind = Value(key.node, item.path, item.source).choice(tuple(CHECK_KINDS))
            check = CHECK_KINDS[kind].read(item, None if options.is_null else options)
        else:
            check = CHECK_KINDS[item.choice(tuple(CHECK_KINDS))].read(item, None)
        if check.name in checks:
            raise item.wrong(
                f"the check {check.name!r} is written twice",
                "each check once, or a `name:` of its own for each",
            )
        checks[check.name] = check
    return tuple(checks.values())
