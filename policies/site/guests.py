"""The sections ``tiers``, ``default-tier`` and ``guests``: what is wanted of guests, and how their
copies are checked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from policies.guest_policy import AGENT
from policies.model import CheckSpec, GuestPolicy, Rung, Scratch, Tier
from policies.site import values
from policies.site.checks import needs_network, read_checks
from policies.yaml_reader import Section, Value

DEFAULT_TIER = Tier("standard", rpo=8 * 86400, rto=4 * 3600, proof_age=7 * 86400)
PROOF_RUNGS = (Rung.HEALTHY, Rung.BOOTED)
NETWORKS = ("isolated", "link-down")


def read_tiers(value: Value) -> dict[str, Tier]:
    """Given the section, return its tiers by name. Raise PolicyError where a value is wrong."""
    tiers = {}
    for name, (_, tier) in value.entries("a mapping of tier names to objectives").items():
        section = tier.section("rpo", "rto", "proof-age", "copies", "depth", "proof-rung")
        tiers[name] = Tier(
            name,
            rpo=section.take("rpo", Value.duration, DEFAULT_TIER.rpo),
            rto=section.take("rto", Value.duration, DEFAULT_TIER.rto),
            proof_age=section.take("proof-age", Value.duration, DEFAULT_TIER.proof_age),
            copies=section.take("copies", lambda one: one.integer(1, 10), DEFAULT_TIER.copies),
            depth=section.take("depth", _days, DEFAULT_TIER.depth),
            proof_rung=section.take(
                "proof-rung", lambda one: Rung(one.choice(PROOF_RUNGS)), DEFAULT_TIER.proof_rung
            ),
        )
    return tiers


def _days(value: Value) -> int:
    seconds = value.duration()
    if seconds % 86400:
        raise value.wrong(f"{value.text()} is not a number of days", "whole days, such as 30d")
    return seconds // 86400


def read_default_tier(top: Section, tiers: dict[str, Tier]) -> str:
    """Given the tiers, return the one of guests that name none: as written, else the only one, else
    ``standard``.
    """
    if written := top.get("default-tier"):
        return written.choice(tuple(tiers))
    # with one tier there is nothing to choose between
    if len(tiers) == 1:
        return next(iter(tiers))
    if DEFAULT_TIER.name not in tiers:
        top.need("default-tier", f"one of {', '.join(tiers)}")
    return DEFAULT_TIER.name


def read_guests(
    value: Value, read_guest: Callable[[int, Value], GuestPolicy], scratch: Scratch
) -> dict[int, GuestPolicy]:
    """Given the section, return its guests by VMID. Raise PolicyError where a value is wrong or
    contradicts another.
    """
    found: dict[int, GuestPolicy] = {}
    for name, (key, one) in value.entries("a mapping of VMIDs to guests").items():
        vmid = Value(key.node, "guests", key.source).integer(values.MIN_VMID, values.MAX_VMID)
        values.refuse_scratch(key, vmid, scratch)
        if vmid in found:
            raise key.wrong(f"the guest {name} is written twice", "each VMID once")
        guest = read_guest(vmid, one)
        # Copies lose their VLAN tags, so all of them share one network.
        for other in found.values():
            if guest.address and other.address == guest.address:
                _, written = one.entries("a guest")["address"]
                raise written.wrong(
                    f"{guest.address} is the address of guest {other.vmid} too",
                    "an address of its own for each guest",
                )
        found[vmid] = guest
    return found


def guest_reader(
    tiers: dict[str, Tier], default_tier: str, scratch: Scratch
) -> Callable[[int, Value], GuestPolicy]:
    """Given what guests share, return what reads one guest of the section."""

    def read_guest(vmid: int, value: Value) -> GuestPolicy:
        if value.is_null:
            # a VMID alone is enough to expect a guest
            return GuestPolicy(vmid, "", default_tier, checks=(AGENT,))
        section = value.section(
            "name", "tier", "role", "address", "network", "checks", "boot-timeout", "check-timeout", "memory", "settle", "thaw"
        )  # fmt: skip
        checks = section.take("checks", read_checks, (AGENT,))
        network = section.take("network", lambda one: one.choice(NETWORKS), None)
        address = section.take("address", _address, None)
        _refuse_unreachable(section, checks, network, address, scratch)
        return GuestPolicy(
            vmid,
            name=section.take("name", Value.text, ""),
            tier=section.take("tier", lambda one: one.choice(tuple(tiers)), default_tier),
            role=section.take("role", Value.text, ""),
            # a copy gets a network only where a check needs one
            network=network
            or ("isolated" if scratch.bridge and needs_network(checks) else "link-down"),
            address=address,
            checks=checks,
            boot_timeout=section.take("boot-timeout", Value.duration, 600),
            check_timeout=section.take("check-timeout", Value.duration, 300),
            memory=section.take("memory", values.memory, None),
            settle=section.take("settle", values.settle, None),
            thaw=section.take("thaw", Value.boolean, None),
        )

    return read_guest


def _refuse_unreachable(
    section: Section,
    checks: tuple[CheckSpec, ...],
    network: str | None,
    address: str | None,
    scratch: Scratch,
) -> None:
    """Raise PolicyError where the written network contradicts the scratch bridge or the checks."""
    written = section.get("network")
    if written and network == "isolated" and scratch.bridge is None:
        raise written.wrong(
            "there is no isolated bridge",
            "link-down, or name the isolated bridge in scratch.bridge",
        )
    if not needs_network(checks):
        return
    first = next(check.name for check in checks if needs_network([check]))
    if written and network == "link-down":
        raise written.wrong(
            f"the check {first!r} needs the network",
            "isolated, or checks that need no network (agent)",
        )
    if scratch.bridge and address is None:
        section.need(
            "address", f"the guest's own IP address, because the check {first!r} speaks to it"
        )


def _address(value: Value) -> str:
    text, allowed = (
        value.text("an IP address"),
        "an IP address without a prefix, such as 192.168.10.8",
    )
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise value.wrong(f"{text!r} is not an IP address", allowed) from None
    kinds = {
        "loopback": address.is_loopback,
        "multicast": address.is_multicast,
        "unspecified": address.is_unspecified,
    }
    for kind in (name for name, holds in kinds.items() if holds):
        raise value.wrong(
            f"{text} is {'an' if kind[0] == 'u' else 'a'} {kind} address: another machine would "
            "answer",
            allowed,
        )
    return str(address)
