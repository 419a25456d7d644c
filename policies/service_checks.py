"""Find the guests that no restore test can prove, because nothing asks their service, and suggest
checks.

A guest whose checks are signs of life only is booted at most. That suffices where its tier says
``proof-rung: booted``; elsewhere its tests end inconclusive, for lack of a check
(``no-service-check``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from policies.check_kinds import asks_service
from policies.guest_policy import policy_for
from policies.model import CheckSpec, Policy, Rung

ANY = ("ssh", "http", "ldap")
# what answers on a port, as a policy writes the check of it
PORTS = {
    22: "ssh",
    80: "http",
    443: "http: {tls: true}",
    389: "ldap",
    636: "ldap: {tls: true}",
    8006: "http: {port: 8006, tls: true}",
    8080: "http: 8080",
    8443: "http: {port: 8443, tls: true}",
}
# what a role, a name or a tag says of the service, in English and French
WORDS = (
    (r"ldap|director(y|ies)|domain controllers?|annuaires?|contr[oô]leurs? de domaine", "ldap"),
    (r"firewalls?|pare-feu|pfsense|opnsense", "http: {tls: true}"),
    (
        r"web|sites?|portals?|portail|intranet|wiki|pages?|https?|single "
        r"sign-on|certsrv|monitoring|supervision",
        "http",
    ),
    (r"ssh|sftp|linux|debian|ubuntu|bastion|build|load balancer|git", "ssh"),
)


@dataclass(frozen=True, slots=True)
class Unasked:
    """A guest whose service nothing asks: its checks by name, and the checks that its ports, role,
    name or tags suggest.
    """

    vmid: int
    name: str
    tier: str
    checks: tuple[str, ...]
    suggested: tuple[str, ...]


def wanted_rung(policy: Policy, vmid: int) -> Rung:
    """Given a VMID, return the rung at which an archive of it is proven: that of its tier, else
    healthy.
    """
    written = policy.guests.get(vmid)
    tier = policy.tiers.get(written.tier if written else policy.default_tier)
    return tier.proof_rung if tier else Rung.HEALTHY


def unasked(policy: Policy, vmid: int, name: str = "", tags: Iterable[str] = ()) -> Unasked | None:
    """Given a guest, return what its policy lacks for a restore test to prove it, None if it lacks
    nothing.
    """
    wanted = policy_for(policy, vmid, name)
    if wanted_rung(policy, vmid) is not Rung.HEALTHY or asks_service(
        check.kind for check in wanted.checks
    ):
        return None
    suggested = suggestions(wanted.checks, (wanted.role, wanted.name, *tags))
    return Unasked(
        vmid, wanted.name, wanted.tier, tuple(check.name for check in wanted.checks), suggested
    )


def demoted(policy: Policy) -> tuple[Unasked, ...]:
    """Given a policy, return every guest that it names, under guests or in a job, and that no
    restore test can prove.
    """
    named = {vmid for job in policy.jobs for vmid in job.guests or ()}
    found = (unasked(policy, vmid) for vmid in sorted(named | policy.guests.keys()))
    return tuple(item for item in found if item)


def default_demoted(policy: Policy) -> bool:
    """Given a policy, return whether guests that it does not name would be asked by their agent
    alone and never be proven.
    """
    everybody = any(job.guests is None for job in policy.jobs)
    # a VMID that no policy names: what holds of it holds of every guest that is not named
    return everybody and wanted_rung(policy, -1) is Rung.HEALTHY


def suggestions(checks: Iterable[CheckSpec], words: Iterable[str]) -> tuple[str, ...]:
    """Given a guest's checks and what is said of it, return checks of its service as a policy
    writes them; at least one.
    """
    by_port = [
        PORTS[port]
        for check in checks
        if isinstance(port := check.options.get("port"), int) and port in PORTS
    ]
    said = " ".join(words).lower()
    by_word = [check for pattern, check in WORDS if re.search(rf"\b({pattern})\b", said)]
    # a port that is checked already tells more than a name
    return tuple(dict.fromkeys(by_port or by_word)) or ANY
