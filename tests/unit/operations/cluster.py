"""A cluster by script for the operations' tests: what it answers is set by the test, what it is
asked is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from backupsvc.pve.guests import GuestStatus
from backupsvc.pve.tasks import TaskResult, parse_upid
from policies.model import Archive, Guest, Scratch, Storage
from policies.pve.volid import file_of, parse_name
from pvelab.guests.prune import Candidate, parse_keep, prune
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import VirtualCluster, connect
from tests.fakes.cluster_calls import Asked, number
from tests.fakes.guest_calls import RUNS, STOPPED
from tests.fakes.made import CONFIG, archive_row, guest_row, storage_row
from tests.fakes.state import BRIDGE, TOKEN_ID, Said, Task

LOCAL = Storage("local", "clovis", "dir", frozenset({"backup"}))


def ended(exitstatus: str, *log: str) -> TaskResult:
    """Given an exit status and log lines, return an ended task."""
    good = exitstatus == "OK" or exitstatus.startswith("WARNINGS")
    return TaskResult(DUMP, good, exitstatus, 0, log)


DUMP = f"UPID:clovis:0000A1B2:00097285:{1_773_086_400:08X}:vzdump:108:svc@pve!b1:"
REMOVAL = DUMP.replace(":vzdump:108:", ":imgdel:108@local:")
RUNNING = GuestStatus("running", "running", True, None, 3600)


def _next(answers: list[Any]) -> Any:
    """The next answer of a script, whose last one stays. Raise it if it is an error."""
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer


# what a restore may ask for
EVERYTHING = frozenset(
    {"VM.Allocate", "VM.Audit", "VM.PowerMgmt", "Datastore.AllocateSpace", "SDN.Use", "Mapping.Use"}
)


@dataclass
class Cluster:
    """A cluster of one node, ``clovis``, whose answers a test scripts: the fake of PVE behind the
    real adapters. ``listings`` are handed out one a call, the last one again and again.
    """

    guests_there: list[Guest] = field(
        default_factory=lambda: [Guest(108, "Debian-Server", "clovis")]
    )
    listings: list[list[Archive]] = field(default_factory=lambda: [[]])
    result: TaskResult = field(default_factory=lambda: ended("OK"))
    config: str = CONFIG
    defaults: Mapping[str, Any] = field(default_factory=lambda: {"prune-backups": "keep-all=1"})
    started: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    token_id: str = TOKEN_ID
    states: list[GuestStatus] = field(default_factory=lambda: [RUNNING])
    frozen: list[Any] = field(default_factory=lambda: [False])
    thaws: list[int] = field(default_factory=list)
    zone: str = "Europe/Paris"

    def __post_init__(self) -> None:
        self._gone: set[str] = set()
        self._shown: list[Archive] = []
        pve: Any = connect(Scripted(self), Scratch(9000, 9009))
        # a test may put something else in the place of any call
        self.cluster: Any = pve.cluster
        self.tasks: Any = pve.tasks
        self.vzdump: Any = pve.vzdump
        self.agent: Any = pve.agent
        self.guests: Any = pve.guests
        self.storage: Any = pve.storage
        # no time passes between two answers of a script, and each is to be heard
        guests, nodes, defaults = (
            pve.cluster.guests,
            pve.cluster.nodes,
            pve.storage.backup_defaults,
        )
        self.cluster.guests = lambda max_age=0.0: guests()
        self.cluster.nodes = lambda max_age=0.0: nodes()
        self.storage.backup_defaults = lambda node, storage, max_age=0.0: defaults(node, storage)

    def listed(self, vmid: int | None) -> list[Archive]:
        """The next listing, without what was removed."""
        self._shown = self.listings.pop(0) if len(self.listings) > 1 else self.listings[0]
        return [
            item
            for item in self._shown
            if vmid in (None, item.vmid) and item.volid not in self._gone
        ]

    def prunable(self, node: str, storage: str, vmid: int | None) -> list[Archive]:
        """What a dry run judges: what was listed last, or what a test's own listing says."""
        own = vars(self.storage).get("archives")
        shown = own(node, storage, vmid) if own else self._shown
        return [one for one in shown if vmid in (None, one.vmid)]

    def _delete(self, node: str, volid: str) -> None:
        self.deleted.append(volid)
        self._gone.add(volid)


class Scripted(VirtualCluster):
    """The fake of PVE, which answers by a test's script."""

    def __init__(self, script: Cluster) -> None:
        super().__init__(SteppingClock(), ("clovis",), zone=script.zone)
        self.script = script
        self.storages = {"clovis": [storage_row(LOCAL)]}
        self.network = [BRIDGE | {"iface": "vmbr0", "bridge_ports": "eno1"}]

    def _resources(self, *, asked: Asked) -> Any:
        return [
            {"vmid": guest.vmid, "node": guest.node} | guest_row(guest)
            for guest in self.script.guests_there
        ]

    def _node_list(self, *, asked: Asked) -> Any:
        """As to a token without Sys.Audit: how much memory the node has is not known."""
        told = ("node", "id", "type", "level", "status", "ssl_fingerprint")
        return [{key: row[key] for key in told} for row in super()._node_list(asked=asked)]

    def _nextid(self, *, asked: Asked) -> Any:
        return str(asked["vmid"])

    def _permissions(self, *, asked: Asked) -> Any:
        return {asked.get("path", "/"): dict.fromkeys(sorted(EVERYTHING), 1)}

    def _storages(self, *, asked: Asked) -> Any:
        """No storage prunes by itself."""
        rows = super()._storages(asked=asked)
        return [{key: row[key] for key in row if key != "prune-backups"} for row in rows]

    def _content(self, node: str, storage: str, *, asked: Asked) -> Any:
        return [archive_row(one) for one in self.script.listed(number(asked, "vmid"))]

    def _prunebackups(self, node: str, storage: str, *, asked: Asked) -> Any:
        """What PVE's own dry run says, by the lab's reading of its rules."""
        there = self.script.prunable(node, storage, number(asked, "vmid"))
        candidates = [_candidate(one, self.script.zone) for one in there]
        marks = prune(candidates, parse_keep(asked["prune-backups"]), self.script.zone)
        return [
            {"volid": one.volid, "vmid": one.vmid, "ctime": one.ctime}
            | {"type": str(one.type), "mark": mark}
            for one, mark in zip(there, marks, strict=True)
        ]

    def _delete_archive(self, node: str, storage: str, volid: str, *, asked: Asked) -> Any:
        self.script._delete(node, volid)

    def _defaults(self, node: str, *, asked: Asked) -> Any:
        usual = super()._defaults(node, asked=asked)
        own = {key: value for key, value in usual.items() if key != "prune-backups"}
        return own | dict(self.script.defaults)

    def _extractconfig(self, node: str, *, asked: Asked) -> Any:
        return self.script.config

    def _vzdump(self, node: str, *, asked: Asked) -> Any:
        told = {"notes": asked.get("notes-template", ""), "keep_all": "prune-backups" in asked}
        self.script.started.append({**asked, **told, "node": node, "vmid": int(asked["vmid"])})
        return DUMP

    def _cluster_tasks(self, *, asked: Asked) -> Any:
        return []

    def _node_tasks(self, node: str, *, asked: Asked) -> Any:
        return Said([], {"total": 0})

    def _task_status(self, node: str, upid: str, *, asked: Asked) -> Any:
        known = parse_upid(upid)
        task = Task(
            upid, node, known.type, 0, known.start, known.start, "", lambda _: None,
            ended=self.script.result.exitstatus, user=known.user,
        )  # fmt: skip
        return task.state()

    def _task_log(self, node: str, upid: str, *, asked: Asked) -> Any:
        rows = [{"n": place, "t": line} for place, line in enumerate(self.script.result.log, 1)]
        return Said(rows, {"total": len(rows)})

    def _config(self, node: str, vmid: str, *, asked: Asked) -> Any:
        return {"name": "Debian-Server", "memory": "2048", "digest": "0" * 40}

    def _status(self, node: str, vmid: str, *, asked: Asked) -> Any:
        state: GuestStatus = _next(self.script.states)
        told = (RUNS if state.running else STOPPED) | {
            "vmid": int(vmid),
            "status": state.status,
            "qmpstatus": state.qmpstatus,
            "agent": int(state.agent),
            "uptime": state.uptime,
        }
        return told | ({"lock": state.lock} if state.lock else {})

    def _fsfreeze_status(self, node: str, vmid: str, *, asked: Asked) -> Any:
        return {"result": "frozen" if _next(self.script.frozen) else "thawed"}

    def _fsfreeze_thaw(self, node: str, vmid: str, *, asked: Asked) -> Any:
        self.script.thaws.append(int(vmid))
        self.script.frozen = [False]
        return {"result": 0}


def _candidate(one: Archive, zone: str) -> Candidate:
    """An archive as the dry run sees it, by its name."""
    name = parse_name(file_of(one.volid))
    return Candidate(
        (name.kind, name.vmid) if name and name.kind and name.vmid else None,
        (name.ctime(ZoneInfo(zone)) if name else None) or one.ctime,
        one.protected,
    )
