"""High availability as PVE tells it: its status, its resources, where they may go, and the copies
that a replication has ready elsewhere (pve-facts 9.4, 9.6, 9.8).
"""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.errors import PveError
from backupsvc.pve.client import Client, Value
from backupsvc.pve.fields import Row
from policies.ha.facts import Group, HaStatus, Rebalancing, Replica, Resource, Rule
from policies.model import PolicyError
from policies.pve import property_string, texts

# what PVE answers to a path that it does not know, as PVE 8 to the rules
_NO_SUCH_CALL = 501


@dataclass(frozen=True, slots=True)
class Wished:
    """What HA said to a wish: the resources that it moves along, and those that keep it from it."""

    along: tuple[str, ...] = ()
    blocking: tuple[str, ...] = ()


class HighAvailability:
    """Questions about HA; nothing but ``move`` changes anything. Every call raises
    PvePermissionDenied without Sys.Audit on /, if nothing else is said.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def status(self) -> HaStatus:
        """Return what the HA stack says of itself."""
        rows = self._client.get("cluster/ha/status/current").rows()
        quorum, master, fencing = (
            next((row for row in rows if row.text("type") == name), None)
            for name in ("quorum", "master", "fencing")
        )
        lrm = [row for row in rows if row.text("type") == "lrm"]
        services = [row for row in rows if row.text("type") == "service"]
        return HaStatus(
            quorate=quorum.boolean("quorate") if quorum is not None else None,
            master=master.text("node") or None if master is not None else None,
            lrm={row.need_text("node"): row.text("status") for row in lrm},
            services={row.need_text("sid"): row.text("state") for row in services},
            homes={row.need_text("sid"): row.text("node") for row in services if row.text("node")},
            stamps={
                row.need_text("node"): row.need_integer("timestamp")
                for row in lrm
                if "timestamp" in row
            },
            master_line=master.text("status") if master is not None else "",
            master_stamp=master.integer_if_any("timestamp") if master is not None else None,
            armed=fencing.text("armed-state") if fencing is not None else "",
            resource_mode=fencing.text("resource_mode") if fencing is not None else "",
        )

    def states(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the manager's own words for each node's LRM and for each node, without what PVE
        says of clocks: ``active``, ``maintenance mode``; ``online``, ``fence``.
        """
        answer = self._client.get("cluster/ha/status/manager_status").row()
        manager, parts = answer.row_if_any("manager_status"), answer.row_if_any("lrm_status")
        nodes = manager.row_if_any("node_status") if manager is not None else None
        lrm: dict[str, str] = {}
        for name in parts.names() if parts is not None else ():
            part = parts.row(name) if parts is not None else None
            if part is not None and (mode := part.text("mode") or "active"):
                lrm[name] = part.text("state") if mode == "active" else f"{mode} mode"
        return lrm, {name: nodes.text(name) for name in nodes.names()} if nodes is not None else {}

    def resources(self) -> tuple[Resource, ...]:
        """Return what HA manages, as it is configured; PVE leaves defaults out."""
        return tuple(
            Resource(
                row.need_text("sid"),
                row.text("state") or "started",
                row.text("group"),
                row.integer("max_restart", 1),
                row.integer("max_relocate", 1),
                row.integer("failback", 1) == 1,
            )
            for row in self._client.get("cluster/ha/resources").rows()
        )

    def in_hand(self, sid: str) -> bool:
        """Given a resource, return whether HA's manager still has it in hand: it lets go of one that it
        is to leave alone in its next round (pve-facts 9.4).
        """
        answer = self._client.get("cluster/ha/status/manager_status").row()
        manager = answer.row_if_any("manager_status")
        services = manager.row_if_any("service_status") if manager is not None else None
        return services is not None and sid in services.names()

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules of PVE 9; () where there are none, as before PVE 9."""
        try:
            rows = self._client.get("cluster/ha/rules").rows()
        except PveError as error:
            # PVE 8 has groups in their place (pve-facts 9.4)
            if error.status == _NO_SUCH_CALL:
                return ()
            raise
        found = []
        for row in rows:
            together = {"positive": True, "negative": False}.get(row.text("affinity"))
            # PVE 9.2 knows an affinity of nodes too, which has one value
            tied = row.text("type") == "resource-affinity"
            # what is wrong with it: lists of sentences, by the option that each is about
            wrong = row.fields.get("errors")
            by_option = wrong.values() if isinstance(wrong, dict) else [row.text("errors")]
            errors = [
                one for many in by_option for one in (many if isinstance(many, list) else [many])
            ]
            found.append(
                Rule(
                    row.need_text("rule"),
                    row.words("resources"),
                    {} if tied else _priorities(row),
                    row.boolean("strict"),
                    together if tied else None,
                    not row.boolean("disable"),
                    "; ".join(str(one) for one in errors),
                )
            )
        return tuple(found)

    def groups(self) -> tuple[Group, ...]:
        """Return the groups of PVE 8; () where they have become rules."""
        try:
            rows = self._client.get("cluster/ha/groups").rows()
        except PveError as error:
            if texts.HA_GROUPS_MIGRATED.search(error.text):
                return ()
            raise
        return tuple(
            Group(
                row.need_text("group"),
                _priorities(row),
                row.boolean("restricted"),
                row.boolean("nofailback"),
            )
            for row in rows
        )

    def rebalancing(self) -> Rebalancing | None:
        """Return whether HA moves guests by itself (pve-facts 9.9), None if what is set cannot be
        understood.
        """
        text = self._client.get("cluster/options").row().properties("crs")
        try:
            crs = property_string.parse(text, default="ha")
        except PolicyError:
            return None
        return Rebalancing(
            crs.get("ha", "basic"),
            property_string.boolean(crs.get("ha-rebalance-on-start", "0")) is True,
            property_string.boolean(crs.get("ha-auto-rebalance", "0")) is True,
        )

    def move(self, sid: str, node: str, how: str) -> Wished:
        """Given a resource, a node and ``migrate`` or ``relocate``, ask HA to move it there: it is
        queued, and nothing has happened yet (pve-facts 9.10). Raise PvePermissionDenied without
        Sys.Console on /, PveError if HA has given the resource up.
        """
        asked: dict[str, Value] = {"node": node}
        if how == "relocate":
            answer = self._client.post(f"cluster/ha/resources/{sid}/relocate", asked)
        else:
            answer = self._client.post(f"cluster/ha/resources/{sid}/migrate", asked)
        if answer.data is None:  # before PVE 9
            return Wished()
        row = answer.row()
        return Wished(_listed(row, "comigrated-resources"), _listed(row, "blocking-resources"))

    def votes(self) -> dict[str, int]:
        """Return each member's votes as corosync's configuration has them."""
        return {
            row.need_text("node"): row.integer("quorum_votes", 1)
            for row in self._client.get("cluster/config/nodes").rows()
        }

    def replicas(self, node: str) -> tuple[Replica, ...]:
        """Given a node, return the replication jobs of the guests on it that the token may see
        (VM.Audit on each). One that is to be removed is none.
        """
        return tuple(
            Replica(
                row.need_text("id"),
                row.need_integer("guest"),
                row.need_text("target"),
                not row.boolean("disable"),
                row.integer("last_sync") or None,
                row.integer("fail_count"),
                row.text("error"),
            )
            for row in self._client.get(f"nodes/{node}/replication").rows()
            # a copy that waits for its removal is none to count on
            if not row.text("remove_job")
        )

    def replicated(self) -> dict[int, tuple[str, ...]]:
        """Return the nodes that each guest is replicated to, by VMID, as it is configured: any node
        tells that, also of a guest whose own node is dead, but not how new a replica is. Only of
        guests that the token may see.
        """
        found: dict[int, tuple[str, ...]] = {}
        for row in self._client.get("cluster/replication").rows():
            vmid = row.need_text("id").partition("-")[0]
            if vmid.isdecimal() and not row.text("remove_job"):
                targets = {*found.get(int(vmid), ()), row.need_text("target")}
                found[int(vmid)] = tuple(sorted(targets))
        return found


def _listed(row: Row, key: str) -> tuple[str, ...]:
    """Resources by their ids: a list of those, or of objects that each have one."""
    found = row.fields.get(key) or []
    many = found if isinstance(found, list) else [found]
    return tuple(str(one.get("sid", "")) if isinstance(one, dict) else str(one) for one in many)


def _priorities(row: Row) -> dict[str, int]:
    """Nodes as ``clovis:2,lge-pve02``: a name, and the priority that it has."""
    found: dict[str, int] = {}
    for word in row.words("nodes"):
        name, _, priority = word.partition(":")
        found[name] = int(priority) if priority.isascii() and priority.isdecimal() else 0
    return found
