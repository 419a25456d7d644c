"""A cluster by script for the operations' tests: what it answers is set by the test, what it is
asked is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from backupsvc.pve.cluster import Bridge
from backupsvc.pve.guests import GuestStatus
from backupsvc.pve.tasks import TaskResult
from policies.model import Archive, Guest, Node, SeenStorages, Storage
from policies.pve.volid import file_of, parse_name
from pvelab.guests.prune import Candidate, parse_keep, prune
from tests.fakes.made import CONFIG


def ended(exitstatus: str, *log: str) -> TaskResult:
    """Given an exit status and log lines, return an ended task."""
    good = exitstatus == "OK" or exitstatus.startswith("WARNINGS")
    return TaskResult(DUMP, good, exitstatus, 0, log)


DUMP = f"UPID:clovis:0000A1B2:00097285:{1_773_086_400:08X}:vzdump:108:svc@pve!b1:"
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
    """What stands in for ``Pve``. ``listings`` are handed out one a call, the last one again and
    again.
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
    token_id: str = "svc@pve!b1"
    states: list[GuestStatus] = field(default_factory=lambda: [RUNNING])
    frozen: list[Any] = field(default_factory=lambda: [False])
    thaws: list[int] = field(default_factory=list)
    zone: str = "Europe/Paris"

    def __post_init__(self) -> None:
        self._gone: set[str] = set()
        self._shown: list[Archive] = []
        self.cluster = SimpleNamespace(
            guests=lambda max_age=0.0: self.guests_there,
            nodes=lambda max_age=0.0: [Node("clovis", True)],
            vmid_free=lambda vmid: True,
            bridges=lambda node: [Bridge("vmbr0", node, ("eno1",))],
            permissions_at=lambda path: EVERYTHING,
        )
        self.tasks = SimpleNamespace(
            poll=lambda upid: self.result,
            find=lambda node, **wanted: [],
            surely_runs=lambda upid: False,
        )
        self.vzdump = SimpleNamespace(start=self._start)
        self.agent = SimpleNamespace(
            state=lambda node, vmid: _next(self.states), frozen=self._frozen, thaw=self._thaw
        )
        self.guests = SimpleNamespace(
            config=lambda node, vmid: {"name": "Debian-Server", "memory": "2048"}
        )
        self.storage = SimpleNamespace(
            seen=lambda: SeenStorages((Storage("local", "clovis", "dir", frozenset({"backup"})),)),
            archives=self._archives,
            prune_marks=self._prune_marks,
            backup_defaults=lambda node, storage, max_age=0.0: self.defaults,
            extract_config=lambda node, volid: self.config,
            delete=self._delete,
        )

    def _archives(self, node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        self._shown = self.listings.pop(0) if len(self.listings) > 1 else self.listings[0]
        return [
            item
            for item in self._shown
            if vmid in (None, item.vmid) and item.volid not in self._gone
        ]

    def _prune_marks(
        self, node: str, storage: str, keep: str, vmid: int | None = None
    ) -> dict[str, str]:
        """What PVE's own dry run says, by the lab's reading of its rules: of what was listed last,
        or of what a test's own listing says.
        """
        listed: Callable[..., list[Archive]] = self.storage.archives
        shown = self._shown if listed == self._archives else listed(node, storage, vmid)
        there = [one for one in shown if vmid in (None, one.vmid)]
        named = [(one, parse_name(file_of(one.volid))) for one in there]
        candidates = [
            Candidate(
                (name.kind, name.vmid) if name and name.kind and name.vmid else None,
                (name.ctime(ZoneInfo(self.zone)) if name else None) or one.ctime,
                one.protected,
            )
            for one, name in named
        ]
        marks = prune(candidates, parse_keep(keep), self.zone)
        return {one.volid: mark for one, mark in zip(there, marks, strict=True)}

    def _frozen(self, node: str, vmid: int) -> bool:
        """What the agent says, one answer a call, the last one again and again; an error is
        raised.
        """
        return bool(_next(self.frozen))

    def _thaw(self, node: str, vmid: int) -> None:
        self.thaws.append(vmid)
        self.frozen = [False]

    def _start(self, node: str, vmid: int, **asked: Any) -> str:
        self.started.append(asked | {"node": node, "vmid": vmid})
        return DUMP

    def _delete(self, node: str, volid: str) -> None:
        self.deleted.append(volid)
        self._gone.add(volid)
