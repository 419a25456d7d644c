"""A node that does not answer, and one whose pvestatd does not report: the first findings, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from policies import i18n, reach
from policies.compliance.facts import GuestFacts, SiteFacts, usable
from policies.jobs import job_for
from policies.model import Finding, Policy

if TYPE_CHECKING:
    from policies.compliance.evaluation import Speaker

_OF_A_GUEST = frozenset({"guest-not-covered", "backup-missed", "never-proven", "guest-left-frozen"})
_QUORUM = "quorum-two-votes"


def node_offline(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    """A node that cannot be asked: how that is known, quorum, what is therefore unknown, what is within reach, and the way on."""
    gone = reach.down(facts.nodes, facts.silent)
    for node, how in gone.items():
        guests = [item for item in facts.guests if item.guest and item.guest.node == node]
        values = {
            "how": _said(speaker, how, node=node, why=facts.silent.get(node, "")),
            "quorum": _quorum(facts, speaker),
            "guests": _guests(guests, facts, speaker),
            "archives": _archives(facts, node, speaker),
            "reach": _within_reach(guests, [item.name for item in facts.nodes if item.name not in gone], speaker),
            "steps": _steps(facts, node, gone, guests, speaker),
        }
        yield speaker.says("node-offline", node, values)


def status_unknown(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    """PVE knows nothing new of a node that answers by itself: its pvestatd is dead, mostly on a storage that hangs."""
    for node in facts.nodes:
        if node.unknown and node.online and node.name not in facts.silent:
            yield speaker.says("status-unknown", node.name, {"node": node.name})


def fold(found: Iterable[Finding], facts: SiteFacts, policy: Policy) -> list[Finding]:
    """Given findings, return them with those that follow from a silent node put under it, without advice of their own."""
    gone = reach.down(facts.nodes, facts.silent)
    home = {item.vmid: item.guest.node for item in facts.guests if item.guest and item.guest.node in gone}
    provable = {item.vmid for item in facts.guests if usable(item.archives)}
    folded = []
    for item in found:
        under = ""
        if item.id == _QUORUM and gone and facts.quorum and facts.quorum.quorate is False:
            under = next(iter(gone))
        elif item.id in _OF_A_GUEST and item.vmid in home and _follows(item, item.vmid, policy, provable):
            under = home[item.vmid]
        folded.append(replace(item, under=under, action="") if under else item)
    return folded


def _follows(item: Finding, vmid: int, policy: Policy, provable: set[int]) -> bool:
    """Whether nothing can be done about it before the node is back: a guest without a job, or one that can be tested, is none."""
    if item.id == "guest-not-covered":
        return job_for(policy, vmid) is not None
    return item.id != "never-proven" or vmid not in provable


def _quorum(facts: SiteFacts, speaker: Speaker) -> str:
    gone = reach.down(facts.nodes, facts.silent)
    quorate = facts.quorum.quorate if facts.quorum else None
    key = "quorum.unknown" if quorate is None else "quorum.kept" if quorate else "quorum.lost"
    return _said(speaker, key, online=len(facts.nodes) - len(gone), votes=len(facts.nodes))


def _guests(guests: list[GuestFacts], facts: SiteFacts, speaker: Speaker) -> str:
    if not guests:
        return _said(speaker, "no-guests")
    said = _said(speaker, "guests", count=len(guests), guests=reach.named(_names(guests), speaker.language))
    managed = [item for item in guests if item.ha_managed]
    if managed:
        acts = facts.quorum is not None and facts.quorum.quorate is not False
        key = "ha" if acts else "ha-stands-still"
        said += " " + _said(speaker, key, guests=reach.named(_names(managed), speaker.language))
    return said


def _names(guests: Iterable[GuestFacts]) -> list[str]:
    return [f"{item.vmid} {item.name}".strip() for item in guests]


def _archives(facts: SiteFacts, node: str, speaker: Speaker) -> str:
    there = [one for item in facts.guests for one in item.unreachable if one.node == node and not one.shared]
    if not there:
        return _said(speaker, "no-archives", node=node)
    return _said(speaker, "archives", count=len(there), storages=i18n.names(sorted({one.storage for one in there})), node=node)


def _within_reach(guests: list[GuestFacts], alive: list[str], speaker: Speaker) -> str:
    nodes = i18n.names(alive) or i18n.word("none", speaker.language)
    held = [item for item in guests if usable(item.archives)]
    key = "reach" if not guests else "reach.none" if not held else "reach.all" if held == guests else "reach.some"
    return _said(speaker, key, nodes=nodes, guests=reach.named(_names(held), speaker.language))


def _steps(facts: SiteFacts, node: str, gone: dict[str, str], guests: list[GuestFacts], speaker: Speaker) -> str:
    quorate = facts.quorum.quorate if facts.quorum else None
    mine = [item for item in guests if not item.ha_managed or quorate is False]
    rest = reach.Rest(
        alive=[item.name for item in facts.nodes if item.name not in gone],
        quorate=quorate,
        restorable=[(item.vmid, held[-1]) for item in mine if (held := usable(item.archives))],
        lost=any(not usable(item.archives) and item.unreachable for item in guests),
        managed=[f"{'vm' if item.agent_matters else 'ct'}:{item.vmid}" for item in mine if item.ha_managed],
    )
    steps = reach.way_on(node, rest, speaker.language, speaker.when)
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def _said(speaker: Speaker, key: str, **values: object) -> str:
    return i18n.reason(f"down.{key}", speaker.language, **values)
