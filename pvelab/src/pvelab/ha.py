"""The HA manager's state: resources by service id (vm:108, ct:200), rules, and what the manager
made of them, in one file.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Service:
    """What the manager knows of one resource.

    ``state`` is the manager's (started, request_stop, stopped, fence, recovery, migrate, relocate,
    error); ``command`` a move
    that was asked for: (migrate or relocate, node). ``task`` is what its node does for it now; no
    lab's server outlives it.
    """

    state: str
    node: str
    target: str = ""
    command: tuple[str, str] | None = None
    tries: int = 0
    failed: list[str] = field(default_factory=list)
    task: str = ""

    def word(self, running: bool) -> str:
        """Return the state as the API words it."""
        if self.state == "started":
            return "started" if running else "starting"
        return "stopping" if self.state == "request_stop" else self.state


class Ha:
    """HA resources (``vm:108`` -> state, max_restart, ...) and rules. ``master`` is the node whose
    CRM leads, None without HA.

    ``services`` and ``node_status`` (online, unknown, fence) are the manager's: empty until it has
    had its first round.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._mutex = path, threading.RLock()
        stored = json.loads(path.read_text()) if path.is_file() else {}
        self.resources: dict[str, dict[str, Any]] = stored.get("resources", {})
        self.rules: dict[str, dict[str, Any]] = stored.get("rules", {})
        self.master: str | None = stored.get("master")
        self.services = {sid: Service(**entry) for sid, entry in stored.get("services", {}).items()}
        self.node_status: dict[str, str] = stored.get("node_status", {})

    def save(self) -> None:
        """Write everything to the file."""
        with self._mutex:
            # a task ends with the lab that runs it, so none is waited for after a restart
            services = {
                sid: asdict(service) | {"task": ""} for sid, service in self.services.items()
            }
            state = {"resources": self.resources, "rules": self.rules, "master": self.master}
            fresh = self._path.with_suffix(".tmp")
            fresh.write_text(
                json.dumps(
                    {**state, "services": services, "node_status": self.node_status}, indent=1
                )
            )
            fresh.replace(self._path)

    def forget(self, sid: str) -> None:
        """Take a resource out, and out of the rules, as a deletion with ``purge`` does: a rule that
        named it alone goes with it (pve-facts 8.7).
        """
        with self._mutex:
            if self.resources.pop(sid, None) is None:
                return
            for name, rule in list(self.rules.items()):
                listed = [one for one in re.split(r"[,;\s]+", str(rule["resources"])) if one]
                rest = ",".join(one for one in listed if one != sid)
                if rest:
                    rule["resources"] = rest
                else:
                    del self.rules[name]
        self.save()

    def knows(self, vmid: int) -> bool:
        """Say whether a guest is an HA resource."""
        return f"vm:{vmid}" in self.resources or f"ct:{vmid}" in self.resources

    def manages(self, vmid: int) -> bool:
        """Say whether HA starts and stops a guest: one that it is to leave alone (``ignored``) counts
        as none of its own (pve-facts 9.4).
        """
        sids = (f"vm:{vmid}", f"ct:{vmid}")
        return any(sid in self.resources and self.wanted(sid) != "ignored" for sid in sids)

    def wanted(self, sid: str) -> str:
        """Return the state that is asked for; ``enabled`` is an old word for ``started``."""
        state = str(self.resources[sid].get("state", "started"))
        return "started" if state == "enabled" else state

    def limit(self, sid: str, name: str) -> int:
        """Return a resource's ``max_restart``, ``max_relocate`` or ``failback``; each is 1 unless
        it is set.
        """
        return int(self.resources[sid].get(name, 1))

    def nodes_for(self, sid: str, online: list[str]) -> list[str]:
        """Given the nodes that live, return those where a resource belongs: the first choice of its
        node affinity, or all.
        """
        for rule in self.rules.values():
            sids = str(rule.get("resources", "")).replace(";", ",").split(",")
            if (
                rule.get("type") == "node-affinity"
                and sid in sids
                and not int(rule.get("disable", 0))
            ):
                ranks = {}
                for entry in str(rule["nodes"]).replace(";", ",").split(","):
                    node, _, rank = entry.strip().partition(":")  # clovis:2
                    ranks[node] = int(rank or 0)
                # the highest rank of which a node lives; unless strict, any node is better than
                # none
                best = max((rank for name, rank in ranks.items() if name in online), default=None)
                if best is not None or int(rule.get("strict", 0)):
                    return [name for name in online if ranks.get(name) == best]
        return online
