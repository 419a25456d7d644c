"""Tell whether anybody answers at the addresses of a guest that is about to be brought back, asked from
this machine on the real network: who answers there may be the guest itself.

Silence is only what a neighbour's silence is: ARP that nobody answers on a network of this machine.
Whoever is behind a router may be there and say nothing, so that is not known. A port that gave no
answer before the start, and a good one after it, was answered by somebody who came with the start.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from policies import silence
from policies.check_kinds import NETWORK_KINDS
from policies.model import CheckResult, GuestPolicy, Outcome
from policies.pve import ipconfig
from policies.silence import Finding, Heard, Table, Verdict, Way
from policies.site.checks import port_of

# where no check names a port: a machine that is up most often accepts or refuses one of these
USUAL = (22, 80, 443, 445, 3389)


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a guest, the ports at which it is asked, and where it is known from."""

    ip: str
    ports: tuple[int, ...]
    known_from: str


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at an address, at a time (epoch seconds)."""

    address: Address
    found: Finding
    at: int


def addresses(
    wanted: GuestPolicy, configs: Iterable[tuple[str, Mapping[str, str]]]
) -> tuple[Address, ...]:
    """Given what the policy says of a guest, and configs of it, each with where it was found, return
    its addresses, each once.
    """
    ports = {port for check in wanted.checks if (port := port_of(check))}
    asked = tuple(sorted(ports)) or USUAL
    told = [(wanted.address, "the policy")] if wanted.address else []
    told += [(ip, source) for source, config in configs for ip in ipconfig.addresses(config)]
    found: dict[str, Address] = {}
    for text, source in told:
        try:
            ip = str(ipaddress.ip_address(text))
        except ValueError:
            continue
        found.setdefault(ip, Address(ip, asked, source))
    return tuple(found.values())


def judge(address: Address, heard: Mapping[int, Heard], table: Table | None, out: float) -> Finding:
    """Given what became of an attempt at each port, what this machine knows of that neighbour (None:
    it cannot tell), and for how many seconds the attempts have been out, return what was found.

    UNSETTLED: it must be asked anew, for an old word is remembered.
    """
    ip = ipaddress.ip_address(address.ip)
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified:
        return Finding(Verdict.UNKNOWN, f"{ip} is no address of a guest on a network")
    mac = table.mac if table else None
    by = f" (MAC {mac})" if mac else ""
    # a refusal is an answer too: somebody is there, and has that port shut
    for what in (Heard.OPEN, Heard.REFUSED):
        if ports := sorted(port for port, one in heard.items() if one is what):
            return Finding(Verdict.ANSWERED, f"port {ports[0]} {what}{by}", mac)
    if table is None:
        return Finding(Verdict.UNKNOWN, "this machine does not tell who its neighbours are")
    if table.way is Way.OWN:
        return Finding(Verdict.ANSWERED, "it is an address of this machine itself")
    if table.way is not Way.ON_LINK:
        tried = ", ".join(map(str, sorted(heard)))
        how = {
            Way.ROUTED: "it is behind a router, where a machine may be without a word to "
            f"port {tried}",
            Way.NONE: "this machine has no way to it",
        }
        return Finding(Verdict.UNKNOWN, how[table.way])
    found = silence.listen(table, address.ip, {}, cleared=False, out=out)
    if found.verdict is Verdict.UNSETTLED:
        return replace(found, words=f"this machine remembers somebody there{by}")
    return found


def doubtful(looks: Iterable[Look]) -> tuple[str, ...]:
    """Given what was found at a guest's addresses, return a sentence for each of which nobody knows
    whether it is silent; that none is known is one too.
    """
    every = tuple(looks)
    # an address that nobody knows is no silence: it is said, and keeps nobody from a restore
    if not every:
        return ("no address of it is known, so whether it still answers somewhere was not asked",)
    return tuple(
        f"whether it still answers at {look.address.ip} ({look.address.known_from}) is not known: "
        f"{look.found.words}"
        for look in every
        if look.found.verdict is Verdict.UNKNOWN
    )


def counted(
    result: CheckResult,
    ip: str,
    looks: Iterable[Look],
    table: Table | None,
    macs: Collection[str],
) -> CheckResult:
    """Given the answer of a check after the start, the address that it asked (""
    if none can be), what was found there
    before the start, and what this machine knows of the neighbour now (None: it cannot tell), return
    it, or inconclusive where it may not be the guest's. ``macs`` are the guest's own.
    """
    # the agent is asked through PVE, at no address: whose it is, is told otherwise
    if result.kind not in NETWORK_KINDS or result.outcome is Outcome.INCONCLUSIVE:
        return result
    before = next((look for look in looks if look.address.ip == ip), None)
    why = ""
    if before is None:
        why = "nobody listened there before the start"
    elif before.found.verdict is Verdict.ANSWERED:
        why = f"somebody answered there before the start: {before.found.words}"
    elif table and table.way is Way.ON_LINK:
        now = silence.copys(table, before.address.ip, macs)
        # a bad answer may be that nobody is there; a good one comes from somebody
        own = now.verdict in (Verdict.ANSWERED, Verdict.UNSETTLED) or (
            now.verdict is Verdict.SILENT and result.outcome is Outcome.FAILED
        )
        why = "" if own else now.words.replace("the copy's", "the guest's")
    if not why:
        return result
    detail = f"its answer does not count ({result.detail}): {why}"
    return replace(result, outcome=Outcome.INCONCLUSIVE, detail=detail)
