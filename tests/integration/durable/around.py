"""What a guest has around it on the stage: set up and kept once, taken away before each run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.commands import Shell

VMID, NODE = 106, "clovis"
JOB, RULE, POOL = "alone", "home", "web"
# the pool, two jobs, HA and its rule; and what the lab tells nothing of: firewall, replication
CALLED, SHOWN = 5, 7
_WHO = {
    "users": "backupsvc@pve",
    "tokens": "backupsvc@pve!service,backupsvc@pve!restore",
}


class Around:
    """The surroundings of one guest in one lab. ``ask`` asks that as its root."""

    def __init__(self, shell: Shell, ask: Callable[..., Any]) -> None:
        self._shell, self._ask = shell, ask

    def ask(self, method: str, path: str, /, **params: Any) -> Any:
        """Given a call, make it and return its data."""
        return self._ask(path, method, **params)

    def set_up(self) -> None:
        """Give the guest all of it, keep the configuration, and take all of it away."""
        roles = {
            "PutBack": ("/", "Sys.Audit,Sys.Console,Sys.Modify,Pool.Audit,Pool.Allocate"),
            "PutBackStore": ("/storage/local", "Datastore.Allocate"),
        }
        for role, (path, privileges) in roles.items():
            self.ask("POST", "/access/roles", roleid=role, privs=privileges)
            self.ask("PUT", "/access/acl", path=path, roles=role, **_WHO)
        self.ask("POST", "/pools", poolid=POOL)
        self.ask("PUT", "/pools", poolid=POOL, vms=VMID)
        job = {"schedule": "21:00", "storage": "local", "mode": "snapshot", "enabled": 0}
        self.ask("POST", "/cluster/backup", id=JOB, vmid=VMID, **job)
        self.ask("POST", "/cluster/ha/resources", sid=f"vm:{VMID}", state="started", max_restart=2)
        rule = {"type": "node-affinity", "nodes": f"{NODE}:2", "resources": f"vm:{VMID}"}
        self.ask("POST", "/cluster/ha/rules", rule=RULE, **rule)
        self._job = self.ask("GET", f"/cluster/backup/{self._listing()}")["vmid"]
        kept = self._shell("catalog", "config", "keep", "--json")
        assert kept.code == 0, kept.out + kept.err
        self.take_away()

    def _listing(self) -> str:
        """The job that names the guest among others."""
        rows = self.ask("GET", "/cluster/backup")
        return next(str(row["id"]) for row in rows if "," in str(row.get("vmid", "")))

    def take_away(self) -> None:
        """As a deletion with ``purge`` does, but for the guest."""
        there = self.seen()
        if there["pool"]:
            self.ask("PUT", "/pools", poolid=POOL, vms=VMID, delete=1)
        if there["rule"]:
            self.ask("DELETE", f"/cluster/ha/rules/{RULE}")
        if there["resource"]:
            self.ask("DELETE", f"/cluster/ha/resources/vm:{VMID}")
        if there["jobs"].get(JOB):
            self.ask("DELETE", f"/cluster/backup/{JOB}")
        others = ",".join(one for one in self._job.split(",") if one != str(VMID))
        self.ask("PUT", f"/cluster/backup/{self._listing()}", vmid=others)

    def seen(self) -> dict[str, Any]:
        """What is there of it now."""
        rules, resources, jobs = (
            self.ask("GET", f"/cluster/{path}") for path in ("ha/rules", "ha/resources", "backup")
        )
        members = self.ask("GET", "/pools", poolid=POOL)[0].get("members", [])
        return {
            "pool": [row["vmid"] for row in members],
            "rule": [row["resources"] for row in rules],
            "resource": [row["state"] for row in resources if row["sid"] == f"vm:{VMID}"],
            "jobs": {row["id"]: str(row.get("vmid", "")) for row in jobs},
        }
