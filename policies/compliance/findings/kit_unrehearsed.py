"""Nobody has shown lately that the encrypted copies at a target can be decrypted with the keys that
people keep.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.copy_folders import folder_of
from policies.i18n.sentences import Moment
from policies.kits import is_current, last_rehearsal
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each target with encrypted copies whose kit was never
    rehearsed, or not for a quarter.
    """
    for target in policy.copies:
        last = last_rehearsal(target, facts.rehearsals)
        if target.recipients and not is_current(last, now):
            values: dict[str, object] = {"target": target.name, "folder": folder_of(target)}
            if last is None:
                yield Seen(target.name, values, form="never")
            else:
                yield Seen(target.name, values | {"when": Moment(last.at)})


RULE = Rule("kit-unrehearsed", Severity.WARNING, find)
