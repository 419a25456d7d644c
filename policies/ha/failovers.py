"""What HA took over without being asked: from the words of its daemons and the nodes' lists of
tasks to failovers, each with the length that these allow to say.

Three answers: seen, none, not known. Only HA's own log says that it took a guest over; a start
elsewhere without a move is a question, and a log that does not reach back far enough, or was not
read, is never "none" (pve-facts 9.11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from policies.pve import texts

PRIVILEGE = "Sys.Syslog"  # on /, for the log of HA's daemons on each node
SLACK = 2  # seconds: clocks are read, and lines are written, in whole seconds
# seconds that a log can be asked about: its lines name no year, and one of the year before would be
# dated into this one (pve-facts 9.11)
REACH = 330 * 86400
_ROOT = "root@pam"  # in whose name HA's agents start guests


class Answer(StrEnum):
    """Whether HA took anything over."""

    SEEN = "seen"
    NONE = "none"
    UNKNOWN = "not-known"


class Why(StrEnum):
    """Why a node's log says nothing of a time: the right is missing, the node is off, it is a
    member no more, the log holds nothing so old, or the question failed.
    """

    RIGHT = "right"
    OFFLINE = "offline"
    GONE = "gone"
    SHORT = "short"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that HA's manager (pve-ha-crm) wrote on ``node`` at ``at``, by this machine's clock."""

    node: str
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a guest: ``start`` or ``move``. Times are by this machine's clock; ``ended`` None:
    it runs. ``by`` is whoever PVE says began it.
    """

    upid: str
    node: str
    kind: str
    vmid: int
    started: int
    ended: int | None
    good: bool
    by: str


@dataclass(frozen=True, slots=True)
class Unread:
    """What of a node was not read: ``since`` is from when on its log goes (SHORT), None if it holds
    nothing; ``detail`` is PVE's own word.
    """

    node: str
    why: Why
    since: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read for the time from ``since`` to ``now`` (epoch seconds), by node; a node that is
    missing from ``logs`` or ``tasks`` was not read. ``nodes`` are all that are known to have been
    members meanwhile, ``held`` is how far back each log goes, ``signs`` when a node is known to
    have lived.
    """

    since: int
    now: int
    nodes: tuple[str, ...]
    logs: Mapping[str, tuple[Line, ...]] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    tasks: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    signs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unread: tuple[Unread, ...] = ()


@dataclass(frozen=True, slots=True)
class Failover:
    """A guest that was taken over, or was to be. Times are epoch seconds by this machine's clock,
    None is not known.

    ``alive`` is the last sign of life of its node (``source``, "" if not known), ``missed`` when HA
    found it gone, ``fenced`` when HA was sure of that, ``taken`` when HA moved its configuration to
    ``target``, ``started`` when its first start since had ended well on ``started_on``, and
    ``started_by`` who began that, "" if none did. ``certain``: HA itself says so; else it was
    started elsewhere and nobody knows who moved it. ``sources`` is where this was read.
    """

    sid: str
    vmid: int
    source: str
    target: str
    alive: int | None = None
    missed: int | None = None
    fenced: int | None = None
    taken: int | None = None
    started: int | None = None
    started_on: str = ""
    started_by: str = ""
    certain: bool = True
    sources: tuple[str, ...] = ()

    @property
    def at(self) -> int:
        """The moment that it belongs to: the first that is known of it."""
        known = (self.missed, self.fenced, self.taken, self.started, self.alive)
        return next(one for one in known if one is not None)

    @property
    def helped(self) -> str:
        """Who started it again where HA did not; "" if it did, or PVE's root, which acts in the same
        name, or if nobody did.
        """
        return "" if self.started_by == _ROOT else self.started_by

    @property
    def least(self) -> int | None:
        """For how long it was away at least: from the first that HA says of it to the end of its
        start.
        """
        begun = next((x for x in (self.missed, self.fenced, self.taken) if x is not None), None)
        if begun is None or self.started is None:
            return None
        return max(0, self.started - begun)

    @property
    def most(self) -> int | None:
        """For how long it was away at most: since its node's last sign of life."""
        if self.alive is None or self.started is None:
            return None
        return max(0, self.started - self.alive)


@dataclass(frozen=True, slots=True)
class Failovers:
    """All that is said of a time. ``known_since``: from when on every node's log was read, None if
    it was not. ``doubtful`` are starts elsewhere that nobody explains.
    """

    answer: Answer
    since: int
    now: int
    found: tuple[Failover, ...] = ()
    doubtful: tuple[Failover, ...] = ()
    known_since: int | None = None
    unread: tuple[Unread, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every node's log was read for all of the time."""
        return self.known_since is not None and self.known_since <= self.since

    def within(self, start: int, end: int) -> Failovers:
        """Given a part of the time, from ``start`` to before ``end``, return what is said of it."""
        found, doubtful = (
            tuple(one for one in many if start <= one.at < end)
            for many in (self.found, self.doubtful)
        )
        # a part that began before what was asked for is not known from its beginning
        whole = self.known_since is not None and max(self.known_since, self.since) <= start
        unread = tuple(one for one in self.unread if one.since is None or one.since > start)
        answer = _answer(found, doubtful, whole=whole)
        return Failovers(
            answer, start, min(self.now, end), found, doubtful, self.known_since, unread
        )


def decide(seen: Seen) -> Failovers:
    """Given what was read, return what HA took over without being asked."""
    lines = sorted(
        (one for many in seen.logs.values() for one in many), key=lambda one: (one.at, one.node)
    )
    tasks = sorted(
        (one for many in seen.tasks.values() for one in many),
        key=lambda one: (one.started, one.upid),
    )
    found = [_completed(one, seen, tasks) for one in _told(lines)]
    # one start ends one failover: the last that was before it
    for place, one in enumerate(found):
        later = [other for other in found[place + 1 :] if other.sid == one.sid]
        if later and one.started is not None and one.started >= (later[0].taken or later[0].at):
            found[place] = replace(one, started=None, started_on="", started_by="")
    every = bool(seen.nodes) and set(seen.nodes) <= set(seen.held)
    known = max(seen.held.values()) if every else None
    doubtful = tuple(
        one
        for one in _elsewhere(seen, tasks)
        if one.at >= seen.since
        and not any(_explains(other, one) for other in found)
        # a log that was read whole and is silent of it says that HA did nothing
        and (known is None or one.at < known)
    )
    held = tuple(one for one in found if one.at >= seen.since)
    short = tuple(
        Unread(node, Why.SHORT, since)
        for node, since in sorted(seen.held.items())
        if since > seen.since
    )
    answer = _answer(held, doubtful, whole=known is not None and known <= seen.since)
    return Failovers(answer, seen.since, seen.now, held, doubtful, known, (*seen.unread, *short))


def _answer(found: Sequence[Failover], doubtful: Sequence[Failover], *, whole: bool) -> Answer:
    if found:
        return Answer.SEEN
    return Answer.NONE if whole and not doubtful else Answer.UNKNOWN


def _told(lines: Sequence[Line]) -> Iterator[Failover]:
    """What HA's managers say that they took over, or could not."""
    missed, fenced, waiting = dict[str, int](), dict[str, int](), dict[str, Failover]()
    for line in lines:
        by = (f"{line.node}: pve-ha-crm",)
        if gone := texts.HA_NODE_GONE.search(line.text):
            missed[gone["node"]] = line.at
            fenced.pop(gone["node"], None)
        elif sure := texts.HA_FENCED.search(line.text):
            fenced[sure["node"]] = line.at
        elif begun := texts.HA_RECOVERING.search(line.text):
            # the line names no node: it is the one that was fenced in the same round, if it is one
            just = [node for node, at in fenced.items() if line.at - at <= SLACK]
            source = just[0] if len(just) == 1 else ""
            waiting[begun["sid"]] = Failover(
                begun["sid"],
                _vmid(begun["sid"]),
                source,
                "",
                missed=missed.get(source),
                fenced=fenced.get(source, line.at),
                sources=by,
            )
        elif taken := texts.HA_TAKEN.search(line.text):
            source = taken["source"] or taken["again"]
            waiting.pop(taken["sid"], None)
            yield Failover(
                taken["sid"],
                _vmid(taken["sid"]),
                source,
                taken["target"] or source,
                missed=missed.get(source),
                fenced=fenced.get(source),
                taken=line.at,
                sources=by,
            )
    yield from waiting.values()


def _completed(one: Failover, seen: Seen, tasks: Sequence[Task]) -> Failover:
    """What the lists of tasks add: when its node lived last, and when it ran again."""
    begun = one.at
    lived = [at for at in seen.signs.get(one.source, ()) if at <= begun]
    one = replace(one, alive=max(lived, default=None))
    if one.taken is None:
        return one
    start = next(
        (
            task
            for task in tasks
            if (task.kind, task.vmid) == ("start", one.vmid)
            and task.good
            and task.ended is not None
            and task.started >= one.taken - SLACK
        ),
        None,
    )
    if start is None:
        return one
    return replace(
        one,
        started=start.ended,
        started_on=start.node,
        started_by=start.by,
        sources=(*one.sources, start.upid),
    )


def _elsewhere(seen: Seen, tasks: Sequence[Task]) -> Iterator[Failover]:
    """The starts of a guest on another node than before, to which no move led."""
    place: dict[int, str] = {}
    for task in tasks:
        if not task.good:
            continue
        before = place.get(task.vmid, "")
        if task.kind == "move":
            place.pop(task.vmid, None)  # its name does not tell where it went
            continue
        place[task.vmid] = task.node
        if task.by == _ROOT and before and before != task.node:
            lived = [at for at in seen.signs.get(before, ()) if at <= task.started]
            yield Failover(
                f"{'ct' if ':vzstart:' in task.upid else 'vm'}:{task.vmid}",
                task.vmid,
                before,
                task.node,
                max(lived, default=None),
                started=task.ended or task.started,
                started_on=task.node,
                started_by=task.by,
                certain=False,
                sources=(task.upid,),
            )


def _explains(known: Failover, odd: Failover) -> bool:
    """Whether a start elsewhere is the end of what HA says that it took over, or a later try of
    its.
    """
    return known.sid == odd.sid and known.at <= odd.at + SLACK and known.target == odd.target


def _vmid(sid: str) -> int:
    return int(sid.partition(":")[2])  # as the texts have it
