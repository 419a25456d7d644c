"""Where HA may put a resource: groups of PVE 8, rules of PVE 9 (pve-facts 9.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies.ha.answers import Doubt
from policies.ha.facts import HaFacts, Resource, Rule
from policies.i18n import names


@dataclass(frozen=True, slots=True)
class Preference:
    """The nodes that a resource is tied to, by priority; ``strict``: to those alone. ``name`` says
    what ties it.
    """

    name: str
    nodes: dict[str, int]
    strict: bool


def preference(facts: HaFacts, resource: Resource) -> Preference | None:
    """Given a resource, return what ties it to nodes, None if nothing does."""
    for rule in facts.rules or ():
        if rule.followed and rule.nodes and resource.sid in rule.resources:
            return Preference(f"rule {rule.name}", dict(rule.nodes), rule.strict)
    for group in facts.groups or ():
        if resource.group and group.name == resource.group:
            return Preference(f"group {group.name}", dict(group.nodes), group.restricted)
    return None


def companions(facts: HaFacts, sid: str) -> frozenset[str]:
    """Given a resource's id, return those that must be on its node, whichever it is: what is tied to
    one of them is tied to all.
    """
    found, fresh = {sid}, [sid]
    while fresh:
        one = fresh.pop()
        for other in _partners(facts, one, together=True) - found:
            found.add(other)
            fresh.append(other)
    return frozenset(found - {sid})


def strangers(facts: HaFacts, sid: str) -> frozenset[str]:
    """Given a resource's id, return those that must not be on its node; what is kept from one of its
    companions is kept from it.
    """
    group = {sid} | companions(facts, sid)
    return frozenset(
        other for one in group for other in _partners(facts, one, together=False)
    ) - frozenset(group)


def doubts(facts: HaFacts, resource: Resource, node: str) -> Iterator[Doubt]:
    """Given a resource and a node, yield what rules and groups say against its being there."""
    if facts.rules is None:
        yield Doubt("HA's rules could not be read", surely=False)
    if resource.group and facts.groups is None:
        yield Doubt(f"its group {resource.group} could not be read", surely=False)
    tied = preference(facts, resource)
    # without strict a node that is not named is only the last choice (pve-facts 9.6)
    if tied and tied.strict and node not in tied.nodes:
        yield Doubt(f"{tied.name} keeps it on {names(sorted(tied.nodes))}")
    for other in sorted(strangers(facts, resource.sid)):
        home = facts.home_of(other)
        if home == node:
            yield Doubt(f"a rule keeps it apart from {other}, which is there")
        elif home is None:
            yield Doubt(
                f"a rule keeps it apart from {other}, of which nobody says where it is",
                surely=False,
            )


def first_choice(facts: HaFacts, resource: Resource, nodes: list[str]) -> list[str]:
    """Given nodes that HA could take, return those among which it takes one: of the highest
    priority, whatever disks are there.
    """
    tied = preference(facts, resource)
    if tied is None or not nodes:
        return nodes
    # a node that is not named has priority -1 (pve-facts 9.6)
    best = max(tied.nodes.get(node, -1) for node in nodes)
    return [node for node in nodes if tied.nodes.get(node, -1) == best]


def _partners(facts: HaFacts, sid: str, *, together: bool) -> set[str]:
    bound: Iterator[Rule] = (
        rule
        for rule in facts.rules or ()
        if rule.followed and rule.together is together and sid in rule.resources
    )
    return {other for rule in bound for other in rule.resources if other != sid}
