"""One turn at an operation: claim it, ask whether its step may run, run that once, ask what
follows, and write it down.

Every write is fenced by the lease; what follows is decided in ``policies.workflow``; nothing here
waits.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backupsvc.catalog.operations import Driver, Note
from backupsvc.clock import moment
from backupsvc.engine import drivers, telling
from backupsvc.engine.context import Again, CancelAsked, Run, Wait
from backupsvc.engine.events import Observer, StepEvent
from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.errors import (
    BackupsvcError,
    LeaseLost,
    OperationFailed,
    OutOfReach,
    PveAnswerUnreadable,
    PveCertificateRefused,
    PveError,
    PveNotFound,
    Refused,
    TargetMissing,
    TaskFailed,
    Unreachable,
)
from backupsvc.services import EngineServices
from policies import workflow
from policies.bookkeeping import StepError
from policies.error_kinds import ErrorKind
from policies.model import Operation, OperationState
from policies.workflow import (
    Done,
    Failed,
    Finish,
    NextStep,
    RetryLater,
    StepBack,
    StepStatus,
    Stop,
    Trouble,
    Waiting,
)

if TYPE_CHECKING:
    from backupsvc.engine.kind import Kinds, OperationKind

LEASE_SECONDS = 600
HEARTBEAT_SECONDS = 30.0  # between two signs of life of a step that works for minutes
LOST_REPLY_GRACE_S = 10.0  # a call whose answer was lost is given so long to show up as a task
# seconds between two looks of an operation that waits for its turn: it is woken when the turn comes
TURN_RECHECK = 900.0
# seconds of silence that a person in front of a terminal is made to sit through
FOREGROUND_RETRY_FOR_S = 120.0
RETRY_FOR_S = 3600.0  # seconds of silence that a night lives through; a tear-down waits a day
CLEANUP_RETRY_FOR_S = 24 * 3600.0
# times that a lease is taken anew because the clock had gone on meanwhile, or was set
MAX_CLAIMS = 3
CRASH_PAUSE = 60  # seconds until a step that met a fault of ours is tried again


class HeldElsewhere(Refused):
    """Another process drives the operation."""

    kind = ErrorKind.HELD_ELSEWHERE


@dataclass(frozen=True, slots=True)
class Advance:
    """What one ``advance`` came to: the operation as it stands now, and the wait, if it must be
    called again later.

    ``pause`` is how long, in seconds; None when the next step may follow at once.
    """

    operation: Operation
    wait: Wait | None = None
    pause: float | None = None


class Executor:
    """Takes turns at operations of the kinds that it was given.

    Args:
        service: where the catalog, the cluster, the policy and the clock come from.
        kinds: the kinds of operations that it can drive, by their names.
        observers: are told of everything that happens.
        foreground: whether this process drives what it opens to its end; False for workers.

    ``hints`` collects the operations that became due by what this engine did: workers send them on
    and empty it. ``on_heartbeat`` is called at each sign of life of a step that works for minutes.
    """

    def __init__(
        self,
        service: EngineServices,
        kinds: Kinds,
        observers: Iterable[Observer] = (),
        *,
        foreground: bool = True,
        lost_reply_grace_s: float = LOST_REPLY_GRACE_S,
    ) -> None:
        self.service, self.kinds, self.foreground, self.lost_reply_grace_s = (
            service,
            kinds,
            foreground,
            lost_reply_grace_s,
        )
        self.observers = list(observers)
        self.owner = str(drivers.identity(foreground=foreground))
        self.hints: list[str] = []
        self._heartbeat_at = 0.0
        self.on_heartbeat: Callable[[], None] = lambda: None

    # --- one turn ---------------------------------------------------------------------------------

    def driver(self) -> Driver:
        """This engine as an operation's driver, now."""
        return Driver(self.owner, LEASE_SECONDS, int(self.service.clock.now()))

    def gone(self, owner: str) -> bool:
        """Given a lease's owner, return whether it is known to be a process that is no more."""
        return drivers.gone(owner)

    def tell(self, operation: Operation, kind: str, text: str, seconds: float = 0.0) -> None:
        """Tell all observers."""
        if not self.observers:
            return
        event = StepEvent(
            operation,
            kind,
            operation.step,
            text,
            seconds,
            self.kinds[operation.kind].known(operation).node,
        )
        for observer in self.observers:
            observer(event)

    def observe(self, observer: Observer) -> None:
        """Let an observer be told from now on. One that is told already is not told twice."""
        if observer not in self.observers:
            self.observers.append(observer)

    def heartbeat(self, id: str) -> None:
        """Renew the leases of all that this engine drives, if that is due.

        Raise LeaseLost if the operation is another's by now, CancelAsked if somebody asked that it
        end.
        """
        passed = self.service.clock.monotonic()
        if passed - self._heartbeat_at < HEARTBEAT_SECONDS:
            return
        self._heartbeat_at = passed
        self.on_heartbeat()
        # all at once: while one step works for minutes, no other of this driver is called
        mine = self.service.catalog.operations.renew_all(self.driver())
        if id not in mine:
            raise LeaseLost(f"operation {id} is driven by another process", operation=id)
        if why := mine[id]:
            raise CancelAsked(why)

    def give_back(self, id: str) -> None:
        """Let anybody drive an operation that this engine drives; it is due at once."""
        driver = self.driver()
        self.service.catalog.operations.record(id, driver, park=driver.now)

    def advance(self, id: str) -> Advance:
        """Given an operation's id, do one step or one poll of it. Raise Refused when another
        process holds it.
        """
        # Claimed by a clock that was read no long time ago, for a catalog that was down may have
        # been waited for. One that is set again and again is no reason to go on for ever: the next
        # write renews the lease in any case.
        for _ in range(MAX_CLAIMS):
            driver = self.driver()
            operation = self.service.catalog.operations.claim(id, driver)
            if operation is None or abs(self.service.clock.now() - driver.now) < LEASE_SECONDS / 2:
                break
        if operation is None:
            found = self.service.catalog.operations.get(id)
            if found is None:
                raise not_open(id, None)
            if found.state is not OperationState.OPEN:
                return Advance(found)
            raise HeldElsewhere(
                f"operation {id} is driven by another process", "wait for it to end"
            )
        kind = self.kinds[operation.kind]
        try:
            run = Run(self, self.service, operation, kind.form)
        except MemoryUnreadable:
            # what it remembers cannot be read here: let another driver try, but not at once
            self.service.catalog.operations.expire(
                id, self.owner, int(self.service.clock.now()) + CRASH_PAUSE
            )
            raise
        return self._turn(run, kind)

    def _turn(self, run: Run[Any, Any], kind: OperationKind[Any, Any]) -> Advance:
        status = self._status(run, kind)
        allowed = workflow.before(kind.workflow, status)
        if isinstance(allowed, Stop):
            return self._stop(run, kind, status, allowed)
        # once, however often the step is called again
        if run.enter(run.operation.step):
            run.note("started")
            self.tell(run.operation, "step", "")
        try:
            answer = kind.handlers[status.step](run)
        except LeaseLost:
            raise  # another drives it by now: nothing is written down here
        except CancelAsked as asked:
            return self._stop(run, kind, status, Stop(str(asked), cancelled=True))
        except BackupsvcError as error:
            move = workflow.after(kind.workflow, status, Failed(trouble_of(error)))
            if not isinstance(move, RetryLater):
                return self._fail(run, kind, move, error)
            since = run.book.failing_since or moment(self.service.clock)
            run.book = replace(run.book, tries=status.tries + 1, failing_since=since)
            run.note("retry", message=error.message, pause=move.pause)
            run.say(f"{error.message}; tried again in {move.pause:g} s")
            return self._retry_later(run, Wait(error.message, most=move.pause), move.pause)
        except Exception as fault:
            where = fault.__traceback__
            while where and where.tb_next:
                where = where.tb_next
            place = f"{where.tb_frame.f_globals.get('__name__')}:{where.tb_lineno}" if where else ""
            with contextlib.suppress(BackupsvcError):
                # what kind and where, never its text, which may hold a secret (law 7)
                run.note("crashed", kind=type(fault).__name__, where=place)
                # another driver may try, but not at once, nor for ever: this counts as a lost driver
                self.service.catalog.operations.expire(run.id, self.owner, run.now() + CRASH_PAUSE)
            raise
        return self._answered(run, kind, status, answer)

    def _status(self, run: Run[Any, Any], kind: OperationKind[Any, Any]) -> StepStatus:
        operation, book, now = run.operation, run.book, moment(self.service.clock)
        deadline = book.deadline
        if deadline is not None and book.timeout_s is not None:
            # set back since the first step was entered, the wall clock alone would lengthen it
            begun = max(map(run.passed, book.entered), default=0.0)
            deadline = min(deadline, math.ceil(self.service.clock.now() - begun + book.timeout_s))
        if self.foreground:
            # a person is not made to wait before anything has begun
            first = operation.step == kind.workflow.first
            retry_for_s = 0.0 if first else FOREGROUND_RETRY_FOR_S
        else:
            owed = operation.step in kind.workflow.cleanup
            retry_for_s = CLEANUP_RETRY_FOR_S if owed else RETRY_FOR_S
        return StepStatus(
            operation.step,
            now.wall,
            deadline=deadline,
            cancel=operation.cancel,
            lost=operation.attempts,
            tries=book.tries,
            since=now.wall - book.failing_since.until(now) if book.failing_since else None,
            retry_for_s=retry_for_s,
            backs=book.backs,
            failed=book.error is not None,
            cleanup_failed=book.cleanup_error is not None,
            cancelled=bool(book.cancelled),
        )

    # --- what follows -----------------------------------------------------------------------------

    def _answered(
        self,
        run: Run[Any, Any],
        kind: OperationKind[Any, Any],
        status: StepStatus,
        answer: Wait | Again | None,
    ) -> Advance:
        _forget_trouble(run)
        if isinstance(answer, Wait):
            stay, pause = workflow.after(kind.workflow, status, Waiting(answer.most)), 0.0
            if isinstance(stay, RetryLater) and answer.behind and not self.foreground:
                pause = TURN_RECHECK
            elif isinstance(stay, RetryLater):
                # a part of the time that the step has lasted, so that short waits are seen soon
                least = 0.1 if self.foreground else answer.least
                pause = min(answer.most, max(least, 0.1 * run.passed(status.step)))
            return self._retry_later(run, answer, pause)
        if isinstance(answer, Again):
            move = workflow.after(kind.workflow, status, StepBack(answer.step))
            if not isinstance(move, NextStep) or move.failed:
                too_often = OperationFailed(f"{answer.why}, again and again", operation=run.id)
                return self._fail(run, kind, move, too_often)
            run.book = replace(run.book, backs=status.backs + 1)
            run.reenter(answer.step, status.step)
            run.say(answer.why)
            why = {"why": answer.why, "to": answer.step}
            return self._move(run, move, Note(status.step, "back", detail=why))
        seconds = self._measure(run)
        said = run.book.said
        run.conclude("")
        self.tell(run.operation, "done", said, seconds)
        note = Note(
            status.step, "finished", detail={"seconds": seconds} | ({"said": said} if said else {})
        )
        return self._move(run, workflow.after(kind.workflow, status, Done()), note)

    def _stop(
        self, run: Run[Any, Any], kind: OperationKind[Any, Any], status: StepStatus, stop: Stop
    ) -> Advance:
        if stop.cancelled:
            run.book = replace(run.book, cancelled=stop.why)
            operations = self.service.catalog.operations
            # before its own end is written down: after a crash they are asked once more
            for piece in operations.open_child_ids(run.operation.occurrence):
                why = pieces_end(run.operation.kind, stop.why)
                if operations.request_cancel(piece, why, run.now()):
                    self.hints.append(piece)
        about = (
            f"{kind.name} of guest {run.operation.subject}"
            if run.operation.subject is not None
            else f"the {kind.name}"
        )
        message = stop.why if stop.cancelled else f"{about}: {stop.why}"
        error = OperationFailed(
            message,
            "" if stop.cancelled else "run it again when the cause is known",
            operation=run.id,
        )
        return self._fail(
            run,
            kind,
            workflow.stopped(kind.workflow, status, stop),
            error,
            cancelled=stop.cancelled,
        )

    def _fail(
        self,
        run: Run[Any, Any],
        kind: OperationKind[Any, Any],
        move: workflow.Move,
        error: BackupsvcError,
        *,
        cancelled: bool = False,
    ) -> Advance:
        step, seconds = run.operation.step, self._measure(run)
        found = StepError(
            step,
            error.message,
            error.hint,
            ErrorKind.CANCELLED if cancelled else error.kind,
            error.exit_code,
        )
        # the first error stands: what fails after it follows from it more often than not
        if step in kind.workflow.cleanup:
            run.book = replace(run.book, cleanup_error=run.book.cleanup_error or found)
        else:
            run.book = replace(run.book, error=run.book.error or found)
        _forget_trouble(run)
        self.tell(run.operation, "failed", error.message, seconds)
        detail = {
            "message": error.message,
            "hint": error.hint,
            "kind": found.kind.value,
            "seconds": seconds,
        }
        return self._move(
            run,
            move,
            Note(
                step, "cancelled" if cancelled else "failed", getattr(error, "upid", None), detail
            ),
        )

    def _retry_later(self, run: Run[Any, Any], wait: Wait, pause: float) -> Advance:
        self.tell(run.operation, "wait", wait.why)
        run.book = replace(run.book, waits=wait.why)  # for those who look from elsewhere
        # in the foreground the lease is kept: who waits at the terminal drives it to its end
        park = None if self.foreground else int(self.service.clock.now() + max(1.0, pause))
        self.service.catalog.operations.record(run.id, self.driver(), kept=run.kept(), park=park)
        return Advance(_as_kept(run), wait, pause)

    def _move(self, run: Run[Any, Any], move: workflow.Move, note: Note) -> Advance:
        run.book = replace(run.book, waits="")
        if isinstance(move, Finish):
            # before the end is written: whoever dies in between has woken the next in turn already
            run.leave()
            error = run.book.cleanup_error or (
                run.book.error if move.state is not OperationState.DONE else None
            )
            text = error.message if error else None
            ended = self.service.catalog.operations.finish(
                run.id, self.driver(), move.state, kept=run.kept(), error=text, note=note
            )
            self.tell(ended, "end", text or "")
            # that it is untold is written with its end: whoever dies here leaves it to a tick
            telling.ended(self.service.catalog, self.kinds, ended, run.now())
            return Advance(ended)
        if not isinstance(move, NextStep):
            raise OperationFailed(
                f"operation {run.id} cannot stay at a step that has ended", operation=run.id
            )
        self.service.catalog.operations.record(
            run.id, self.driver(), step=move.step, kept=run.kept(), note=note
        )
        return Advance(replace(_as_kept(run), step=move.step, attempts=0))

    def _measure(self, run: Run[Any, Any]) -> float:
        step = run.operation.step
        run.lasted(step, run.passed(step))
        return run.book.seconds[step]


def _forget_trouble(run: Run[Any, Any]) -> None:
    """What went wrong at this step may have passed: from here it counts anew."""
    run.book = replace(run.book, tries=0, failing_since=None)


def _as_kept(run: Run[Any, Any]) -> Operation:
    kept = run.kept()
    return replace(run.operation, memory=kept.memory, book=kept.book)


def trouble_of(error: BackupsvcError) -> Trouble:
    """Given the error a step ended with, return what may be hoped for: silence passes, and so do
    PVE's own hiccups (5xx).

    What is known to be out of reach, or not mounted, is not waited for: a restore test of another
    guest could be made meanwhile. An answer that cannot be read is tried again as one of those: it
    is no silence, and a call that it answered may have begun.
    """
    if isinstance(error, PveAnswerUnreadable | OutOfReach | TargetMissing):
        return Trouble.TRANSIENT
    if isinstance(error, Unreachable) and not isinstance(error, PveCertificateRefused):
        return Trouble.UNAVAILABLE
    answered = isinstance(error, PveError) and not isinstance(error, PveNotFound | TaskFailed)
    # 200 is the refusal of a guest's agent (pve-facts 8.5): asked again it may answer
    if answered and isinstance(error, PveError) and (error.status >= 500 or error.status == 200):
        return Trouble.TRANSIENT
    return Trouble.PERMANENT


def pieces_end(kind: str, why: str) -> str:
    """Given the kind of an operation that is cancelled and why it is, return why those that it
    opened are cancelled.
    """
    return f"its {kind} was cancelled: {why}"


def not_open(id: str, found: Operation | None) -> OperationFailed:
    if found is None:
        return OperationFailed(
            f"there is no operation {id}",
            "list them with `backupsvc operations list`",
            operation=id,
        )
    return OperationFailed(
        f"operation {id} has already ended ({found.state})",
        f"see `backupsvc operations show {id}`",
        operation=id,
    )
