"""An exemption's last day has passed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from zoneinfo import ZoneInfo

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.i18n.sentences import Day
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given policy and time, yield a case for each exemption that is over by the site's
    calendar.
    """
    today = datetime.fromtimestamp(now, ZoneInfo(policy.timezone)).date()
    for item in policy.exemptions:
        if today > date.fromisoformat(item.until):
            subject = f"{item.finding} {item.vmid or ''}".strip()
            values = {
                "finding": item.finding,
                "until": Day(item.until),
                "owner": item.owner,
                "reason": item.reason,
            }
            yield Seen(subject, values, vmid=item.vmid)


RULE = Rule("exception-expired", Severity.CRITICAL, find)
