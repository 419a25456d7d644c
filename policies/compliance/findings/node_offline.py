"""A node that cannot be asked: how that is known, quorum, what is therefore unknown, what is within
reach, and the way on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from policies import reach
from policies.compliance.facts import GuestFacts, SiteFacts
from policies.compliance.recovery import Remains, recovery_steps
from policies.compliance.rule import Rule, Seen
from policies.i18n.sentences import Joined, Listed, Sentence, Steps, Word
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given the facts, yield a case for each node that is down."""
    gone = reach.down(facts.nodes, facts.silent)
    alive = [item.name for item in facts.nodes if item.name not in gone]
    quorate = facts.quorum.quorate if facts.quorum else None
    quorum = "unknown" if quorate is None else "kept" if quorate else "lost"
    votes = {"online": len(facts.nodes) - len(gone), "votes": len(facts.nodes)}
    for node, how in gone.items():
        guests = [item for item in facts.guests if item.guest and item.guest.node == node]
        held = [item for item in guests if item.held]
        reach_of = (
            "" if not guests else ".none" if not held else ".all" if held == guests else ".some"
        )
        there = [
            one
            for item in facts.guests
            for one in item.unreachable
            if one.node == node and not one.shared
        ]
        storages = tuple(sorted({one.storage for one in there}))
        archives = (
            Sentence("down.archives", {"count": len(there), "storages": storages, "node": node})
            if there
            else Sentence("down.no-archives", {"node": node})
        )
        values = {
            "how": Sentence(f"down.{how}", {"node": node, "why": facts.silent.get(node, "")}),
            "quorum": Sentence(f"down.quorum.{quorum}", votes),
            "guests": _guests(guests, facts),
            "archives": archives,
            "reach": Sentence(
                f"down.reach{reach_of}",
                {"nodes": tuple(alive) or Word("none"), "guests": _names(held)},
            ),
            "steps": _steps(facts, node, alive, guests),
        }
        yield Seen(node, values)


def _guests(guests: list[GuestFacts], facts: SiteFacts) -> Sentence | Joined:
    if not guests:
        return Sentence("down.no-guests")
    told = Sentence("down.guests", {"count": len(guests), "guests": _names(guests)})
    managed = [item for item in guests if item.ha_managed]
    if not managed:
        return told
    # HA moves nothing without quorum (pve-facts 9.3)
    acts = facts.quorum is not None and facts.quorum.quorate is not False
    return Joined(
        (told, Sentence("down.ha" if acts else "down.ha-stands-still", {"guests": _names(managed)}))
    )


def _names(guests: Iterable[GuestFacts]) -> Listed:
    return Listed([f"{item.vmid} {item.name}".strip() for item in guests])


def _steps(facts: SiteFacts, node: str, alive: list[str], guests: list[GuestFacts]) -> Steps:
    quorate = facts.quorum.quorate if facts.quorum else None
    # HA moves its guests itself, which it cannot without quorum: then they are restored by hand
    # like the others.
    mine = [item for item in guests if not item.ha_managed or quorate is False]
    remains = Remains(
        alive=alive,
        quorate=quorate,
        restorable=[(item.vmid, held[-1]) for item in mine if (held := item.held)],
        lost=any(not item.held and item.unreachable for item in guests),
        managed=[
            f"{'vm' if item.agent_matters else 'ct'}:{item.vmid}"
            for item in mine
            if item.ha_managed
        ],
    )
    return Steps(recovery_steps(node, remains))


RULE = Rule("node-offline", Severity.CRITICAL, find, exemptable=False)
