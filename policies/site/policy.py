"""Read a site's policy from YAML. What is wrong is said with file, line and what is allowed.

Every key but ``site`` has a default, so that a short policy stays short (docs/policy.md lists them
all).
"""

from __future__ import annotations

import hashlib
from types import MappingProxyType

from policies import age_keys, windows
from policies.i18n import LANGUAGES
from policies.model import (
    HaRules,
    IntegrityRules,
    Policy,
    PolicyError,
    PruneRules,
    Scratch,
    TombstoneRules,
)
from policies.pve import calendar_event
from policies.site import values
from policies.site.copies import read_copies
from policies.site.exemptions import read_exemptions
from policies.site.guests import (
    DEFAULT_TIER,
    guest_reader,
    read_default_tier,
    read_guests,
    read_tiers,
)
from policies.site.jobs import read_jobs
from policies.site.scratch import DEFAULT_SCRATCH, read_scratch
from policies.yaml_reader import Value, read

SECTIONS = (
    "site", "timezone", "language", "scratch", "jobs", "tiers", "default-tier", "guests", "prune", "exemptions",
    "copies", "max-clock-drift", "integrity", "tombstone", "ha",
)  # fmt: skip
_SECRET = (
    "a secret key of age stands here: whoever reads this policy can read every copy. Remove it "
    "from this file and from where the file was kept, make a new key on a machine that is not this "
    "one (`age-keygen`), and name its public key (age1...) among `recipients`; allowed: public keys "
    "only"
)


def load_policy(text: str, source: str) -> Policy:
    """Given a policy's text and its file's name, return the Policy. Raise PolicyError with file,
    line and what is allowed.
    """
    # before anything else is said of the text, and without repeating it (law 7)
    for number, line in enumerate(text.splitlines(), 1):
        if age_keys.holds_secret(line):
            raise PolicyError(_SECRET, source, number)
    root = read(text, source)
    top = root.section(*SECTIONS)
    timezone = top.take("timezone", lambda value: value.checked(calendar_event.zone).key, "UTC")
    # time zone, tiers and scratch range come first: the other sections are read by them
    tiers = top.take("tiers", read_tiers, {DEFAULT_TIER.name: DEFAULT_TIER})
    default_tier = read_default_tier(top, tiers)
    scratch = top.take("scratch", read_scratch, Scratch(*DEFAULT_SCRATCH))
    guest = guest_reader(tiers, default_tier, scratch)
    return Policy(
        site=top.need("site", "the site's name").text(),
        timezone=timezone,
        language=top.take("language", lambda value: value.choice(LANGUAGES), "en"),
        jobs=top.take("jobs", lambda value: read_jobs(value, timezone, scratch), ()),
        tiers=MappingProxyType(tiers),
        guests=MappingProxyType(
            top.take("guests", lambda value: read_guests(value, guest, scratch), {})
        ),
        scratch=scratch,
        default_tier=default_tier,
        prune=top.take(
            "prune",
            lambda value: PruneRules(
                value.section("max-share").take("max-share", _share, PruneRules().max_share)
            ),
            PruneRules(),
        ),
        exemptions=top.take("exemptions", read_exemptions, ()),
        copies=top.take("copies", read_copies, ()),
        max_clock_drift=top.take("max-clock-drift", Value.duration, 30),
        integrity=top.take("integrity", _integrity, IntegrityRules()),
        tombstone=top.take("tombstone", _tombstone, TombstoneRules()),
        ha=top.take("ha", _ha, HaRules()),
        source=source,
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def _integrity(value: Value) -> IntegrityRules | None:
    section, usual = value.section("every", "budget"), IntegrityRules()
    every, written = usual.every, section.get("every")
    if written:
        never = written.text("never, or a duration such as 30d") == "never"
        every = 0 if never else written.duration()
    budget = section.take("budget", values.octets, usual.budget)
    return IntegrityRules(every, budget) if every else None


def _tombstone(value: Value) -> TombstoneRules:
    section, usual = value.section("keep-proven", "for"), TombstoneRules()
    return TombstoneRules(
        section.take("keep-proven", lambda found: found.integer(1, 1000), usual.keep_proven),
        section.take("for", Value.duration, usual.span),
    )


def _ha(value: Value) -> HaRules:
    drill = value.section("drill").get("drill")
    window = drill.section("window").get("window") if drill else None
    return HaRules(window.checked(windows.parse) if window else None)


def _share(value: Value) -> float:
    allowed = "a share such as 50%, up to 100%"
    text = value.matching(r"[0-9]{1,3}(\.[0-9]+)?%?", allowed)
    share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 < share <= 1:
        raise value.wrong(f"{text} is out of range", allowed)
    return share
