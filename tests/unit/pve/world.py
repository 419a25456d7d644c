"""A node whose guests change when they are told to: enough of PVE for whole sequences of scratch
guests.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.fakes.pve_server import FakePve, Reply, Request, refuse

TOKEN_ID = "svc@pve!b1"


@dataclass
class World:
    """Guests of node ``pve`` by VMID. ``on_read`` changes a config just before it is read for the
    nth time.
    """

    fake: FakePve
    configs: dict[int, dict[str, str]] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    ha: set[int] = field(default_factory=set)
    hide_ha: bool = False
    exits: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    reads: int = 0
    swap: dict[int, dict[str, str]] = field(default_factory=dict)
    later: dict[int, dict[str, str]] = field(default_factory=dict)
    bridge: dict[str, Any] = field(
        default_factory=lambda: {
            "iface": "vmbr9",
            "type": "bridge",
            "active": 1,
            "bridge_ports": "",
        }
    )
    network: list[dict[str, Any]] = field(default_factory=list)
    pending: str = ""
    permissions: dict[str, Any] = field(
        default_factory=lambda: {"/": {"Sys.Audit": 1}, "/vms": {"VM.Audit": 1}}
    )
    numbers: Any = field(default_factory=lambda: count(1))

    def add(self, vmid: int, config: dict[str, str], *, running: bool = False) -> None:
        self.configs[vmid] = dict(config)
        if running:
            self.running.add(vmid)
        path = f"/nodes/pve/qemu/{vmid}"
        self.fake.on("GET", f"{path}/config", lambda request: self._config(vmid))
        self.fake.on("PUT", f"{path}/config", lambda request: self._change(vmid, request))
        self.fake.on("GET", f"{path}/status/current", lambda request: self._status(vmid))
        self.fake.on("POST", f"{path}/status/start", lambda request: self._start(vmid))
        self.fake.on("POST", f"{path}/status/stop", lambda request: self._stop(vmid))
        self.fake.on("DELETE", path, lambda request: self._destroy(vmid))
        self.fake.on("GET", f"{path}/pending", lambda request: self._pending(vmid))
        self.fake.on("GET", "/cluster/resources", lambda request: self._resources())
        self.fake.on("GET", "/nodes/pve/network", lambda request: self._network())
        self.fake.on("GET", "/access/permissions", lambda request: self.permissions)
        self.fake.on(
            "GET",
            "/cluster/ha/resources",
            lambda request: [{"sid": f"vm:{number}"} for number in self.ha],
        )

    def task(
        self, kind: str, vmid: int, user: str = TOKEN_ID, exitstatus: str | None = None
    ) -> str:
        """A task that has ended at once (or runs, with exitstatus ``running``)."""
        upid = f"UPID:pve:{next(self.numbers):08X}:00097285:6B03FD3F:{kind}:{vmid}:{user}:"
        status = exitstatus or self.exits.get(kind, "OK")
        path = f"/nodes/pve/tasks/{upid}"
        state = (
            {"status": "running"}
            if status == "running"
            else {"status": "stopped", "exitstatus": status}
        )
        self.fake.on("GET", f"{path}/status", state)
        self.fake.on(
            "GET",
            f"{path}/log",
            [{"n": 1, "t": f"TASK {'OK' if status == 'OK' else f'ERROR: {status}'}"}],
        )
        self.fake.on("GET", "/nodes/pve/tasks", [])
        return upid

    def digest(self, vmid: int) -> str:
        return hashlib.sha1(repr(sorted(self.configs[vmid].items())).encode()).hexdigest()

    def _network(self) -> Reply:
        beside = {"changes": self.pending} if self.pending else {}
        return Reply(raw=json.dumps({"data": [self.bridge, *self.network], **beside}))

    def _missing(self, vmid: int) -> Reply:
        return refuse(500, f"Configuration file 'nodes/pve/qemu-server/{vmid}.conf' does not exist")

    def _config(self, vmid: int) -> Any:
        if vmid not in self.configs:
            return self._missing(vmid)
        self.reads += 1
        if self.reads in self.swap:
            self.configs[vmid] = self.swap[self.reads]
        return self.configs[vmid] | {"digest": self.digest(vmid)}

    def _pending(self, vmid: int) -> Any:
        if vmid not in self.configs:
            return self._missing(vmid)
        later = self.later.get(vmid, {})
        rows = [{"key": key, "value": value} for key, value in self.configs[vmid].items()]
        return [*rows, *({"key": key, "pending": value} for key, value in later.items())]

    def _resources(self) -> Any:
        known = self.configs.items()
        return [
            {"type": "qemu", "vmid": vmid, "node": "pve", "name": config.get("name", "")}
            for vmid, config in known
        ]

    def _change(self, vmid: int, request: Request) -> Any:
        if request.params.get("digest") != self.digest(vmid):
            return refuse(500, "checksum mismatch (file change by other user?)")
        gone = [name for name in request.params.get("delete", "").split(",") if name]
        new = {
            name: value
            for name, value in request.params.items()
            if name not in ("delete", "digest")
        }
        self.configs[vmid] = {
            name: value for name, value in (self.configs[vmid] | new).items() if name not in gone
        }
        return None

    def _status(self, vmid: int) -> Any:
        if vmid not in self.configs:
            return self._missing(vmid)
        ha = {} if self.hide_ha else {"ha": {"managed": int(vmid in self.ha)}}
        return {
            "vmid": vmid,
            "status": "running" if vmid in self.running else "stopped",
            "qmpstatus": "x",
            **ha,
        }

    def _start(self, vmid: int) -> str:
        self.running.add(vmid)
        return self.task("qmstart", vmid)

    def _stop(self, vmid: int) -> str:
        self.running.discard(vmid)
        return self.task("qmstop", vmid)

    def _destroy(self, vmid: int) -> Any:
        if vmid not in self.configs:
            return self._missing(vmid)
        if vmid in self.running:
            return refuse(500, f"VM {vmid} is running - destroy failed")
        if self.exits.get("qmdestroy", "OK") == "OK":
            del self.configs[vmid]
        return self.task("qmdestroy", vmid)
