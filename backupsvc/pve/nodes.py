"""Who is in the cluster and can be asked: PVE's ``unknown`` is not ``offline``, so a node of that
status is asked itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from backupsvc.clock import Clock
from backupsvc.errors import PveError, PvePermissionDenied, PveUnreachable
from backupsvc.pve.client import Client
from backupsvc.pve.fields import Row
from policies.model import Node

# "unknown" is neither: pvestatd says nothing of a node that may well answer
_SURE = frozenset({"online", "offline"})
ANSWER_AGE = 60.0  # seconds for which a node's own answer, or its silence, serves


class Nodes:
    """The nodes, by name. A node's status is ``offline`` if corosync says so, and ``unknown`` if
    only its pvestatd is silent: then its entries in the cluster's memory are older than five
    minutes, mostly because a storage hangs (pve-facts 9.1). Without quorum ``offline`` says only
    that the host which answers does not hear the node, so that node is asked itself too.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._listed: tuple[float, list[Node]] | None = None
        self._answers: dict[str, tuple[float, bool]] = {}

    def all(self, max_age: float = 0.0) -> list[Node]:
        """Return the nodes; memory is 0 (unknown) without Sys.Audit. An answer younger than
        ``max_age`` seconds serves again.
        """
        now = self._clock.monotonic()
        if self._listed is None or now - self._listed[0] >= max_age:
            rows = self._client.get("nodes").rows()
            standing: list[Row] = []
            if any(row.text("status") == "offline" for row in rows):
                with suppress(PveError, PvePermissionDenied):
                    standing = self._client.get("cluster/status").rows()
            # if the host that answers has lost quorum, whoever it calls offline may be well, among
            # the rest of the cluster
            cut_off = any(
                row.text("type") == "cluster" and not row.boolean("quorate") for row in standing
            )
            found: list[Node] = []
            for row in rows:
                name, status = row.need_text("node"), row.text("status")
                unknown, online = status not in _SURE, status == "online"
                if unknown or (cut_off and status == "offline"):
                    online = self.answers(name)
                figures = row.integer("maxmem"), row.integer("mem"), row.integer("maxcpu")
                found.append(Node(name, online, *figures, unknown))
            self.told({node.name: node.online for node in found if not node.unknown})
            self._listed = (now, sorted(found, key=lambda node: node.name))
        return list(self._listed[1])

    def answers(self, node: str) -> bool:
        """Given a node, return whether it answers the smallest question there is; it is asked at
        most once in a minute.
        """
        now, known = self._clock.monotonic(), self._answers.get(node)
        if known is None or now - known[0] >= ANSWER_AGE:
            try:
                self._client.get(f"nodes/{node}/version", retry=False)
                answered = True
            except PveUnreachable:
                answered = False
            except (PveError, PvePermissionDenied):
                answered = True  # a refusal is an answer too
            known = self._answers[node] = (now, answered)
        return known[1]

    def told(self, online: Mapping[str, bool]) -> None:
        """Given which nodes the cluster says to be online, let nobody wait for those that are
        not.
        """
        self._client.breakers.told(
            online, lambda node: f"{self._client.where} says that node {node} is offline"
        )
