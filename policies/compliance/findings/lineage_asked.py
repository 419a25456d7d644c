"""Two chains of archives under one VMID may be one machine, and only a person can say (law 10)."""

from __future__ import annotations

from collections.abc import Iterator

from policies import chains
from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen, about
from policies.i18n.sentences import Listed, Word
from policies.model import Policy, Severity

_WORDS = {
    chains.UUID: "lineage.uuid",
    chains.BORN: "lineage.born",
    chains.MACS: "lineage.macs",
}


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each question that is open."""
    for item in facts.guests:
        for one in chains.questions(item.archives + item.unreachable):
            yield about(
                item,
                older=one.older,
                newer=one.newer,
                volid=one.volid,
                stayed=Listed(
                    [Word(_WORDS[what]) for what in one.same] or [Word("lineage.nothing")]
                ),
                changed=Listed([Word(_WORDS[what]) for what in one.differs]),
            )


RULE = Rule("lineage-asked", Severity.WARNING, find)
