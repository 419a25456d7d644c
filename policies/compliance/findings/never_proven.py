"""No restore test of the guest ever proved anything."""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts, newest_proof, once_proven
from policies.compliance.rule import Rule, Seen, about
from policies.compliance.selecting import backed_up
from policies.i18n.sentences import Moment, Word
from policies.model import Policy, Severity, Verdict
from policies.service_checks import wanted_rung


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts and policy, yield a case for each guest that nothing was ever proven of, with
    what came of its latest test.
    """
    for item in backed_up(facts, policy):
        if once_proven(facts, item, wanted_rung(policy, item.vmid)):
            continue
        # A guest with an archive within reach can be tested on another node than its own.
        waits, latest = not item.held, newest_proof(item)
        if latest is None:
            yield about(item, waits=waits)
        else:
            yield about(
                item,
                "tried",
                waits=waits,
                count=sum(proof.verdict is not Verdict.SKIPPED for proof in item.proofs),
                when=Moment(latest.ended),
                verdict=Word(latest.verdict),
                reason=latest.reasons[0] if latest.reasons else Word("no-reason"),
            )


RULE = Rule("never-proven", Severity.CRITICAL, find)
