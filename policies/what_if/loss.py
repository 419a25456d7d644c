"""What is taken to be lost, and what would be left of the cluster's votes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies import i18n
from policies.compliance.facts import SiteFacts
from policies.i18n import names
from policies.model import Archive, Node, Storage
from policies.reach import down


@dataclass(frozen=True, slots=True)
class Loss:
    """What is lost: these nodes with all that lies on their own storages, these storages wherever
    they are but on the ``sound`` nodes, or all of the ``site``.
    """

    nodes: frozenset[str] = frozenset()
    storages: frozenset[str] = frozenset()
    site: bool = False
    sound: frozenset[str] = frozenset()

    def node(self, name: str) -> bool:
        """Whether that node is lost."""
        return self.site or name in self.nodes

    def storage(self, name: str, node: str, *, shared: bool) -> bool:
        """Whether what lies on that storage, as that node sees it, is lost."""
        lost = name in self.storages and node not in self.sound
        return self.site or lost or (not shared and node in self.nodes)

    def archive(self, archive: Archive) -> bool:
        """Whether that archive is lost."""
        return self.storage(archive.storage, archive.node, shared=archive.shared)


@dataclass(frozen=True, slots=True)
class QuorumAfter:
    """The cluster's votes afterwards: ``left`` of ``votes``, where ``needed`` make a quorum.

    ``quorate`` None: it depends on what cannot be told, which ``said`` says; None for the numbers
    too where the cluster does not tell them.
    """

    votes: int | None
    left: int | None
    needed: int | None
    quorate: bool | None
    said: str


def survivors(facts: SiteFacts, loss: Loss) -> tuple[Node, ...]:
    """Given the site and what is lost, return the nodes that are left and answer now."""
    # one that is silent may be well, and is of no use tonight
    silent = down(facts.nodes, facts.silent)
    return tuple(one for one in facts.nodes if not loss.node(one.name) and one.name not in silent)


def storages_left(facts: SiteFacts, loss: Loss) -> tuple[Storage, ...]:
    """Given the site and what is lost, return the storages that the nodes left can use."""
    alive = {node.name for node in survivors(facts, loss)}
    return tuple(
        one
        for one in facts.storages
        if one.node in alive
        and one.active
        and one.enabled
        and not loss.storage(one.name, one.node, shared=one.shared)
    )


def quorum_after(facts: SiteFacts, loss: Loss) -> QuorumAfter:
    """Given the site and what is lost, return what becomes of its quorum: without one, PVE refuses
    every restore. Each node is taken to have one vote.
    """
    alive = survivors(facts, loss)
    if not alive:
        return QuorumAfter(None, None, None, False, "no node is left that answers")
    if facts.quorum is None:
        return QuorumAfter(None, None, None, None, "the cluster does not tell its votes")
    if not facts.quorum.clustered:
        return QuorumAfter(1, 1, 1, True, "a node that stands alone needs no quorum")
    votes, left = facts.quorum.votes, len(alive)
    # a QDevice gives its one vote to the nodes that are left
    with_device = (votes + 1, left + 1, (votes + 1) // 2 + 1)
    counts = with_device if facts.quorum.qdevice else (votes, left, votes // 2 + 1)
    if counts[1] >= counts[2]:
        return QuorumAfter(*counts, True, f"{counts[1]} of {counts[0]} votes are left")
    # only where the vote of a QDevice would decide it is the answer left open
    if facts.quorum.qdevice is None and with_device[1] >= with_device[2]:
        why = (
            f"{left} of {votes} votes are left, {counts[2]} are needed: only a QDevice would give "
            "the one that is missing, and PVE does not tell whether there is one"
        )
        return QuorumAfter(*counts, None, why)
    return QuorumAfter(
        *counts,
        False,
        f"{counts[1]} of {counts[0]} votes are left, {counts[2]} are needed: "
        f"{names(sorted(node.name for node in alive))} refuses every restore until it is given "
        "quorum by hand",
    )


def gaps_that_hide(facts: SiteFacts) -> Iterator[str]:
    """Given the site, yield what could not be read of it and may hide a source or a guest."""
    for gap in facts.gaps:
        # other gaps, of clocks or bridges, hide neither archives nor guests
        if gap.kind in ("listing", "node", "storages"):
            yield f"{i18n.gap(gap.kind, gap.subject, i18n.ENGLISH)} ({gap.reason})"
