"""Nobody has shown lately that the catalog could be had again from what lies at a copy target, or it
was tried and could not.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.copy_folders import folder_of
from policies.i18n.sentences import Moment, Word
from policies.model import Policy, Severity, TrialState
from policies.snapshot_trial import KINDS, LATE


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each snapshot or bundle at a target whose last trial
    was bad or is too long ago, and one for each target where not all was ever tried.
    """
    trials = {(one.folder, one.what): one for one in facts.snapshot_trials}
    for target in policy.copies:
        folder = folder_of(target)
        found = [trials.get((folder, what)) for what in KINDS]
        if None in found:
            yield Seen(target.name, {"target": target.name, "folder": folder}, form="never")
        for trial in filter(None, found):
            values = {
                "target": target.name,
                "folder": folder,
                "what": Word(f"snapshot-{trial.what}"),
                "file": trial.file,
                "when": Moment(trial.at),
            }
            if not trial.good:
                form = "" if trial.state is TrialState.DIFFERS else trial.state.value
                yield Seen(target.name, values, form=form)
            elif not 0 <= now - trial.at < LATE:
                yield Seen(target.name, values, form="overdue")


RULE = Rule(
    "catalog-snapshot-unproven",
    Severity.CRITICAL,
    find,
    forms=dict.fromkeys(("old", "unknown", "overdue", "never"), Severity.WARNING),
)
