"""Tasks of the lab's nodes: worker threads with PVE's UPIDs, log files and exit statuses (pve-facts
2).

A task's log lies in ``<node>/var/log/pve/tasks/<last hex digit of its start>/<UPID>``; its last
line decides the status, so a lab that was killed reads its running tasks as stopped with
``unexpected status``, as PVE does.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pvelab.errors import LabError, TaskDied, TaskVanished

UPID = re.compile(
    r"^UPID:([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?):([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8}):([^:\s/]+):([^:\s/]*):([^:\s/]+):$"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upid:
    """A parsed UPID; ``pid``, ``pstart`` and ``starttime`` as numbers, ``user`` with its token when
    there is one.
    """

    text: str
    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str

    @classmethod
    def parse(cls, text: str) -> Upid:
        """Given a UPID, return its parts. Raise LabError 400 with PVE's text if it is none."""
        found = UPID.match(text)
        if not found:
            raise LabError(
                400, "Parameter verification failed.", {"upid": "unable to parse worker upid"}
            )
        node, pid, pstart, start, kind, subject, user = found.groups()
        return cls(text, node, int(pid, 16), int(pstart, 16), int(start, 16), kind, subject, user)

    def row(self) -> dict[str, object]:
        """Return what every task answer says of it."""
        user, _, token = self.user.partition("!")
        row: dict[str, object] = {
            "upid": self.text,
            "node": self.node,
            "pid": self.pid,
            "pstart": self.pstart,
            "starttime": self.starttime,
            "type": self.type,
            "id": self.id,
            "user": user,
        }
        return {**row, "tokenid": token} if token else row


class TaskLog:
    """What a running task writes to. ``cancelled`` is set when somebody stops the task: look at it
    in every loop.
    """

    def __init__(self, path: Path, upid: Upid, auth: str) -> None:
        self.upid, self.auth = upid, auth
        self.path, self.warnings = path, 0
        self.dead = False
        self.cancelled = threading.Event()
        self._mutex = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def line(self, text: str) -> None:
        """Append a line (or several); nothing is written any more once the task's node is dead."""
        if self.dead:
            return
        with self._mutex, self.path.open("a") as file:
            file.write(text + "\n")

    def warn(self, text: str) -> None:
        """Append ``WARN: text`` and count it: the task then ends with ``TASK WARNINGS: n``."""
        self.warnings += 1
        self.line(f"WARN: {text}")

    def check_cancelled(self, text: str = "interrupted by signal") -> None:
        """Raise TaskDied if the task was told to stop."""
        if self.cancelled.is_set():
            raise TaskDied(text)


@dataclass
class _Running:
    log: TaskLog
    thread: threading.Thread = field(init=False)


class Tasks:
    """All tasks of all nodes: the running ones as threads, the finished ones as files."""

    def __init__(self, node_dirs: dict[str, Path], now: Callable[[str], int]) -> None:
        self._dirs, self._now = node_dirs, now
        self._running: dict[str, _Running] = {}
        self._status: dict[str, tuple[int, str]] = {}
        self._mutex = threading.Lock()
        # what every task passes before its work: where one is made to hang
        self.gate: Callable[[TaskLog], None] = lambda log: None
        # the tasks of an earlier life: the index, and log files that never got into it
        for node in node_dirs:
            directory = self._tasks_dir(node)
            directory.mkdir(parents=True, exist_ok=True)
            index = directory / "index"
            for line in index.read_text().splitlines() if index.is_file() else ():
                upid, end, status = line.split(" ", 2)
                self._status[upid] = (int(end, 16), status)
            for path in directory.glob("?/UPID:*"):
                if path.name not in self._status:
                    self._status[path.name] = (
                        int(path.stat().st_mtime),
                        last_status(path.read_text().splitlines()),
                    )

    def spawn(self, node: str, type: str, id: str, auth: str, fn: Callable[[TaskLog], None]) -> str:
        """Start ``fn`` as a task of ``node`` and return its UPID. ``auth`` is the user, with
        ``!token`` for a token.
        """
        # PVE writes the process id and its start in ticks; both only have to be unique and well
        # formed here.
        pid, pstart, start = (
            secrets.randbelow(0x3FFFFF) + 1000,
            int(time.monotonic() * 100) & 0xFFFFFFFF,
            self._now(node),
        )
        upid = Upid.parse(f"UPID:{node}:{pid:08X}:{pstart:08X}:{start:08X}:{type}:{id}:{auth}:")
        running = _Running(TaskLog(self._path(upid), upid, auth))
        running.thread = threading.Thread(
            target=self._work, args=(upid, running.log, fn), name=f"task-{type}-{id}", daemon=True
        )
        with self._mutex:
            self._running[upid.text] = running
            running.thread.start()  # within the lock: whoever sees the task may wait for it
        return upid.text

    def wait(self, upid: str, timeout: float = 60) -> str:
        """Wait until a task has ended and return its exit status. Raise TimeoutError after
        ``timeout`` seconds.
        """
        running = self._running.get(upid)
        if running:
            running.thread.join(timeout)
            if running.thread.is_alive():
                raise TimeoutError(f"{upid} still runs after {timeout} s")
        return self.exitstatus(upid) or "unexpected status"

    def running(self, node: str | None = None) -> list[Upid]:
        """Return the tasks that run now (on one node)."""
        with self._mutex:
            return [
                task.log.upid
                for task in self._running.values()
                if node in (None, task.log.upid.node)
            ]

    def finished(self, node: str | None = None) -> list[tuple[Upid, int, str]]:
        """Return the tasks that ended, newest first: UPID, end in epoch seconds, exit status."""
        with self._mutex:
            rows = [(Upid.parse(text), end, status) for text, (end, status) in self._status.items()]
        return [
            row
            for row in sorted(rows, key=lambda r: (r[0].starttime, r[1]), reverse=True)
            if node in (None, row[0].node)
        ]

    def known(self, upid: Upid) -> bool:
        """Say whether such a task was ever started here."""
        return upid.text in self._running or upid.text in self._status

    def exitstatus(self, upid: str) -> str | None:
        """Return a task's exit status, None while it runs."""
        with self._mutex:
            if upid in self._running:
                return None
            return self._status[upid][1] if upid in self._status else None

    def log(self, upid: Upid) -> list[str] | None:
        """Return a task's log lines, None when its file does not exist."""
        path = self._path(upid)
        return path.read_text().splitlines() if path.is_file() else None

    def stop(self, upid: str, grace: float = 1.0) -> None:
        """Tell a running task to stop and give it ``grace`` seconds; a finished one is left
        alone.
        """
        running = self._running.get(upid)
        if running:
            running.log.cancelled.set()
            running.thread.join(grace)

    def kill(self, node: str) -> None:
        """Let a node's tasks end with their node: without a last line, so that they read
        ``unexpected status``.
        """
        with self._mutex:
            logs = [task.log for task in self._running.values() if task.log.upid.node == node]
        for log in logs:
            # dead before it is told to stop: a task that ends may not write a last line
            log.dead = True
            log.cancelled.set()

    def _path(self, upid: Upid) -> Path:
        return self._tasks_dir(upid.node) / f"{upid.starttime:08X}"[-1] / upid.text

    def _tasks_dir(self, node: str) -> Path:
        return self._dirs[node] / "var" / "log" / "pve" / "tasks"

    def _work(self, upid: Upid, log: TaskLog, fn: Callable[[TaskLog], None]) -> None:
        try:
            self.gate(log)
            fn(log)
            last = f"TASK WARNINGS: {log.warnings}" if log.warnings else "TASK OK"
        except TaskVanished:
            last = ""
        except (TaskDied, LabError) as error:
            last = f"TASK ERROR: {error}"
        except Exception as error:  # noqa: BLE001 - a worker's death is a task's result, and is kept in the lab's own log
            _log.exception("task %s failed", upid.text)
            last = f"TASK ERROR: {error}"
        # a task that vanished has no last line, which reads as unexpected status (pve-facts 2.2)
        if last:
            log.line(last)
        end, status = self._now(upid.node), last_status(self.log(upid))
        with self._mutex, (self._tasks_dir(upid.node) / "index").open("a") as file:
            file.write(f"{upid.text} {end:08X} {status}\n")
            self._status[upid.text] = (end, status)
            del self._running[upid.text]


def last_status(lines: list[str] | None) -> str:
    """Given a finished task's log, return the exit status that its last line decides."""
    # an error text may hold line feeds: PVE folds the whole of it into the status
    last = "\n".join(lines or ())
    last = last[last.rfind("\nTASK ") + 1 :] if "\nTASK " in last else last
    if last == "TASK OK":
        return "OK"
    if last.startswith("TASK WARNINGS: "):
        return last.removeprefix("TASK ")
    if last.startswith("TASK ERROR: "):
        return " ".join(last.removeprefix("TASK ERROR: ").split("\n")).strip()
    return "unexpected status"
