"""A copy of a restore test that is not open any more was left in the scratch range.

One that runs answers at a production address, so a test could take its word for that of its own
copy.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each copy that was left over."""
    for orphan in facts.orphans:
        copy = orphan.copy
        # one of ours is removed by workers, without a person
        form = "ours" if orphan.ours else "" if copy.running else "stopped"
        yield Seen(
            f"{copy.vmid} {copy.name}".strip(),
            {"node": copy.node, "operation": copy.operation},
            form,
            copy.vmid,
        )


RULE = Rule(
    "orphan-copy",
    Severity.CRITICAL,
    find,
    forms={"stopped": Severity.WARNING, "ours": Severity.WARNING},
)
