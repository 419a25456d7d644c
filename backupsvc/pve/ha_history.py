"""What is left to read of HA's past: the words of its daemons in each node's system log, the tasks
that started and moved guests, and when a node is known to have lived (pve-facts 9.11).

Every time that is returned is by this machine's clock: each node's own is asked for, and what was
read of a node whose clock cannot be asked is of no use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from backupsvc.clock import Clock
from backupsvc.errors import PveError
from backupsvc.pve.client import Client, Value
from backupsvc.pve.fields import Row
from backupsvc.pve.tasks import LIST_LIMIT, parse_upid, succeeded
from policies.ha.failovers import Line, Task
from policies.pve import system_log

MANAGER = "pve-ha-crm"
PAGE = 2000  # lines of one answer
MOST = 20000  # lines that are read of one log, and tasks of one kind
FIRST = 20  # lines in which the oldest is looked for: journalctl says "-- Boot" between them
NOTHING = "no content"
DAY, LAST = 86400, 1 << 36  # seconds; the second is in the year 4147
_KINDS = {"qmstart": "start", "vzstart": "start", "qmigrate": "move", "vzmigrate": "move"}


@dataclass(frozen=True, slots=True)
class NodeClock:
    """A node's clock: ``ahead`` of this machine's by so many seconds, and its time zone."""

    ahead: int
    zone: tzinfo
    now: int


class HaHistory:
    """Questions about what HA did. Every call raises what the client raises."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock

    def clock(self, node: str) -> NodeClock:
        """Given a node, return its clock. Raise PvePermissionDenied without Sys.Audit on it, PveError
        if it tells no time that there is.
        """
        asked = self._clock.now()
        row = self._client.get(f"nodes/{node}/time").row()
        now = row.need_integer("time")
        ahead = round(now - (asked + self._clock.now()) / 2)
        apart = row.integer("localtime", now) - now
        if not (now < LAST and abs(apart) < DAY):
            raise PveError(f"the clock of {node} tells no time that there is")
        try:
            zone: tzinfo = ZoneInfo(row.text("timezone") or "UTC")
        except (KeyError, ValueError, OSError):  # one that this machine does not know
            zone = timezone(timedelta(seconds=apart))
        return NodeClock(ahead, zone, now)

    def manager_log(
        self, node: str, clock: NodeClock, since: int
    ) -> tuple[tuple[Line, ...], int | None]:
        """Given a node and its clock, return what HA's manager wrote there since then, and how far
        back its log goes: None if nothing of it is left.

        Raise PvePermissionDenied without Sys.Syslog on the node, PveError for a log that is longer
        than can be read, or that is none.
        """
        oldest = self._page(node, {"limit": FIRST})[0]
        read = [x for row in oldest if (x := self._line(node, clock, row)) is not None]
        if not read:
            if all(row.text("t") == NOTHING for row in oldest):
                return (), None
            raise PveError(f"the log of {MANAGER} on {node} is in no form that is known")
        lines: list[Line] = []
        asked = {"since": system_log.written(since + clock.ahead, clock.zone)}
        for start in range(0, MOST, PAGE):
            rows, total = self._page(node, {**asked, "start": start, "limit": PAGE})
            lines += [x for row in rows if (x := self._line(node, clock, row)) is not None]
            if start + len(rows) >= total or not rows:
                return tuple(lines), read[0].at
        raise PveError(f"the log of {MANAGER} on {node} has more than {MOST} lines since then")

    def tasks(self, node: str, clock: NodeClock, since: int) -> tuple[Task, ...]:
        """Given a node and its clock, return the starts and moves of guests that anybody began there
        since then. Others' tasks are left out without Sys.Audit on the node.

        Raise PveError for a list that is longer than can be read: the first good start may be in
        what is missing.
        """
        found: dict[str, Task] = {}
        for type, kind in _KINDS.items():
            for row in self._listed(node, type, max(0, since + clock.ahead)):
                name = parse_upid(row.upid("upid"))
                if name.type != type or not (name.id.isascii() and name.id.isdecimal()):
                    continue
                ended = row.integer_if_any("endtime")
                # one that begins between two pages shows the last of a page once more
                found[name.upid] = Task(
                    name.upid,
                    node,
                    kind,
                    int(name.id),
                    name.start - clock.ahead,
                    ended - clock.ahead if ended is not None else None,
                    succeeded(row.text("status")),
                    name.user,
                )
        return tuple(sorted(found.values(), key=lambda one: one.started))

    def _listed(self, node: str, type: str, since: int) -> Iterator[Row]:
        """The node's tasks of a type that began since then by its own clock."""
        asked: dict[str, Value] = {"source": "all", "typefilter": type, "since": since}
        for start in range(0, MOST, LIST_LIMIT):
            page: dict[str, Value] = {**asked, "start": start, "limit": LIST_LIMIT}
            rows = self._client.get(f"nodes/{node}/tasks", page).rows()
            yield from rows
            if len(rows) < LIST_LIMIT:
                return
        raise PveError(f"{node} lists more than {MOST} tasks of the type {type} since then")

    def signs(self) -> dict[str, tuple[int, ...]]:
        """Return when each node wrote a line of the cluster's log that is still there, by that
        node's own clock; without Sys.Syslog on / only the token's own lines are told.
        """
        found: dict[str, set[int]] = {}
        for row in self._client.get("cluster/log", {"max": PAGE}).rows():
            found.setdefault(row.need_text("node"), set()).add(row.need_integer("time"))
        return {node: tuple(sorted(times)) for node, times in found.items()}

    def _page(self, node: str, asked: dict[str, Value]) -> tuple[list[Row], int]:
        answer = self._client.get(f"nodes/{node}/syslog", {"service": MANAGER, **asked})
        rows = answer.rows()
        total = answer.beside.get("total")
        return rows, total if isinstance(total, int) else len(rows)

    def _line(self, node: str, clock: NodeClock, row: Row) -> Line | None:
        read = system_log.read(row.text("t"), clock.zone, clock.now)
        if read is None or read[1] != MANAGER:
            return None
        return Line(node, read[0] - clock.ahead, read[2])
