"""PVE's tasks: ask, wait with a deadline, keep the log, find what was started, stop.

A task has succeeded if its exit status is ``OK`` or ``WARNINGS: n``; everything else is a failure
(pve-facts 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from backupsvc.clock import Clock
from backupsvc.errors import PveError, PveNotFound, PvePermissionDenied, TaskFailed
from backupsvc.pve.answers import grant_for, hint_for
from backupsvc.pve.client import Client, Value
from backupsvc.pve.fields import UPID, Row
from policies import causes
from policies.external_backups import Dumping
from policies.pve import texts

LIST_LIMIT = 500  # rows; 0 would be none at all, unlike in the log (pve-facts 2.3)
CLOCK_SLACK = 1  # second: node clocks are read in whole seconds
UNSURE = "unexpected status"
RECENT_AGE = 12.0  # seconds that one answer of /cluster/tasks serves for


@dataclass(frozen=True, slots=True)
class Upid:
    """A task's name, taken apart. ``start`` is by the node's own clock; ``user`` is user@realm or
    user@realm!token.

    ``ticks`` is when its process began, in hundredths of a second since the node was started.
    """

    upid: str
    node: str
    start: int
    type: str
    id: str
    user: str
    ticks: int


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How a task ended."""

    upid: str
    ok: bool
    exitstatus: str
    warnings: int
    log: tuple[str, ...]

    def raise_if_failed(self, what: str) -> None:
        """Given what the task was for, raise TaskFailed if it failed, PvePermissionDenied if the
        token lacked a privilege.

        Some rights are checked only inside the task (pve-facts 3.3, 7.3), so a refusal arrives as
        its exit status.
        """
        if not self.ok and texts.DENIED.search(self.exitstatus):
            token = parse_upid(self.upid).user
            raise PvePermissionDenied(
                f"{what} failed: {self.exitstatus}", grant_for(self.exitstatus, token)
            )
        if not self.ok:
            cause = causes.in_words(self.exitstatus, self.log)
            raise TaskFailed(
                f"{what} failed: "
                f"{f'{cause}; PVE ended it with: ' if cause else ''}{self.exitstatus}",
                hint_for(cause)
                or hint_for(self.exitstatus)
                or f"read the task's log in PVE: {self.upid}",
                upid=self.upid,
                exitstatus=self.exitstatus,
                log=self.log,
            )


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as a node's list shows it. ``status`` is ``running`` or the exit status; ``starttime``
    is by the node's clock.
    """

    upid: str
    status: str
    starttime: int
    user: str


def parse_upid(upid: str) -> Upid:
    """Given a UPID, return its parts. Raise PveError if it is none."""
    found = UPID.fullmatch(upid)
    if not found:
        raise PveError(
            f"{upid!r} is not the name of a PVE task", text="unable to parse worker upid"
        )
    return Upid(
        upid,
        found["node"],
        int(found["start"], 16),
        found["type"],
        found["id"],
        found["user"],
        int(found["pstart"], 16),
    )


def succeeded(exitstatus: str) -> bool:
    """Given an exit status, return whether the task did what it was for."""
    # warnings are no errors: PVE warns at every start of some guests (pve-facts 2.2)
    return exitstatus == "OK" or texts.WARNINGS.search(exitstatus) is not None


class Tasks:
    """The tasks of all nodes; a UPID names the node that keeps it."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._running: tuple[float, frozenset[str]] | None = None

    def surely_runs(self, upid: str) -> bool:
        """Given a UPID, return whether it still runs by the cluster's list of recent tasks: one
        question for all tasks.

        That list serves for some seconds. False means: ask. A node that dies may leave its last
        word in the list, so a caller must ask about the task itself from time to time all the same.
        """
        return upid in self._recent()

    def dumps_of_others(self) -> list[Dumping]:
        """Return the vzdump tasks that run now and are not this token's, as far as it may see them
        (Sys.Audit).
        """
        found = [
            task
            for task in map(parse_upid, self._recent())
            if task.type == "vzdump" and task.user != self._client.token_id
        ]
        return [
            # the task of several guests names none
            Dumping(task.upid, task.node, int(task.id) if task.id.isdigit() else None, task.start)
            for task in found
        ]

    def _recent(self) -> frozenset[str]:
        """The tasks that run by the cluster's list of recent ones."""
        now = self._clock.monotonic()
        if self._running is None or now - self._running[0] >= RECENT_AGE:
            rows = self._client.get("cluster/tasks").rows()
            self._running = (
                now,
                frozenset(row.upid("upid") for row in rows if not row.text("status")),
            )
        return self._running[1]

    def poll(self, upid: str) -> TaskResult | None:
        """Given a UPID, return its result, or None while it runs. Raise PveNotFound if the node
        does not know it.
        """
        state = self._client.get(f"{_path(upid)}/status").row()
        if state.need_text("status") == "running":
            return None
        exitstatus, log = state.text("exitstatus") or UNSURE, self.log(upid)
        if _vague(exitstatus):
            last = texts.TASK_ENDS.search(log[-1]) if log else None
            said = (last["good"] or last["bad"]) if last else None
            # the node's list may not show the task yet, or know no better
            row = None if said else self._row(upid)
            listed = row.text("status") if row else ""
            exitstatus = said or ("" if _vague(listed) else listed) or exitstatus
        warned = texts.WARNINGS.search(exitstatus)
        return TaskResult(
            upid, succeeded(exitstatus), exitstatus, int(warned[1]) if warned else 0, tuple(log)
        )

    def log(self, upid: str) -> list[str]:
        """Given a UPID, return its whole log. [] when there is none."""
        # 0 is all of it, unlike in a list of tasks (pve-facts 2.3)
        rows = self._client.get(f"{_path(upid)}/log", {"limit": 0}).rows()
        lines = [row.text("t") for row in sorted(rows, key=lambda row: row.need_integer("n"))]
        # PVE writes an empty log as one line that says so (pve-facts 2.1)
        return [] if len(lines) == 1 and texts.NO_LOG.search(lines[0]) else lines

    def stop(self, upid: str) -> None:
        """Given a UPID, stop the task. One that has ended, or that the node has forgotten, is left
        as it is.
        """
        try:
            # the stop of a task that has ended is no error either (pve-facts 2.3)
            self._client.delete(_path(upid))
        except PveNotFound:
            return

    def find(
        self, node: str, *, type: str, vmid: int, since: int, mine: bool = True
    ) -> list[TaskRow]:
        """Given a node, return its tasks of a type and VMID that began at or after ``since``,
        newest first.

        ``since`` is by this machine's clock, as intents are; the node's own may be an hour off and
        is allowed for, if the token may read it. Only tasks of this token are returned unless
        ``mine`` is False.
        """
        try:
            time = self._client.get(f"nodes/{node}/time").row().need_integer("time")
            ahead = time - int(self._clock.now())
        except PvePermissionDenied:
            ahead = 0  # the token may not ask for the node's clock (Sys.Audit)
        begun = since + ahead - CLOCK_SLACK
        asked: dict[str, Value] = {
            "source": "all",
            "typefilter": type,
            "vmid": vmid,
            "since": max(0, begun),
            "limit": LIST_LIMIT,
        }
        rows = self._client.get(f"nodes/{node}/tasks", asked).rows()
        found = {
            row.upid: row
            for row in map(task_row, rows)
            if not mine or row.user == self._client.token_id
        }
        return sorted(found.values(), key=lambda row: row.starttime, reverse=True)

    def of_guest(self, node: str, vmid: int) -> list[TaskRow]:
        """Given a node and a VMID, return all tasks on it that the node remembers and the token may
        see (others': Sys.Audit).
        """
        rows = self._client.get(
            f"nodes/{node}/tasks", {"source": "all", "vmid": vmid, "limit": LIST_LIMIT}
        ).rows()
        return [task_row(row) for row in rows]

    def lasted(self, upid: str) -> int | None:
        """Given the UPID of a task that has ended, return the seconds that it took at most; None if
        the node's list lacks it.
        """
        row = self._row(upid)
        ended = row.integer_if_any("endtime") if row else None
        # both are whole seconds, rounded down
        return ended - parse_upid(upid).start + 1 if ended else None

    def _row(self, upid: str) -> Row | None:
        task = parse_upid(upid)
        asked: dict[str, Value] = {
            "typefilter": task.type,
            "since": task.start,
            "until": task.start,
            "limit": LIST_LIMIT,
        }
        # asked for by its own second, a full list cannot hide it
        rows = self._client.get(f"nodes/{task.node}/tasks", asked).rows()
        return next((row for row in rows if row.text("upid") == upid), None)


def _path(upid: str) -> str:
    return f"nodes/{parse_upid(upid).node}/tasks/{upid}"


def task_row(row: Row) -> TaskRow:
    """Given a row of a node's list of tasks, return it as a value."""
    status, upid = row.text("status"), row.upid("upid")
    # Only the UPID always has the whole user: the list splits the token off finished ones, not off
    # running ones (07, 03 #5).
    return TaskRow(
        upid,
        "running" if status in ("", "RUNNING") else status,
        row.integer("starttime"),
        parse_upid(upid).user,
    )


def _vague(exitstatus: str) -> bool:
    """Whether PVE did not find the last line: the process may have gone a moment before it wrote
    it, and that is then cached.
    """
    return texts.NO_LAST_LINE.search(exitstatus) is not None
