"""Asks the site what the gate must know: the facts of a report, and what works there before and
after they were read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupsvc import garbage
from backupsvc.errors import UsageError
from backupsvc.operations.kinds import KINDS
from backupsvc.report.facts import collect
from policies import gate
from policies.i18n import names
from policies.model import OperationState

if TYPE_CHECKING:
    from backupsvc.operations.services import Cluster


def ask(service: Cluster, asked: gate.Asked) -> gate.Gate:
    """Given what is asked, return whether the gate is open now. Raise UsageError for a node that
    the cluster does not have, Unreachable or Refused if the cluster says nothing at all.
    """
    known = [node.name for node in service.pve.cluster.nodes()]
    # a node that is mistyped would pass for one on which nothing is at work
    if strange := sorted(set(asked.nodes) - set(known)):
        raise UsageError(
            f"the cluster has no node {names(strange)}", f"its nodes are {names(sorted(known))}"
        )
    operations, began = service.catalog.operations, int(service.clock.now())
    # before the facts are read, and once more after them
    working = {one.id: one for one in operations.find(state=OperationState.OPEN)}
    dumps = service.pve.tasks.dumps_of_others()
    with garbage.kept_out():
        facts = collect(service.pve, service.catalog, service.policy, service.clock)
    # whatever began meanwhile may have changed what was just read
    for one in (*operations.find(state=OperationState.OPEN), *operations.find(since=began)):
        working[one.id] = one
    dumps += service.pve.tasks.dumps_of_others()
    at_work = []
    for one in working.values():
        # of a kind that this version does not know, only its row says what it works on
        kind = KINDS.get(one.kind)
        node = kind.known(one).node if kind else None
        at_work.append(gate.AtWork(f"{one.kind} {one.id} is at work", one.subject, node or None))
    # the same dump may have been there both times
    at_work += (
        gate.AtWork(f"PVE dumps it in task {dump.upid}", dump.vmid, dump.node)
        for dump in dict.fromkeys(dumps)
    )
    return gate.decide(facts, service.policy, at_work, asked, int(service.clock.now()))
