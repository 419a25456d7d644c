"""What the fake cluster holds, and how time passes in it: tasks begin, last, and end."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backupsvc.errors import BackupsvcError
from tests.fakes.clock import SteppingClock
from tests.fakes.recorded import data

TOKEN_ID = "svc@pve!b1"
INTERRUPTED = "interrupted by signal"
STUB = {"memory": "128", "lock": "create"}  # what a restore leaves that was interrupted
_PSTART = 0x00097285
BRIDGE = data("10_permissions", 318)[0] | {"iface": "vmbr9"}


class Refusal(Exception):
    """An answer of 400 or more, in PVE's words; ``errors`` are those of single parameters."""

    def __init__(self, status: int, text: str, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.errors = status, text, dict(errors or {})


def wrong(**errors: str) -> Refusal:
    """Given what is wrong with which parameters, return PVE's refusal."""
    return Refusal(400, "Parameter verification failed.", errors)


@dataclass(frozen=True)
class Said:
    """An answer whose envelope holds more than data."""

    data: Any
    beside: Mapping[str, Any]


@dataclass
class Task:
    """A task of a node. ``ended`` is its exit status, None while it runs; ``finish`` what it does
    when it comes to its end.
    """

    upid: str
    node: str
    type: str
    vmid: int
    began: float
    ends: float
    operation: str
    finish: Callable[[str], None]
    exitstatus: str = "OK"
    ended: str | None = None
    user: str = TOKEN_ID

    def row(self) -> dict[str, Any]:
        """What every answer tells of it in the same way."""
        _, _, pid, pstart, _, _, id, _, _ = self.upid.split(":")
        return {
            "upid": self.upid,
            "node": self.node,
            "type": self.type,
            "id": id,
            "pid": int(pid, 16),
            "pstart": int(pstart, 16),
            "starttime": int(self.began),
        }

    def state(self) -> dict[str, Any]:
        """What PVE tells of it alone."""
        ended = {"status": "stopped", "exitstatus": self.ended} if self.ended else {}
        return {"status": "running"} | self.row() | self.split_user() | ended

    def split_user(self) -> dict[str, Any]:
        """Its user as PVE tells it of ended tasks, the token apart."""
        user, _, token = self.user.partition("!")
        return {"user": user, "tokenid": token} if token else {"user": user}


@dataclass
class Guest:
    """A guest of the cluster. ``later`` are changes of its config that wait for its next start;
    ``told`` is what the cluster's list says of it instead of what follows from the rest.
    """

    node: str
    config: dict[str, str]
    running: bool = True
    made_by: str = ""  # the task that made it
    later: dict[str, str] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)


def _bridges() -> list[dict[str, Any]]:
    return [dict(BRIDGE)]


def _rights() -> dict[str, dict[str, int]]:
    return {
        "/": {"Sys.Audit": 1},
        "/vms": {"VM.Audit": 1},
        "/sdn/zones/localnetwork/vmbr9": {"SDN.Use": 1},
    }


@dataclass
class State:
    """Guests, archives and tasks. ``seconds`` says how long a type of task lasts (``usual`` seconds,
    if it does not); ``fails`` what exit status the next ones get.

    ``operation`` says on whose behalf the present call is made, where the call itself does not
    tell. ``on_read`` hears of a guest whose config is about to be told, ``on_start`` of a task that
    began, ``on_destroy`` of a guest that is about to go.
    """

    clock: SteppingClock
    nodes: tuple[str, ...]
    guests: dict[int, Guest] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    usual: float = 1.0
    fails: dict[str, list[str]] = field(default_factory=dict)
    archives: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    # the config that each archive holds
    held: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    running: dict[str, Task] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    # VMIDs of which a disk lies on every node that belongs to nobody's config
    stray: set[int] = field(default_factory=set)
    offline: set[str] = field(default_factory=set)  # nodes
    unknown: set[str] = field(default_factory=set)  # nodes whose status PVE does not know
    memory: int = 0  # bytes that each node uses
    ahead: dict[str, float] = field(default_factory=dict)  # seconds, of the clocks of nodes
    name: str = "virtual"  # of the cluster, "" for a node that is alone
    # what the status of each member says besides; what the nodes are, if there is none
    members: list[dict[str, Any]] = field(default_factory=list)
    ha_lines: list[dict[str, Any]] = field(default_factory=list)  # rows of HA's own status
    simulated: bool = True
    # rows of the storages of each node; one that is not named here has ``local`` alone
    storages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    zone: str = "UTC"  # of every node
    jobs: list[dict[str, Any]] = field(default_factory=list)  # PVE's own backup jobs, as rows
    ha: set[int] = field(default_factory=set)
    ha_ignored: set[int] = field(default_factory=set)  # of those: what HA is to leave alone
    tells_ha: bool = True  # in the state of each guest
    network: list[dict[str, Any]] = field(default_factory=_bridges)  # of each node
    network_changes: str = ""
    permissions: dict[str, dict[str, int]] = field(default_factory=_rights)
    on_start: Callable[[Task], None] = lambda task: None
    on_destroy: Callable[[str, int, dict[str, str]], None] = lambda operation, vmid, config: None
    on_read: Callable[[int], None] = lambda vmid: None
    operation: Callable[[], str] = lambda: ""
    _late: list[tuple[float, str, Callable[[], Any]]] = field(default_factory=list)

    def later(self, seconds: float, act: Callable[[], Any]) -> None:
        """Carry a call out only after so long: the answer to whoever made it is lost."""
        self._late.append((self.clock.now() + seconds, self.operation(), act))

    def catch_up(self) -> None:
        """Let everything happen whose time has come."""
        now = self.clock.now()
        for item in [item for item in self._late if item[0] <= now]:
            self._late.remove(item)
            self._carry_out(item[1], item[2])
        for task in [task for task in self.running.values() if task.ends <= now]:
            self._end(task, task.exitstatus)

    def _carry_out(self, caller: str, act: Callable[[], Any]) -> None:
        """Do what was asked some time ago, on behalf of who asked then: others may be at work now,
        or nobody.
        """
        present, self.operation = self.operation, lambda: caller
        try:
            with contextlib.suppress(BackupsvcError):  # nobody waits for its answer any more
                act()
        finally:
            self.operation = present

    def add(
        self, vmid: int, config: dict[str, str], *, node: str = "", running: bool = False
    ) -> Guest:
        """Put a guest on a node (the first, if none is named)."""
        made = self.guests[vmid] = Guest(node or self.nodes[0], dict(config), running)
        return made

    def held_by(self, node: str, volid: str) -> dict[str, str]:
        """The config that an archive holds."""
        if (node, volid) not in self.archives:
            raise Refusal(500, f"volume '{volid}' does not exist")
        return self.held[node, volid]

    def running_guests(self) -> set[int]:
        """The VMIDs of all guests that run."""
        self.catch_up()
        return {vmid for vmid, guest in self.guests.items() if guest.running}

    def _start(
        self,
        node: str,
        type: str,
        vmid: int,
        finish: Callable[[str], None],
        operation: str | None = None,
        id: str = "",
    ) -> str:
        now = self.clock.now()
        upid = self._upid(node, type, id or str(vmid), TOKEN_ID, now)
        exits, ends = self.fails.get(type), now + self.seconds.get(type, self.usual)
        task = Task(upid, node, type, vmid, now, ends, operation or self.operation(), finish)
        task.exitstatus = exits.pop() if exits else "OK"
        self.tasks[upid] = self.running[upid] = task
        self.on_start(task)
        if ends == now:
            self._end(task, task.exitstatus)
        return upid

    def _end(self, task: Task, exitstatus: str) -> None:
        task.ended, task.ends = exitstatus, min(task.ends, self.clock.now())
        self.running.pop(task.upid, None)
        task.finish(exitstatus)

    def _upid(self, node: str, type: str, id: str, user: str, began: float) -> str:
        number = len(self.tasks) + 1
        return f"UPID:{node}:{number:08X}:{_PSTART:08X}:{int(began):08X}:{type}:{id}:{user}:"

    def task_of(
        self,
        type: str,
        vmid: int,
        exitstatus: str | None,
        user: str = TOKEN_ID,
        node: str = "",
        began: float | None = None,
    ) -> str:
        """Put a task that does nothing into a node's list, which ended so, or runs if None; return
        its UPID. ``vmid`` 0 is a task of several guests; it began now, if not told otherwise.
        """
        at, began = node or self.nodes[0], self.clock.now() if began is None else began
        upid = self._upid(at, type, str(vmid or ""), user, began)
        ends = began if exitstatus else float("inf")
        task = Task(upid, at, type, vmid, began, ends, "", lambda _: None, ended=exitstatus)
        task.user = user
        self.tasks[upid] = task
        if exitstatus is None:
            self.running[upid] = task
        return upid

    def restore_of_somebody(self, node: str, vmid: int) -> Guest:
        """Let a person's own restore fail under a VMID at which nothing works, in place of what is
        there; return its rest.
        """
        upid = self.task_of("qmrestore", vmid, INTERRUPTED, "root@pam", node)
        self.guests[vmid] = Guest(node, dict(STUB), running=False, made_by=upid)
        return self.guests[vmid]
