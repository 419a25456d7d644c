"""What lies at a target that is declared immutable could be overwritten or deleted by this service:
so it can be by whoever takes it over.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.copy_folders import folder_of
from policies.i18n.sentences import Moment
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each immutable target that did not hold when it was
    tried last.
    """
    tried = {canary.folder: canary for canary in facts.canaries}
    for target in policy.copies:
        canary = tried.get(folder_of(target))
        if target.immutable and canary and not canary.held:
            both = canary.overwritten and canary.deleted
            form = "" if both else "overwritten" if canary.overwritten else "deleted"
            values = {"target": target.name, "folder": canary.folder, "when": Moment(canary.at)}
            yield Seen(target.name, values, form=form)


RULE = Rule("copy-deletable", Severity.CRITICAL, find)
