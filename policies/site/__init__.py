"""A site's policy, read from YAML: what is wanted, in PVE's own terms. What is wrong is said with file, line and what is allowed.

Every key but ``site`` has a default, so that a short policy stays short (docs/policy.md lists them all). The words of the health
checks are read in site_checks, types and line numbers in lines.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

from policies import windows
from policies.model import CheckSpec, Exemption, GuestPolicy, Job, Policy, PruneRules, Rung, Scratch, Tier
from policies.pve import calendar_event, prune_backups
from policies.site.checks import AGENT, needs_network, read_checks
from policies.yaml_reader import Section, Value, read

LEAST_VMID, MOST_VMID = 100, 999_999_999  # PVE's own limits
DEFAULT_SCRATCH = (9000, 9099)
DEFAULT_SETTLE, MOST_SETTLE = 30, 3600  # seconds
DEFAULT_TIER = Tier("standard", rpo=8 * 86400, rto=4 * 3600, proof_age=7 * 86400)
LANGUAGES = ("en", "fr")
MODES = ("snapshot", "suspend", "stop")
PROOF_RUNGS = (Rung.HEALTHY, Rung.BOOTED)
COMPRESSIONS = ("zstd", "gzip", "lzo")
NETWORKS = ("isolated", "link-down")
FINDINGS = (
    "archives-on-guest-node",
    "job-pinned-to-node",
    "quorum-two-votes",
    "clock-drift",
    "guest-agent-missing",
    "never-proven",
    "scratch-not-isolated",
    "guest-not-covered",
    "disk-excluded",
    "backup-missed",
    "archive-shrunk",
    "archive-changed",
    "listing-blind",
    "foreign-job",
    "storage-prunes",
    "exception-expired",
    "storage-filling",
    "guest-left-frozen",
    "no-service-check",
    "orphan-copy",
    "copy-moved",
)
SECTIONS = (
    "site", "timezone", "language", "scratch", "jobs", "tiers", "default-tier", "guests", "prune", "exemptions",
    "max-clock-drift",
)  # fmt: skip
NAME = r"[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]"  # PVE's pve-storage-id
NODE = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"  # PVE's pve-node
BRIDGE = r"[A-Za-z][A-Za-z0-9_]{1,20}"  # PVE's pve-iface, without aliases


def load_policy(text: str, source: str) -> Policy:
    """Given a policy's text and its file's name, return the Policy. Raise PolicyError with file, line and what is allowed."""
    root = read(text, source)
    top = root.section(*SECTIONS)
    timezone = top.take("timezone", _timezone, "UTC")
    tiers = top.take("tiers", _tiers, {DEFAULT_TIER.name: DEFAULT_TIER})
    default_tier = _default_tier(top, tiers)
    scratch = top.take("scratch", _scratch, Scratch(*DEFAULT_SCRATCH))
    guest = _guest_reader(tiers, default_tier, scratch)
    return Policy(
        site=top.need("site", "the site's name").text(),
        timezone=timezone,
        language=top.take("language", lambda value: value.choice(LANGUAGES), "en"),
        jobs=top.take("jobs", lambda value: _jobs(value, timezone, scratch), ()),
        tiers=MappingProxyType(tiers),
        guests=MappingProxyType(top.take("guests", lambda value: _guests(value, guest, scratch), {})),
        scratch=scratch,
        default_tier=default_tier,
        prune=top.take("prune", _prune, PruneRules()),
        exemptions=top.take("exemptions", _exemptions, ()),
        max_clock_drift=top.take("max-clock-drift", Value.duration, 30),
        source=source,
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def policy_for(policy: Policy, vmid: int, name: str) -> GuestPolicy:
    """Given a VMID and the guest's name in the cluster, return what is wanted of it: as written, else the defaults.

    The defaults: the default tier, the check ``agent``, links down. A name that the policy leaves out is the cluster's.
    """
    written = policy.guests.get(vmid)
    if written is None:
        return GuestPolicy(vmid, name, policy.default_tier, checks=(AGENT,))
    return written if written.name else replace(written, name=name)


# --- scratch ------------------------------------------------------------------------------------------------------------


def _timezone(value: Value) -> str:
    return value.checked(calendar_event.zone).key


def _scratch(value: Value) -> Scratch:
    section = value.section(
        "vmids", "bridge", "storage", "node", "pool", "memory", "bandwidth", "restore-timeout", "window", "settle"
    )  # fmt: skip
    first, last = section.take("vmids", _vmid_range, DEFAULT_SCRATCH)
    return Scratch(
        first,
        last,
        bridge=section.take("bridge", lambda one: one.matching(BRIDGE, "a bridge's name, such as vmbr9"), None),
        storage=section.take("storage", _storage, None),
        node=section.take("node", lambda one: one.matching(NODE, "a node's name"), None),
        pool=section.take("pool", lambda one: one.matching(r"[A-Za-z0-9._/-]+", "a pool's name"), None),
        memory=section.take("memory", _memory, None),
        bandwidth=section.take("bandwidth", _bandwidth, None),
        restore_timeout=section.take("restore-timeout", Value.duration, 4 * 3600),
        window=section.take("window", lambda one: one.checked(windows.parse), None),
        settle=section.take("settle", _settle, DEFAULT_SETTLE),
    )


def _settle(value: Value) -> int:
    """How long a copy lives on after its checks, in seconds. 0 is allowed, and the verdict says so."""
    allowed = "0s, or a duration up to 1h, such as 30s"
    if value.text(allowed) in ("0", "0s"):
        return 0
    if (seconds := value.duration()) > MOST_SETTLE:
        raise value.wrong(f"{value.text()} is too long: the copy holds its node's turn all the while", allowed)
    return seconds


def _vmid_range(value: Value) -> tuple[int, int]:
    allowed = f"FIRST-LAST within {LEAST_VMID}-{MOST_VMID}, such as 9000-9099"
    first, last = map(int, value.matching(r"[0-9]{1,9} *- *[0-9]{1,9}", allowed).split("-"))
    if not LEAST_VMID <= first <= last <= MOST_VMID:
        raise value.wrong(f"{first}-{last} is not a range of VMIDs", allowed)
    return first, last


def _storage(value: Value) -> str:
    return value.matching(NAME, "a storage's name, such as local")


def _memory(value: Value) -> int:
    return value.integer(16, 4_194_304, "(MiB)")


def _bandwidth(value: Value) -> int:
    return value.integer(1, 100_000_000, "(KiB/s)")


# --- jobs ---------------------------------------------------------------------------------------------------------------


def _jobs(value: Value, timezone: str, scratch: Scratch) -> tuple[Job, ...]:
    entries = value.entries("a mapping of job names to jobs").items()
    return tuple(_job(name, key, one, timezone, scratch) for name, (key, one) in entries)


def _job(name: str, key: Value, value: Value, timezone: str, scratch: Scratch) -> Job:
    key.matching(r"[A-Za-z][A-Za-z0-9_-]{0,49}", "a job's name: a letter, then letters, digits, - and _")
    section = value.section(
        "schedule", "storage", "guests", "exclude", "mode", "compress", "keep", "window", "bandwidth", "timeout", "thaw"
    )  # fmt: skip
    guests = section.take("guests", lambda one: _job_guests(one, scratch), None)
    exclude = section.take("exclude", lambda one: _vmids(one, scratch), ())
    if guests is not None and (excluded := section.get("exclude")):
        raise excluded.wrong("guests are excluded from a list of guests", "exclude only beside `guests: all`")
    return Job(
        name,
        schedule=section.take(
            "schedule", lambda one: one.checked(lambda text: calendar_event.parse(text, timezone).spec), "21:00"
        ),
        storage=section.take("storage", _storage, "local"),
        guests=guests,
        exclude=exclude,
        mode=section.take("mode", lambda one: one.choice(MODES), "snapshot"),
        compress=section.take("compress", _compress, "zstd"),
        keep=section.take("keep", _keep, "keep-all=1"),
        window=section.take("window", Value.duration, 4 * 3600),
        bandwidth=section.take("bandwidth", _bandwidth, None),
        timeout=section.take("timeout", Value.duration, 12 * 3600),
        thaw=section.take("thaw", Value.boolean, False),
    )


def _job_guests(value: Value, scratch: Scratch) -> tuple[int, ...] | None:
    if not value.is_list and value.text("all, or a list of VMIDs") == "all":
        return None
    vmids = _vmids(value, scratch)
    if not vmids:
        raise value.wrong("the list is empty", "all, or a list of VMIDs such as [100, 101]")
    return vmids


def _vmids(value: Value, scratch: Scratch) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for item in value.items("a list of VMIDs, such as [100, 101]"):
        vmid = item.integer(LEAST_VMID, MOST_VMID)
        _refuse_scratch(item, vmid, scratch)
        if vmid in found:
            raise item.wrong(f"{vmid} is written twice", "each VMID once")
        found[vmid] = None
    return tuple(found)


def _refuse_scratch(value: Value, vmid: int, scratch: Scratch) -> None:
    """Given a guest's VMID, raise PolicyError if restored copies would be made, and destroyed, under it (law 1)."""
    if vmid in scratch:
        allowed = f"a guest outside {scratch.first}-{scratch.last}, or another range in scratch.vmids"
        raise value.wrong(f"{vmid} lies in the scratch range, whose guests are destroyed after their test", allowed)


def _keep(value: Value) -> str:
    allowed = (
        "keep-all=1, or keep-last, -hourly, -daily, -weekly, -monthly, -yearly with counts, such as keep-last=3,keep-daily=7"
    )
    return str(value.checked(prune_backups.parse_keep, allowed))


def _compress(value: Value) -> str:
    if value.text(", ".join(COMPRESSIONS)) in ("0", "1", "none"):
        why = "an uncompressed archive carries no checksum of its data, so one flipped bit would restore without an error"
        raise value.wrong(why if value.text() != "1" else "PVE's 1 means lzo", ", ".join(COMPRESSIONS))
    return value.choice(COMPRESSIONS)


# --- tiers and guests ---------------------------------------------------------------------------------------------------


def _tiers(value: Value) -> dict[str, Tier]:
    entries = value.entries("a mapping of tier names to objectives").items()
    return {name: _tier(name, one) for name, (_, one) in entries}


def _tier(name: str, value: Value) -> Tier:
    section = value.section("rpo", "rto", "proof-age", "copies", "depth", "proof-rung")
    return Tier(
        name,
        rpo=section.take("rpo", Value.duration, DEFAULT_TIER.rpo),
        rto=section.take("rto", Value.duration, DEFAULT_TIER.rto),
        proof_age=section.take("proof-age", Value.duration, DEFAULT_TIER.proof_age),
        copies=section.take("copies", lambda one: one.integer(1, 10), DEFAULT_TIER.copies),
        depth=section.take("depth", _days, DEFAULT_TIER.depth),
        proof_rung=section.take("proof-rung", lambda one: Rung(one.choice(PROOF_RUNGS)), DEFAULT_TIER.proof_rung),
    )


def _days(value: Value) -> int:
    seconds = value.duration()
    if seconds % 86400:
        raise value.wrong(f"{value.text()} is not a number of days", "whole days, such as 30d")
    return seconds // 86400


def _default_tier(top: Section, tiers: dict[str, Tier]) -> str:
    """Given the tiers, return the one of guests that name none: as written, else the only one, else ``standard``."""
    if written := top.get("default-tier"):
        return written.choice(tuple(tiers))
    if len(tiers) == 1:
        return next(iter(tiers))
    if DEFAULT_TIER.name not in tiers:
        top.need("default-tier", f"one of {', '.join(tiers)}")
    return DEFAULT_TIER.name


def _guests(value: Value, read_guest: Callable[[int, Value], GuestPolicy], scratch: Scratch) -> dict[int, GuestPolicy]:
    found: dict[int, GuestPolicy] = {}
    for name, (key, one) in value.entries("a mapping of VMIDs to guests").items():
        vmid = Value(key.node, "guests", key.source).integer(LEAST_VMID, MOST_VMID)
        _refuse_scratch(key, vmid, scratch)
        if vmid in found:
            raise key.wrong(f"the guest {name} is written twice", "each VMID once")
        found[vmid] = read_guest(vmid, one)
        _refuse_shared_address(one, found[vmid], found)
    return found


def _guest_reader(tiers: dict[str, Tier], default_tier: str, scratch: Scratch) -> Callable[[int, Value], GuestPolicy]:
    def read_guest(vmid: int, value: Value) -> GuestPolicy:
        if value.is_null:
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
            network=network or ("isolated" if scratch.bridge and needs_network(checks) else "link-down"),
            address=address,
            checks=checks,
            boot_timeout=section.take("boot-timeout", Value.duration, 600),
            check_timeout=section.take("check-timeout", Value.duration, 300),
            memory=section.take("memory", _memory, None),
            settle=section.take("settle", _settle, None),
            thaw=section.take("thaw", Value.boolean, None),
        )

    return read_guest


def _refuse_unreachable(
    section: Section, checks: tuple[CheckSpec, ...], network: str | None, address: str | None, scratch: Scratch
) -> None:
    """Raise PolicyError where the written network contradicts the scratch bridge or the checks."""
    written = section.get("network")
    if written and network == "isolated" and scratch.bridge is None:
        raise written.wrong("there is no isolated bridge", "link-down, or name the isolated bridge in scratch.bridge")
    if not needs_network(checks):
        return
    first = next(check.name for check in checks if needs_network([check]))
    if written and network == "link-down":
        raise written.wrong(f"the check {first!r} needs the network", "isolated, or checks that need no network (agent)")
    if scratch.bridge and address is None:
        section.need("address", f"the guest's own IP address, because the check {first!r} speaks to it")


def _address(value: Value) -> str:
    text, allowed = value.text("an IP address"), "an IP address without a prefix, such as 192.168.10.8"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise value.wrong(f"{text!r} is not an IP address", allowed) from None
    kinds = {"loopback": address.is_loopback, "multicast": address.is_multicast, "unspecified": address.is_unspecified}
    for kind in (name for name, holds in kinds.items() if holds):
        raise value.wrong(f"{text} is {'an' if kind[0] == 'u' else 'a'} {kind} address: another machine would answer", allowed)
    return str(address)


def _refuse_shared_address(value: Value, guest: GuestPolicy, found: dict[int, GuestPolicy]) -> None:
    """Raise PolicyError if another guest has this one's address: copies lose their VLAN tags, so all share one network."""
    other = next((one for one in found.values() if guest.address and one is not guest and one.address == guest.address), None)
    if other:
        _, written = value.entries("a guest")["address"]
        raise written.wrong(f"{guest.address} is the address of guest {other.vmid} too", "an address of its own for each guest")


# --- prune and exemptions -----------------------------------------------------------------------------------------------


def _prune(value: Value) -> PruneRules:
    return PruneRules(value.section("max-share").take("max-share", _share, PruneRules().max_share))


def _share(value: Value) -> float:
    allowed = "a share such as 50%, up to 100%"
    text = value.matching(r"[0-9]{1,3}(\.[0-9]+)?%?", allowed)
    share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 < share <= 1:
        raise value.wrong(f"{text} is out of range", allowed)
    return share


def _exemptions(value: Value) -> tuple[Exemption, ...]:
    return tuple(_exemption(item) for item in value.items("a list of accepted findings"))


def _exemption(value: Value) -> Exemption:
    section = value.section("finding", "vmid", "owner", "reason", "until")
    return Exemption(
        finding=section.need("finding", "a finding's id").choice(FINDINGS),
        vmid=section.take("vmid", lambda one: one.integer(LEAST_VMID, MOST_VMID), None),
        owner=section.need("owner", "who answers for it").text(),
        reason=section.need("reason", "why it is accepted").text(),
        until=_date(section.need("until", "its last day, such as 2026-12-31")),
    )


def _date(value: Value) -> str:
    allowed = "a day, such as 2026-12-31"
    text = value.matching(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", allowed)
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise value.wrong(f"{text} is not a day of the calendar", allowed) from None
