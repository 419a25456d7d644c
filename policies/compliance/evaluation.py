"""Evaluate a site: run every rule over its facts, put the findings into words, and say which of
them are accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from policies import i18n, reach
from policies.compliance.facts import SiteFacts
from policies.compliance.findings import RULES
from policies.compliance.rule import Rule, Seen
from policies.model import Exemption, Finding, Policy, Severity


def findings(
    facts: SiteFacts, policy: Policy, now: int, rules: Sequence[Rule] = RULES
) -> tuple[Finding, ...]:
    """Given facts, policy and the time, return what the rules find, in the policy's language,
    critical first.

    What follows from the silence of a node is put under that node, without an action of its own.
    """
    gone = reach.down(facts.nodes, facts.silent)
    home = {
        item.vmid: item.guest.node
        for item in facts.guests
        if item.guest and item.guest.node in gone
    }
    found = []
    for rule in rules:
        for seen in rule.find(facts, policy, now):
            finding = in_words(rule, seen, policy)
            # nobody can act on it before the node is back, so it bears no advice of its own
            under = (
                (home.get(seen.vmid, "") if seen.vmid is not None else next(iter(gone), ""))
                if seen.waits
                else ""
            )
            found.append(replace(finding, under=under, action="") if under else finding)
    # Sorting is stable, so that findings of one severity keep the order of the rules.
    return tuple(sorted(found, key=lambda finding: list(Severity).index(finding.severity)))


def in_words(rule: Rule, seen: Seen, policy: Policy) -> Finding:
    """Given one case of a finding, return the finding in the policy's language, with times in the
    site's time zone.
    """
    values = {"vmid": seen.vmid, **i18n.all_rendered(seen.values, policy.language, policy.timezone)}
    detail, action = i18n.finding(rule.key(seen.form), policy.language, **values)
    subject = str(i18n.rendered(seen.subject, policy.language, policy.timezone))
    return Finding(rule.id, rule.severity_of(seen.form), subject, detail, action, seen.vmid)


def exemption_for(finding: Finding, policy: Policy, now: int) -> Exemption | None:
    """Given a finding, return the exemption in force that accepts it, or None. An expired one
    accepts nothing.
    """
    today = local_day(now, policy.timezone)
    for exemption in policy.exemptions:
        same = exemption.finding == finding.id and exemption.vmid in (None, finding.vmid)
        if same and today <= date.fromisoformat(exemption.until):
            return exemption
    return None


def pressing(found: Iterable[Finding], policy: Policy, now: int) -> tuple[Finding, ...]:
    """Given findings, return those that make a site not compliant: more than information, and not
    exempted.
    """
    return tuple(
        item
        for item in found
        if item.severity is not Severity.INFO and not exemption_for(item, policy, now)
    )


def local_day(now: int, timezone: str) -> date:
    """Given epoch seconds and a time zone, return the local day."""
    return datetime.fromtimestamp(now, ZoneInfo(timezone)).date()
