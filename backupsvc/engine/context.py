"""What a step's handler sees: the service, the operation, its memory, and PVE tasks that are started once.

An effect is recorded as an intent before it happens (``Run.task``), so that whoever resumes the step finds what was started and
adopts it; an intent whose answer never came is first given time to show up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from backupsvc.catalog.leases import Fence
from backupsvc.catalog.operations import Driver, Note
from backupsvc.clock import Moment, boot_id
from backupsvc.errors import BackupsvcError, OperationFailed, PveError, Refused
from policies.model import Operation
from policies.workflow import TRANSIENT_PAUSES

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.pve import Pve
    from backupsvc.pve.tasks import TaskResult

LOG_LINES = 200  # of a task's log, its last ones, are kept in the history
ASK_EACH = 300  # seconds between two questions about one task that the cluster's list of tasks calls running
JUST_NOW = 1.0  # seconds for which a task that was begun, or asked about, needs no question at all


@dataclass(frozen=True, slots=True)
class Wait:
    """A handler's answer when it must be called again. ``most`` is the longest pause between two calls, in seconds.

    ``least`` is the shortest one for workers, where the answer can wait and each question costs. ``behind`` is the operation
    whose end it waits for, if it waits for a turn: it is woken when the turn comes.
    """

    why: str
    most: float = 2.0
    least: float = 0.1
    behind: str | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """A handler's answer when the world has changed, so that an earlier step must be done once more."""

    step: str
    why: str


class NoTask(OperationFailed):
    """PVE accepted a call and started nothing: the guest is not on that node (pve-facts 3.1)."""


class CancelAsked(Exception):
    """Somebody asked, while a long step ran, that the operation end. Never leaves the engine."""


class Driving(Protocol):
    """What a run asks of the engine that drives it."""

    service: Service
    foreground: bool
    settle: float
    hints: list[str]

    def driver(self) -> Driver:
        """Who drives, now."""
        ...

    def gone(self, owner: str) -> bool:
        """Whether a lease's owner is known to be a process that is no more."""
        ...

    def beat(self, id: str) -> None:
        """Show that the driver lives, if that is due."""
        ...

    def tell(self, operation: Operation, kind: str, text: str) -> None:
        """Tell whoever watches."""
        ...


class Run:
    """One call of a step's handler. ``data`` is the operation's memory (JSON values only), written down after each call."""

    def __init__(self, engine: Driving, operation: Operation) -> None:
        self.service, self.clock = engine.service, engine.service.clock
        self.operation, self.data = operation, thaw(operation.data)
        self._engine = engine

    @property
    def id(self) -> str:
        """The operation's id."""
        return self.operation.id

    @property
    def foreground(self) -> bool:
        """Whether a person waits for this run; False for workers."""
        return self._engine.foreground

    @property
    def patient(self) -> bool:
        """Whether this step would be tried again soon if it met trouble that may pass."""
        return int(self.data.get("tries", 0)) < len(TRANSIENT_PAUSES)

    @property
    def vmid(self) -> int:
        """The guest that the operation is about."""
        if self.operation.subject is None:
            raise OperationFailed(f"operation {self.id} is about no guest", operation=self.id)
        return self.operation.subject

    def now(self) -> int:
        """Whole epoch seconds."""
        return int(self.clock.now())

    def enter(self, step: str) -> bool:
        """Remember when a step was first entered; return whether that is now."""
        entered = self.data.setdefault("entered", {})
        if step in entered:
            return False
        entered[step] = self.clock.now()
        self.data.setdefault("ticks", {})[step] = [self.clock.monotonic(), boot_id()]
        return True

    def reenter(self, *steps: str) -> None:
        """Forget when steps were entered: they are done once more."""
        for step in steps:
            self.data["entered"].pop(step, None)
            self.data.get("ticks", {}).pop(step, None)

    def passed(self, step: str) -> float:
        """Given a step, return the seconds since it was entered, whatever was done to the wall clock; 0.0 before it was."""
        began = self._entered(step)
        return began.until(Moment.of(self.clock)) if began else 0.0

    def jumped(self, step: str) -> float:
        """Given a step, return by how many seconds the wall clock was set since it was entered (0.0: not, or not known)."""
        began = self._entered(step)
        return began.jump_until(Moment.of(self.clock)) if began else 0.0

    def _entered(self, step: str) -> Moment | None:
        wall = self.data.get("entered", {}).get(step)
        ticks, boot = self.data.get("ticks", {}).get(step, (0.0, "another boot"))
        return None if wall is None else Moment(float(wall), float(ticks), str(boot))

    def fence(self) -> Fence:
        """What the catalog asks of whoever takes or gives up something for the operation: to be its driver still."""
        return self.id, self._engine.driver().owner

    def save(self) -> None:
        """Write ``data`` down now: called before an effect that it must outlive. Raise LeaseLost if another drives by now."""
        self.service.catalog.record(self.id, self._engine.driver(), data=self.data)

    def note(self, event: str, upid: str | None = None, **detail: object) -> None:
        """Append a line to the operation's history, and write ``data`` down with it."""
        line = Note(self.operation.step, event, upid, detail)
        self.service.catalog.record(self.id, self._engine.driver(), data=self.data, note=line)

    def beat(self) -> None:
        """Called again and again by a step that works for minutes. Raise LeaseLost or CancelAsked when it must stop."""
        self._engine.beat(self.id)

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        self._engine.tell(self.operation, "say", text)

    # --- turns ------------------------------------------------------------------------------------------------------------

    def turn(self, lane: str, why: str) -> Wait | None:
        """Given a lane, take it; return a wait while it is another operation's turn. Taking it twice is harmless."""
        ahead = self.service.catalog.enter_lane(lane, self.id, self.now(), self.fence(), self._engine.gone)
        return Wait(why, most=5.0, behind=ahead) if ahead else None

    def leave(self) -> None:
        """Give up the lane that the operation holds or waits for, and wake whoever is next."""
        if following := self.service.catalog.leave_lane(self.id, self.now(), self.fence(), self._engine.gone):
            self._engine.hints.append(following)

    # --- tasks ------------------------------------------------------------------------------------------------------------

    def task(
        self, key: str, start: Callable[[], str | None], *, pve: Pve, node: str, type: str, vmid: int, what: str
    ) -> TaskResult | None:
        """Start a PVE task once, and poll it: return its result, or None while it runs or is not known to have been started.

        The intent is written before the call and the UPID after it. A resumed step that finds an intent without a UPID looks for
        the task that it may have started (same node, type and guest, since the intent) and adopts it; only when none has shown up
        for a while is it started again. Raise NoTask if PVE accepted and started nothing.
        """
        upid = self.data.get(f"{key}_upid") or self.adopt(key, pve=pve, node=node, type=type, vmid=vmid)
        if upid is None:
            if self.unsettled(key):
                return None
            upid = self._begin(key, start, what)
        if self._surely_runs(key, pve, str(upid)):
            return None
        self.data[f"{key}_asked"] = self.clock.now()
        return pve.tasks.poll(str(upid))

    def ended(self, key: str, result: TaskResult) -> None:
        """Append to the history how a task ended and the end of its log: once, however often the step is resumed after that."""
        if not self.data.get(f"{key}_ended"):
            self.data[f"{key}_ended"] = True
            self.note("task-ended", result.upid, exitstatus=result.exitstatus, log=list(result.log)[-LOG_LINES:])

    def _surely_runs(self, key: str, pve: Pve, upid: str) -> bool:
        """For workers: whether the cluster's list of tasks answers for this one, which was itself asked about not long ago."""
        if self._engine.foreground:
            return False
        now = self.clock.now()
        age = now - float(self.data.setdefault(f"{key}_asked", now))  # nothing known: it was begun, or found, in this moment
        return age < ASK_EACH and (0 <= age < JUST_NOW or pve.tasks.surely_runs(upid))

    def adopt(self, key: str, *, pve: Pve, node: str, type: str, vmid: int) -> str | None:
        """Find the task that was started for an intent whose answer never came back; return its UPID, or None."""
        since = self.data.get(f"{key}_intent")
        if since is None:
            return None
        rows = pve.tasks.find(node, type=type, vmid=vmid, since=int(since))
        others = self.service.catalog.upids_of_others(self.id, [row.upid for row in rows])
        for row in rows:
            if row.upid not in others:
                self._remember(key, row.upid, "adopted")
                return row.upid
        return None

    def unsettled(self, key: str) -> bool:
        """Whether an intent is so young that its task may still show up, though its answer was lost."""
        if f"{key}_upid" in self.data or f"{key}_intent" not in self.data:
            return False
        return self.since(f"{key}_intent") < self._engine.settle

    def mark(self, key: str) -> None:
        """Remember this moment in ``data`` under a key, in whole epoch seconds, and beside it by a clock that nobody sets."""
        self.data[key], self.data[f"{key}_ticks"] = self.now(), [self.clock.monotonic(), boot_id()]

    def since(self, key: str) -> float:
        """Return the seconds since the moment that was remembered under a key, whatever was done to the wall clock."""
        ticks, boot = self.data.get(f"{key}_ticks", (0.0, "another boot"))
        return Moment(float(self.data[key]), float(ticks), str(boot)).until(Moment.of(self.clock))

    def unmark(self, key: str) -> None:
        """Forget a moment that was remembered."""
        self.data.pop(key, None)
        self.data.pop(f"{key}_ticks", None)

    def forget(self, key: str) -> None:
        """Forget a task and its intent, so that another may be started."""
        self.unmark(f"{key}_intent")
        for what in ("upid", "asked", "ended"):
            self.data.pop(f"{key}_{what}", None)

    def _begin(self, key: str, start: Callable[[], str | None], what: str) -> str:
        self.mark(f"{key}_intent")
        self.note("intent", what=what)  # fenced: if the lease is lost, nothing is started
        try:
            upid = start()
        except BackupsvcError as error:
            if refused_for_sure(error):
                self.forget(key)
            raise
        if upid is None:
            self.forget(key)
            raise NoTask(
                f"PVE accepted to {what} but started no task", "the guest may have moved: run it again", operation=self.id
            )
        self._remember(key, upid, "task")
        return upid

    def _remember(self, key: str, upid: str, event: str) -> None:
        self.data[f"{key}_upid"] = upid
        self.note(event, upid)


Handler = Callable[[Run], Wait | Again | None]


def refused_for_sure(error: BackupsvcError) -> bool:
    """Whether an error says that the call was not carried out: PVE answered with a refusal, or it was never sent."""
    return isinstance(error, Refused) or (isinstance(error, PveError) and error.status >= 400)


def thaw(value: Any) -> Any:
    """Given JSON-like data, return a deep copy made of plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value
