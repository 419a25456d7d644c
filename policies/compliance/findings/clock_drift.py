"""A clock is wrong: a node's, or this service's own."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen
from policies.i18n.sentences import Duration, Word
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each node whose clock is off, or one for the
    service's.

    When the nodes agree with one another but not with us, the wrong clock is likely ours.
    """
    offsets, limit = facts.clocks.offsets, policy.max_clock_drift
    wrong = {node: offset for node, offset in sorted(offsets.items()) if abs(offset) > limit}
    agree = len(offsets) > 1 and max(offsets.values()) - min(offsets.values()) <= limit
    if wrong and agree:
        yield Seen(Word("this-service"), _drift(max(wrong.values(), key=abs)), "own")
        return
    for node, offset in wrong.items():
        yield Seen(node, {"node": node, **_drift(offset)})
    # The HA manager says the same in its own words, so it is told of only where nothing was
    # measured.
    if not wrong:
        for text in facts.clocks.drift_texts:
            yield Seen(facts.cluster, {"text": text}, "ha")


def _drift(offset: int) -> dict[str, object]:
    return {"offset": Duration(abs(offset)), "direction": Word("ahead" if offset > 0 else "behind")}


RULE = Rule("clock-drift", Severity.WARNING, find)
