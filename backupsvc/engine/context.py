"""What a step's handler sees: the service, the operation, its memory, and PVE tasks that are
started once.

An effect is recorded as an intent before it happens (``Run.task``), so that whoever resumes the
step finds what was started and adopts it; an intent whose answer never came is first given time to
show up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from backupsvc.catalog.fences import Fence
from backupsvc.catalog.operations import Driver, Kept, Note
from backupsvc.clock import moment
from backupsvc.engine.memory import MemoryForm
from backupsvc.errors import BackupsvcError, OperationFailed, PveError, Refused
from backupsvc.services import EngineServices
from policies.error_kinds import ErrorKind
from policies.model import Operation
from policies.workflow import TRANSIENT_PAUSES

if TYPE_CHECKING:
    from backupsvc.pve import Pve
    from backupsvc.pve.tasks import TaskResult

LOG_LINES = 200  # of a task's log, its last ones, are kept in the history
# seconds between two questions about one task that the cluster's list of tasks calls running
ASK_EACH = 300
JUST_NOW = 1.0  # seconds for which a task that was begun, or asked about, needs no question at all


@dataclass(frozen=True, slots=True)
class Wait:
    """A handler's answer when it must be called again. ``most`` is the longest pause between two
    calls, in seconds.

    ``least`` is the shortest one for workers, where the answer can wait and each question costs.
    ``behind`` is the operation
    whose end it waits for, if it waits for a turn: it is woken when the turn comes.
    """

    why: str
    most: float = 2.0
    least: float = 0.1
    behind: str | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """A handler's answer when the world has changed, so that an earlier step must be done once
    more.
    """

    step: str
    why: str


class NoTask(OperationFailed):
    """PVE accepted a call and started nothing: the guest is not on that node (pve-facts 3.1)."""

    kind = ErrorKind.NO_TASK


class CancelAsked(Exception):
    """Somebody asked, while a long step ran, that the operation end. Never leaves the engine."""


S = TypeVar("S", bound=EngineServices)
M = TypeVar("M")


class Driving(Protocol):
    """What a run asks of the engine that drives it."""

    foreground: bool
    lost_reply_grace_s: float
    hints: list[str]

    def driver(self) -> Driver:
        """Who drives, now."""
        ...

    def gone(self, owner: str) -> bool:
        """Whether a lease's owner is known to be a process that is no more."""
        ...

    def heartbeat(self, id: str) -> None:
        """Show that the driver lives, if that is due."""
        ...

    def tell(self, operation: Operation, kind: str, text: str) -> None:
        """Tell whoever watches."""
        ...


class Run(Generic[S, M]):
    """One call of a step's handler.

    ``memory`` is what the kind's steps remember: a handler replaces it, and it is written down
    after each call, with ``book``, the engine's bookkeeping. ``service`` is what the kind's steps
    may use.
    """

    def __init__(
        self, engine: Driving, service: S, operation: Operation, form: MemoryForm[M]
    ) -> None:
        self.service, self.clock = service, service.clock
        self.operation, self.memory, self.book = (
            operation,
            form.read(operation.memory),
            operation.book,
        )
        self._engine, self._form = engine, form

    @property
    def id(self) -> str:
        """The operation's id."""
        return self.operation.id

    @property
    def foreground(self) -> bool:
        """Whether a person waits for this run; False for workers."""
        return self._engine.foreground

    @property
    def retries(self) -> bool:
        """Whether this step would be tried again soon if it met trouble that may pass."""
        return self.book.tries < len(TRANSIENT_PAUSES)

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
        if step in self.book.entered:
            return False
        self.book = replace(self.book, entered={**self.book.entered, step: moment(self.clock)})
        return True

    def reenter(self, *steps: str) -> None:
        """Forget when steps were entered: they are done once more."""
        left = {step: at for step, at in self.book.entered.items() if step not in steps}
        self.book = replace(self.book, entered=left)

    def passed(self, step: str) -> float:
        """Given a step, return the seconds since it was entered, whatever was done to the wall
        clock; 0.0 before it was.
        """
        began = self.book.entered.get(step)
        return began.until(moment(self.clock)) if began else 0.0

    def jumped(self, step: str) -> float:
        """Given a step, return by how many seconds the wall clock was set since it was entered
        (0.0: not, or not known).
        """
        began = self.book.entered.get(step)
        return began.jump_until(moment(self.clock)) if began else 0.0

    def lasted(self, step: str, seconds: float) -> None:
        """Remember how many seconds a step, or a stage within one, has lasted."""
        self.book = replace(self.book, seconds={**self.book.seconds, step: round(seconds, 3)})

    def conclude(self, text: str) -> None:
        """Say what is told of this step at its end."""
        self.book = replace(self.book, said=text)

    def fence(self) -> Fence:
        """What the catalog asks of whoever takes or gives up something for the operation: to be its
        driver still.
        """
        return self.id, self._engine.driver().owner

    def kept(self) -> Kept:
        """Memory and bookkeeping as they are written down."""
        return Kept(self._form.write(self.memory), self.book)

    def save(self) -> None:
        """Write the memory down now: called before an effect that it must outlive. Raise LeaseLost
        if another drives by now.
        """
        self.service.catalog.operations.record(self.id, self._engine.driver(), kept=self.kept())

    def note(self, event: str, upid: str | None = None, **detail: object) -> None:
        """Append a line to the operation's history, and write the memory down with it."""
        line = Note(self.operation.step, event, upid, detail)
        self.service.catalog.operations.record(
            self.id, self._engine.driver(), kept=self.kept(), note=line
        )

    def heartbeat(self) -> None:
        """Called again and again by a step that works for minutes. Raise LeaseLost or CancelAsked
        when it must stop.
        """
        self._engine.heartbeat(self.id)

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        self._engine.tell(self.operation, "say", text)

    # --- turns ------------------------------------------------------------------------------------

    def turn(self, lock: str, why: str) -> Wait | None:
        """Given a lock, take it; return a wait while it is another operation's turn. Taking it
        twice is harmless.
        """
        ahead = self.service.catalog.locks.enter(lock, self.now(), self.fence(), self._engine.gone)
        return Wait(why, most=5.0, behind=ahead) if ahead else None

    def leave(self) -> None:
        """Give up the lock that the operation holds or waits for, and wake whoever is next."""
        if following := self.service.catalog.locks.leave(
            self.now(), self.fence(), self._engine.gone
        ):
            self._engine.hints.append(following)

    # --- tasks ------------------------------------------------------------------------------------

    def task(
        self,
        name: str,
        start: Callable[[], str | None],
        *,
        pve: Pve,
        node: str,
        type: str,
        vmid: int,
        what: str,
    ) -> TaskResult | None:
        """Start a PVE task once, and poll it: return its result, or None while it runs or is not
        known to have been started.

        The intent is written before the call and the UPID after it. A resumed step that finds an
        intent without a UPID looks for the task that it may have started (same node, type and
        guest, since the intent) and adopts it; only when none has shown up for a while is it
        started again. Raise NoTask if PVE accepted and started nothing.
        """
        upid = self.book.upid(name) or self.adopt(name, pve=pve, node=node, type=type, vmid=vmid)
        if upid is None:
            if self.unsettled(name):
                return None
            # first: whoever finds an intent without a task looks for what may have been started
            self.intend(name, what)
            try:
                upid = start()
            except BackupsvcError as error:
                # else the call may have won, and the intent stays for whoever looks for its task
                if refused_for_sure(error):
                    self.forget(name)
                raise
            if upid is None:
                self.forget(name)
                raise NoTask(
                    f"PVE accepted to {what} but started no task",
                    "the guest may have moved: run it again",
                    operation=self.id,
                )
            self.began(name, upid)
        # workers ask the cluster's list for all tasks at once, not a node for each of them
        if self._surely_runs(name, pve, upid):
            return None
        self.keep_task(name, asked=self.clock.now())
        return pve.tasks.poll(upid)

    def ended(self, name: str, result: TaskResult) -> None:
        """Append to the history how a task ended and the end of its log: once, however often the
        step is resumed after that.
        """
        # a log may have been written by a driver that died before it said that the step is done
        if not self.book.task(name).told:
            self.keep_task(name, told=True)
            self.note(
                "task-ended",
                result.upid,
                exitstatus=result.exitstatus,
                log=list(result.log)[-LOG_LINES:],
            )

    def stop(self, name: str, pve: Pve, upid: str) -> None:
        """Ask PVE to stop a task: once, however often the step is resumed after that."""
        if not self.book.task(name).stopped:
            # noted afterwards: to stop a task twice is no error (pve-facts 2.3)
            pve.tasks.stop(upid)
            self.keep_task(name, stopped=True)
            self.note("stopped", upid)

    def _surely_runs(self, name: str, pve: Pve, upid: str) -> bool:
        """For workers: whether the cluster's list of tasks answers for this one, which was itself
        asked about not long ago.
        """
        if self._engine.foreground:
            return False
        now, asked = self.clock.now(), self.book.task(name).asked
        if asked is None:  # nothing known: it was begun, or found, in this moment
            asked = now
            self.keep_task(name, asked=now)
        age = now - asked
        return age < ASK_EACH and (0 <= age < JUST_NOW or pve.tasks.surely_runs(upid))

    def adopt(self, name: str, *, pve: Pve, node: str, type: str, vmid: int) -> str | None:
        """Find the task that was started for an intent whose answer never came back; return its
        UPID, or None.
        """
        intended = self.book.task(name).intended
        if intended is None:
            return None
        rows = pve.tasks.find(node, type=type, vmid=vmid, since=int(intended.wall))
        # of two operations at one guest each has its own task, however alike they look
        others = self.service.catalog.operations.upids_of_others(
            self.id, [row.upid for row in rows]
        )
        for row in rows:
            if row.upid not in others:
                self.began(name, row.upid, "adopted")
                return row.upid
        return None

    def unsettled(self, name: str) -> bool:
        """Whether an intent is so young that its task may still show up, though its answer was
        lost.
        """
        task = self.book.task(name)
        if task.upid is not None or task.intended is None:
            return False
        return task.intended.until(moment(self.clock)) < self._engine.lost_reply_grace_s

    def intend(self, name: str, what: str) -> None:
        """Write down that a task is about to be started. Fenced: if the lease is lost, nothing
        is.
        """
        now = moment(self.clock)
        # PVE's own times are whole seconds
        self.keep_task(name, intended=replace(now, wall=float(int(now.wall))))
        # fenced, and in one write with the memory: a driver that lost its lease starts nothing
        self.note("intent", what=what)

    def began(self, name: str, upid: str, event: str = "task") -> None:
        """Write down which task was started."""
        self.keep_task(name, upid=upid)
        self.note(event, upid)

    def keep_task(self, name: str, **known: Any) -> None:
        """Remember something of a task (the fields of TaskRecord)."""
        task = replace(self.book.task(name), **known)
        self.book = replace(self.book, tasks={**self.book.tasks, name: task})

    def forget(self, name: str) -> None:
        """Forget a task and its intent, so that another may be started."""
        left = {key: task for key, task in self.book.tasks.items() if key != name}
        self.book = replace(self.book, tasks=left)


Handler = Callable[[Run[S, M]], Wait | Again | None]


def refused_for_sure(error: BackupsvcError) -> bool:
    """Whether an error says that the call was not carried out: PVE answered with a refusal, or it
    was never sent.
    """
    return isinstance(error, Refused) or (isinstance(error, PveError) and error.status >= 400)
