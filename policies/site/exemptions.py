"""The section ``exemptions``: findings that somebody accepts, for a reason and until a day."""

from __future__ import annotations

import datetime

from policies.compliance.findings import RULES
from policies.model import Exemption
from policies.site import values
from policies.yaml_reader import Value

# A node that does not answer is no state that anybody accepts until a day.
FINDINGS = tuple(rule.id for rule in RULES if rule.exemptable)
_A_DAY = "a day, such as 2026-12-31"


def read_exemptions(value: Value) -> tuple[Exemption, ...]:
    """Given the section, return its exemptions. Raise PolicyError where one lacks an owner, a
    reason or a last day.
    """
    found = []
    for item in value.items("a list of accepted findings"):
        section = item.section("finding", "vmid", "owner", "reason", "until")
        exemption = Exemption(
            finding=section.need("finding", "a finding's id").choice(FINDINGS),
            vmid=section.take(
                "vmid", lambda one: one.integer(values.MIN_VMID, values.MAX_VMID), None
            ),
            owner=section.need("owner", "who answers for it").text(),
            reason=section.need("reason", "why it is accepted").text(),
            until=section.need("until", "its last day, such as 2026-12-31").matching(
                r"[0-9]{4}-[0-9]{2}-[0-9]{2}", _A_DAY
            ),
        )
        try:
            # the pattern lets the 30th of February pass
            datetime.date.fromisoformat(exemption.until)
        except ValueError:
            raise section.entries["until"].wrong(
                f"{exemption.until} is not a day of the calendar", _A_DAY
            ) from None
        found.append(exemption)
    return tuple(found)
