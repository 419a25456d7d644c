"""A cluster that lives on a virtual clock: it answers the real adapters of ``backupsvc.pve`` at the
place of their HTTP client.

Its tasks last some virtual seconds, its guests are only values, and every call is counted. It is
simulated: it proves nothing about PVE, only about who asks it what, and when.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backupsvc.errors import BackupsvcError
from backupsvc.pve import Pve
from backupsvc.pve.answers import BadAnswer, Caller, error_for
from backupsvc.pve.breakers import Breakers
from backupsvc.pve.fields import Answer
from policies.model import Scratch
from pvelab.guests.prune import Candidate, parse_keep, prune
from tests.fakes.clock import SteppingClock
from tests.fakes.made import config_of, config_text, stamp

TOKEN_ID = "svc@pve!b1"
WHERE = "virtual:8006"
STUB = {"memory": "128", "lock": "create"}  # what a restore leaves that did not come to its end
_INTERRUPTED = "interrupted by signal"
_MARKER = re.compile(r"operation-(\w+)")


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


@dataclass
class Guest:
    """A guest of the cluster."""

    node: str
    config: dict[str, str]
    running: bool = True
    made_by: str = ""  # the task that made it


@dataclass
class VirtualCluster:
    """Guests, archives and tasks. ``seconds`` says how long a type of task lasts; ``fails`` what
    exit status the next ones get.

    ``around`` is called with every call and what carries it out: it may let time pass, lose the
    answer, or not do it at all. ``operation`` says on whose behalf the present call is made, where
    the call itself does not tell.
    """

    clock: SteppingClock
    nodes: tuple[str, ...]
    guests: dict[int, Guest]
    seconds: Mapping[str, float] = field(default_factory=dict)
    fails: dict[str, list[str]] = field(default_factory=dict)
    archives: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    # the config that each archive holds
    held: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    running: dict[str, Task] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    # VMIDs of which a disk lies on every node that belongs to nobody's config
    stray: set[int] = field(default_factory=set)
    on_start: Callable[[Task], None] = lambda task: None
    on_destroy: Callable[[str, int, dict[str, str]], None] = lambda operation, vmid, config: None
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

    def answer(self, method: str, path: str, asked: Mapping[str, Any]) -> Any:
        """Given a call, return its data. Raise PveError as the client does."""
        self.catch_up()
        for pattern, known, handler in _ROUTES:
            if method == known and (found := pattern.fullmatch(path)):
                self.calls[f"{method} {handler.__name__.strip('_')}"] += 1
                return handler(self, *found.groups(), asked=asked)
        raise AssertionError(f"the virtual cluster does not know {method} {path}")

    # --- the cluster ------------------------------------------------------------------------------

    def _version(self, *, asked: Mapping[str, Any]) -> Any:
        return {"release": "9.2", "version": "9.2.11", "simulated": 1}

    def _resources(self, *, asked: Mapping[str, Any]) -> Any:
        return [
            {
                "type": "qemu",
                "vmid": vmid,
                "name": guest.config.get("name", ""),
                "node": guest.node,
                "status": "running",
            }
            for vmid, guest in self.guests.items()
        ]

    def _node_list(self, *, asked: Mapping[str, Any]) -> Any:
        return [
            {"node": node, "status": "online", "maxmem": 1 << 40, "mem": 0, "maxcpu": 8}
            for node in self.nodes
        ]

    def _nextid(self, *, asked: Mapping[str, Any]) -> Any:
        if asked["vmid"] in self.guests:
            raise _refusal(
                "nextid",
                400,
                "Parameter verification failed.",
                {"vmid": f"VM {asked['vmid']} already exists"},
            )
        return str(asked["vmid"])

    def _cluster_status(self, *, asked: Mapping[str, Any]) -> Any:
        members = [{"type": "node", "name": node, "online": 1} for node in self.nodes]
        return [{"type": "cluster", "name": "virtual", "quorate": 1}, *members]

    def _pending(self, node: str, vmid: str, *, asked: Mapping[str, Any]) -> Any:
        return [
            {"key": key, "value": value} for key, value in self._guest(node, vmid).config.items()
        ]

    def _nothing(self, *, asked: Mapping[str, Any]) -> Any:
        return []

    def _permissions(self, *, asked: Mapping[str, Any]) -> Any:
        return {
            "/": {"Sys.Audit": 1},
            "/vms": {"VM.Audit": 1},
            "/sdn/zones/localnetwork/vmbr9": {"SDN.Use": 1},
        }

    def _network(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        return [
            {
                "iface": "vmbr9",
                "type": "bridge",
                "active": 1,
                "method": "manual",
                "method6": "manual",
                "bridge_ports": "",
            }
        ]

    # --- storages ---------------------------------------------------------------------------------

    def _storages(self, *, asked: Mapping[str, Any]) -> Any:
        return [{"storage": "local", "prune-backups": "keep-all=1"}]

    def _storages_of(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        sizes = {"total": 1 << 44, "used": 0, "avail": 1 << 44}
        return [
            {
                "storage": "local",
                "type": "dir",
                "content": "backup,images",
                "active": 1,
                "enabled": 1,
            }
            | sizes
        ]

    def _storage_status(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        return {"shared": 0}

    def _content(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        vmid = asked.get("vmid")
        if asked["content"] == "images":
            guest = self.guests.get(vmid) if vmid else None
            there = (guest and "scsi0" in guest.config) or vmid in self.stray
            return [{"volid": f"local:{vmid}/vm-{vmid}-disk-0.raw"}] if there else []
        return [
            row
            for (where, _), row in self.archives.items()
            if where == node and vmid in (None, row["vmid"])
        ]

    def _prunebackups(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        rows = [
            row
            for (where, _), row in self.archives.items()
            if where == node and asked.get("vmid") in (None, row["vmid"])
        ]
        candidates = [
            Candidate(("qemu", row["vmid"]), row["ctime"], bool(row.get("protected")))
            for row in rows
        ]
        marks = prune(candidates, parse_keep(asked["prune-backups"]), "UTC")
        return [row | {"mark": mark} for row, mark in zip(rows, marks, strict=True)]

    def _delete_archive(self, node: str, volid: str, *, asked: Mapping[str, Any]) -> Any:
        def gone(exitstatus: str) -> None:
            if exitstatus == "OK":
                self.archives.pop((node, volid), None)

        return self._start(node, "imgdel", 0, gone)

    def _defaults(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        return {"prune-backups": "keep-all=1"}

    def _extractconfig(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        place = (node, asked["volume"])
        if place not in self.archives:
            raise _refusal("extractconfig", 500, f"volume '{asked['volume']}' does not exist")
        return config_text(self.held[place])

    # --- tasks ------------------------------------------------------------------------------------

    def _start(
        self,
        node: str,
        type: str,
        vmid: int,
        finish: Callable[[str], None],
        operation: str | None = None,
    ) -> str:
        now = self.clock.now()
        upid = f"UPID:{node}:{len(self.tasks) + 1:08X}:00097285:{int(now):08X}:{type}:{vmid or ''}:{TOKEN_ID}:"
        exits = self.fails.get(type)
        task = Task(
            upid,
            node,
            type,
            vmid,
            now,
            now + self.seconds.get(type, 1.0),
            operation or self.operation(),
            finish,
        )
        task.exitstatus = exits.pop() if exits else "OK"
        self.tasks[upid] = self.running[upid] = task
        self.on_start(task)
        return upid

    def _end(self, task: Task, exitstatus: str) -> None:
        task.ended, task.ends = exitstatus, min(task.ends, self.clock.now())
        self.running.pop(task.upid, None)
        task.finish(exitstatus)

    def _cluster_tasks(self, *, asked: Mapping[str, Any]) -> Any:
        return [{"upid": task.upid} for task in self.running.values()]

    def _node_tasks(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        known: Iterable[Task] = self.tasks.values()
        if "until" in asked:  # the client looks for one task's own row
            known = [task for task in known if int(task.began) <= asked["until"]]
        return [
            {"upid": task.upid, "starttime": int(task.began), "user": task.user}
            | ({"status": task.ended, "endtime": int(task.ends)} if task.ended else {})
            for task in known
            if task.node == node
            and asked.get("typefilter") in (None, task.type)
            and int(task.began) >= asked.get("since", 0)
            and asked.get("vmid") in (None, task.vmid)
        ]

    def _task_status(self, node: str, upid: str, *, asked: Mapping[str, Any]) -> Any:
        task = self._task(upid)
        return (
            {"status": "stopped", "exitstatus": task.ended} if task.ended else {"status": "running"}
        )

    def _task_log(self, node: str, upid: str, *, asked: Mapping[str, Any]) -> Any:
        task = self._task(upid)
        last = "TASK OK" if task.ended == "OK" else f"TASK ERROR: {task.ended}"
        name = f"vzdump-qemu-{task.vmid}-{stamp(int(task.began))}.vma.zst"
        lines = [
            f"INFO: Starting Backup of VM {task.vmid} (qemu)",
            "INFO: backup mode: snapshot",
            f"INFO: creating vzdump archive '/var/lib/vz/dump/{name}'",
            last,
        ]
        return [{"n": number + 1, "t": line} for number, line in enumerate(lines)]

    def _stop_task(self, node: str, upid: str, *, asked: Mapping[str, Any]) -> Any:
        if (task := self._task(upid)).ended is None:
            self._end(task, _INTERRUPTED)

    def _task(self, upid: str) -> Task:
        if upid not in self.tasks:
            raise _refusal("task", 500, f"no such task {upid}")
        return self.tasks[upid]

    def _time(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        return {"time": int(self.clock.now())}

    # --- backup -----------------------------------------------------------------------------------

    def _vzdump(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        vmid, notes = int(asked["vmid"]), str(asked["notes-template"])
        guest = self.guests.get(vmid)
        if guest is None or guest.node != node:
            return "OK"  # PVE accepts it, and does nothing
        began, config = self.clock.now(), dict(guest.config)

        def finish(exitstatus: str) -> None:
            if exitstatus == "OK":
                self.add_archive(node, vmid, int(began), notes, config)

        return self._start(node, "vzdump", vmid, finish, notes.rpartition(" ")[2])

    def add_archive(
        self,
        node: str,
        vmid: int,
        ctime: int,
        notes: str = "",
        config: dict[str, str] | None = None,
    ) -> str:
        """Put an archive of a guest into a node's storage, and return its volid. It holds the
        config, or that of any production guest.
        """
        volid = f"local:backup/vzdump-qemu-{vmid}-{stamp(ctime)}.vma.zst"
        row = {
            "volid": volid,
            "vmid": vmid,
            "subtype": "qemu",
            "ctime": ctime,
            "size": 1000,
            "format": "vma.zst",
            "notes": notes,
        }
        self.archives[node, volid] = row
        self.held[node, volid] = config or config_of(vmid)
        return volid

    # --- guests -----------------------------------------------------------------------------------

    def _restore(self, node: str, *, asked: Mapping[str, Any]) -> Any:
        vmid = int(asked["vmid"])
        if vmid in self.guests:
            raise _refusal(
                "restore",
                500,
                f"unable to restore VM {vmid} - VM {vmid} already exists on node '{node}'",
            )
        place = (node, asked["archive"])
        if place not in self.archives:
            raise _refusal("restore", 500, f"volume '{asked['archive']}' does not exist")
        guest = self.guests[vmid] = Guest(node, dict(STUB), running=False)
        marked = _MARKER.search(str(asked.get("description", "")))

        def finish(exitstatus: str) -> None:
            if exitstatus == "OK" and self.guests.get(vmid) is guest:
                kept = {
                    key: str(value)
                    for key, value in asked.items()
                    if key not in ("vmid", "archive", "storage")
                }
                guest.config = (
                    self.held[place] | {"scsi0": f"local:{vmid}/vm-{vmid}-disk-0.raw"} | kept
                )

        guest.made_by = self._start(node, "qmrestore", vmid, finish, marked[1] if marked else None)
        return guest.made_by

    def restore_of_somebody(self, node: str, vmid: int) -> Guest:
        """Let a person's own restore fail under a VMID at which nothing works, in place of what is
        there; return its rest.
        """
        upid = f"UPID:{node}:{len(self.tasks) + 1:08X}:00097285:{int(self.clock.now()):08X}:qmrestore:{vmid}:root@pam:"
        now = self.clock.now()
        task = Task(
            upid,
            node,
            "qmrestore",
            vmid,
            now,
            now,
            "",
            lambda exitstatus: None,
            ended=_INTERRUPTED,
            user="root@pam",
        )
        self.tasks[upid] = task
        self.guests[vmid] = Guest(node, dict(STUB), running=False, made_by=upid)
        return self.guests[vmid]

    def _config(self, node: str, vmid: str, *, asked: Mapping[str, Any]) -> Any:
        config = self._guest(node, vmid).config
        return config | {"digest": hashlib.sha1(repr(sorted(config.items())).encode()).hexdigest()}

    def _change(self, node: str, vmid: str, *, asked: Mapping[str, Any]) -> Any:
        if asked.get("digest") not in (None, self._config(node, vmid, asked={})["digest"]):
            raise _refusal("config", 500, "checksum mismatch (file change by other user?)")
        config = self._guest(node, vmid).config
        for name in [name for name in str(asked.get("delete", "")).split(",") if name]:
            config.pop(name, None)
        config.update(
            {name: str(value) for name, value in asked.items() if name not in ("delete", "digest")}
        )

    def _status(self, node: str, vmid: str, *, asked: Mapping[str, Any]) -> Any:
        status = "running" if self._guest(node, vmid).running else "stopped"
        dumped = any(
            (task.type, task.vmid) == ("vzdump", int(vmid)) for task in self.running.values()
        )
        # copies are not asked
        agent = {} if "description" in self._guest(node, vmid).config else {"agent": 1}
        return (
            {"vmid": int(vmid), "status": status, "qmpstatus": status, "ha": {"managed": 0}}
            | agent
            | ({"lock": "backup"} if dumped else {})
        )

    def _fsfreeze_status(self, node: str, vmid: str, *, asked: Mapping[str, Any]) -> Any:
        """Never while a dump of the guest runs: that is what whoever asks has to see to."""
        self._guest(node, vmid)
        dumps = [
            task
            for task in self.running.values()
            if (task.type, task.vmid) == ("vzdump", int(vmid))
        ]
        assert not dumps, f"the agent of guest {vmid} is asked while {dumps} runs"
        return {"result": "thawed"}

    def _power(self, node: str, vmid: str, verb: str, *, asked: Mapping[str, Any]) -> Any:
        guest = self._guest(node, vmid)

        def finish(exitstatus: str) -> None:
            if exitstatus == "OK":
                guest.running = verb == "start"

        return self._start(node, f"qm{verb}", int(vmid), finish)

    def _destroy(self, node: str, vmid: str, *, asked: Mapping[str, Any]) -> Any:
        guest = self._guest(node, vmid)
        if guest.running:
            raise _refusal("destroy", 500, f"VM {vmid} is running - destroy failed")
        self.on_destroy(self.operation(), int(vmid), guest.config)

        def finish(exitstatus: str) -> None:
            if exitstatus == "OK" and self.guests.get(int(vmid)) is guest:
                del self.guests[int(vmid)]

        return self._start(node, "qmdestroy", int(vmid), finish)

    def _guest(self, node: str, vmid: str) -> Guest:
        guest = self.guests.get(int(vmid))
        if guest is None or guest.node != node:
            raise _refusal(
                "guest",
                500,
                f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist",
            )
        return guest


Around = Callable[[str, str, Callable[[], Any]], Any]


class VirtualClient:
    """Stands where ``backupsvc.pve.client.Client`` stands. ``around`` may wrap every call; a read
    is tried once only.
    """

    def __init__(self, cluster: VirtualCluster, around: Around | None = None) -> None:
        self.token_id, self.where, self.breakers = TOKEN_ID, WHERE, Breakers(cluster.clock)
        self._cluster, self._around = cluster, around or (lambda method, path, act: act())

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, retry: bool = True
    ) -> Answer:
        return self._call("GET", path, params)

    def post(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return self._call("POST", path, params)

    def put(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return self._call("PUT", path, params)

    def delete(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return self._call("DELETE", path, params)

    def _call(self, method: str, path: str, params: Mapping[str, Any] | None) -> Answer:
        asked = {name: value for name, value in (params or {}).items() if value is not None}
        data = self._around(method, path, lambda: self._cluster.answer(method, path, asked))
        return Answer("virtual", f"{method} /{path}", data)


def connect(cluster: VirtualCluster, scratch: Scratch, around: Around | None = None) -> Pve:
    """Given a virtual cluster, return it as the service's typed calls."""
    client: Any = VirtualClient(cluster, around)
    return Pve(client, cluster.clock, scratch)


def _refusal(
    call: str, status: int, text: str, errors: Mapping[str, str] | None = None
) -> BackupsvcError:
    return error_for(BadAnswer(status, text, "", errors or {}), Caller(WHERE, TOKEN_ID, call))


_NODE = r"nodes/([^/]+)"
_ROUTES: tuple[tuple[re.Pattern[str], str, Callable[..., Any]], ...] = tuple(
    (re.compile(pattern), method, handler)
    for method, pattern, handler in (
        ("GET", r"cluster/tasks", VirtualCluster._cluster_tasks),
        ("GET", rf"{_NODE}/tasks/([^/]+)/status", VirtualCluster._task_status),
        ("GET", rf"{_NODE}/tasks/([^/]+)/log", VirtualCluster._task_log),
        ("GET", rf"{_NODE}/tasks", VirtualCluster._node_tasks),
        ("DELETE", rf"{_NODE}/tasks/([^/]+)", VirtualCluster._stop_task),
        ("GET", r"cluster/resources", VirtualCluster._resources),
        ("GET", rf"{_NODE}/storage/[^/]+/content", VirtualCluster._content),
        ("GET", rf"{_NODE}/storage/[^/]+/prunebackups", VirtualCluster._prunebackups),
        ("DELETE", rf"{_NODE}/storage/[^/]+/content/(.+)", VirtualCluster._delete_archive),
        ("GET", rf"{_NODE}/storage/[^/]+/status", VirtualCluster._storage_status),
        ("GET", rf"{_NODE}/storage", VirtualCluster._storages_of),
        ("GET", r"storage", VirtualCluster._storages),
        ("GET", rf"{_NODE}/vzdump/defaults", VirtualCluster._defaults),
        ("GET", rf"{_NODE}/vzdump/extractconfig", VirtualCluster._extractconfig),
        ("POST", rf"{_NODE}/vzdump", VirtualCluster._vzdump),
        ("GET", rf"{_NODE}/network", VirtualCluster._network),
        ("GET", rf"{_NODE}/time", VirtualCluster._time),
        ("GET", r"version", VirtualCluster._version),
        ("GET", r"nodes", VirtualCluster._node_list),
        ("GET", r"cluster/nextid", VirtualCluster._nextid),
        ("GET", r"cluster/status", VirtualCluster._cluster_status),
        ("GET", rf"{_NODE}/qemu/(\d+)/pending", VirtualCluster._pending),
        ("GET", r"cluster/ha/resources", VirtualCluster._nothing),
        ("GET", r"cluster/backup", VirtualCluster._nothing),
        ("GET", r"access/permissions", VirtualCluster._permissions),
        ("POST", rf"{_NODE}/qemu", VirtualCluster._restore),
        ("GET", rf"{_NODE}/qemu/(\d+)/config", VirtualCluster._config),
        ("PUT", rf"{_NODE}/qemu/(\d+)/config", VirtualCluster._change),
        ("GET", rf"{_NODE}/qemu/(\d+)/status/current", VirtualCluster._status),
        ("POST", rf"{_NODE}/qemu/(\d+)/agent/fsfreeze-status", VirtualCluster._fsfreeze_status),
        ("POST", rf"{_NODE}/qemu/(\d+)/status/(start|stop)", VirtualCluster._power),
        ("DELETE", rf"{_NODE}/qemu/(\d+)", VirtualCluster._destroy),
    )
)
