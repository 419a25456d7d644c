"""Drives operations: one step or one poll at a time, each recorded before and after, each resumable.

The catalog is the truth. ``advance`` claims the operation's row, runs its current step's handler once, and writes down what came
of it; a handler that is waiting for something returns ``Wait`` and is called again later, by this process or another. Effects are
recorded as intents before they happen (``Run.task``), so that whoever resumes finds what was started and adopts it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backupsvc.errors import BackupsvcError, OperationFailed, Refused
from policies.model import Operation, OperationState
from policies.transitions import PLANS, Next, Plan, following, interrupted

if TYPE_CHECKING:
    from backupsvc.bootstrap import Service
    from backupsvc.pve import Pve
    from backupsvc.pve.tasks import TaskResult

LEASE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Wait:
    """A handler's answer when it must be called again. ``most`` is the longest pause between two calls, in seconds."""

    why: str
    most: float = 2.0


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an operation, for whoever watches: ``kind`` is step, done, failed, say or end."""

    operation: Operation
    kind: str
    step: str
    text: str = ""
    seconds: float = 0.0


Watcher = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Advance:
    """What one ``advance`` came to: the operation as it stands now, and the wait, if it must be called again later."""

    operation: Operation
    wait: Wait | None = None


class Run:
    """What a step's handler sees: the service, the operation, and ``data``, the operation's memory (JSON values only)."""

    def __init__(self, engine: Engine, operation: Operation) -> None:
        self.service, self.clock = engine.service, engine.service.clock
        self.operation, self.data = operation, _thaw(operation.data)
        self._engine = engine

    @property
    def id(self) -> str:
        """The operation's id."""
        return self.operation.id

    @property
    def vmid(self) -> int:
        """The guest that the operation is about."""
        if self.operation.subject is None:
            raise OperationFailed(f"operation {self.id} is about no guest", operation=self.id)
        return self.operation.subject

    def now(self) -> int:
        """Whole epoch seconds."""
        return int(self.clock.now())

    def save(self) -> None:
        """Write ``data`` to the catalog now: called before an effect that it must outlive."""
        self.service.catalog.advance(self.id, step=self.operation.step, data=self.data, at=self.now())

    def note(self, event: str, upid: str | None = None, **detail: object) -> None:
        """Append a row to the operation's history."""
        self.service.catalog.note(self.id, self.operation.step, event, self.now(), upid, detail or None)

    def say(self, text: str) -> None:
        """Tell whoever watches."""
        self._engine.watcher(Event(self.operation, "say", self.operation.step, text))

    def task(
        self, key: str, start: Callable[[], str | None], *, pve: Pve, node: str, type: str, vmid: int, what: str
    ) -> TaskResult | None:
        """Start a PVE task once, and poll it: return its result, or None while it runs.

        The intent is written before the call and the UPID after it. A resumed step that finds an intent without a UPID looks for
        the task that it may have started (same node, type and guest, since the intent) and adopts it.
        """
        upid = self.data.get(f"{key}_upid")
        if upid is None:
            upid = self.adopt(key, pve=pve, node=node, type=type, vmid=vmid) or self._begin(key, start, what)
        return pve.tasks.poll(str(upid))

    def adopt(self, key: str, *, pve: Pve, node: str, type: str, vmid: int) -> str | None:
        """Find the task that was started for an intent whose answer never came back; return its UPID, or None."""
        since = self.data.get(f"{key}_intent")
        if since is None:
            return None
        rows = pve.tasks.find(node, type=type, vmid=vmid, since=int(since))
        if not rows:
            return None
        upid = rows[0].upid
        self._remember(key, upid, "adopted")
        return upid

    def _begin(self, key: str, start: Callable[[], str | None], what: str) -> str:
        self.data[f"{key}_intent"] = self.now()
        self.save()
        self.note("intent", what=what)
        upid = start()
        if upid is None:
            raise OperationFailed(
                f"PVE accepted to {what} but started no task", "the guest may have moved: run it again", operation=self.id
            )
        self._remember(key, upid, "task")
        return upid

    def _remember(self, key: str, upid: str, event: str) -> None:
        self.data[f"{key}_upid"] = upid
        self.save()
        self.note(event, upid)


Handler = Callable[[Run], Wait | None]


class Engine:
    """Runs operations of the kinds that it was given handlers for.

    Args:
        service: where the catalog, the cluster, the policy and the clock come from.
        handlers: for each kind of operation, its steps' handlers.
        watcher: is told of everything that happens.
    """

    def __init__(self, service: Service, handlers: Mapping[str, Mapping[str, Handler]], watcher: Watcher | None = None) -> None:
        self.service, self.handlers = service, handlers
        self.watcher: Watcher = watcher or (lambda event: None)
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self.opened: list[str] = []

    def open(self, kind: str, subject: int | None, data: Mapping[str, Any], occurrence: str | None = None) -> Operation | None:
        """Given a kind, the guest it is about and what it must know, record a new operation and return it.

        Return None when that occurrence was opened before (law 9). Raise Refused when the guest already has an operation at work;
        one whose owner is gone is cleaned up first.
        """
        if PLANS[kind].alone:
            self._make_way(kind, subject)
        now = int(self.service.clock.now())
        opened = self.service.catalog.open_operation(kind, subject, PLANS[kind].first, dict(data), now, occurrence)
        if opened:
            self.service.catalog.claim(opened.id, self.owner, now, LEASE_SECONDS)
            self.opened.append(opened.id)
        return opened

    def _make_way(self, kind: str, subject: int | None) -> None:
        for other in self.service.catalog.operations(subject=subject, state=OperationState.OPEN):
            if other.subject != subject or (subject is None and other.kind != kind):
                continue
            if self._at_work(other):
                about = f"guest {subject}" if subject is not None else f"a {kind}"
                raise Refused(
                    f"{about} already has an operation at work: {other.kind} {other.id}, at step {other.step}",
                    f"wait for it, or look at it with `backupsvc operations show {other.id}`",
                )
            self.service.catalog.release(other.id, str(other.lease_owner))
            self.abandon(other.id, "its driver disappeared")

    def _at_work(self, operation: Operation) -> bool:
        """Whether somebody drives it: a lease that runs, unless its holder was a process of this machine that is no more."""
        if operation.lease_until is None or operation.lease_until <= self.service.clock.now():
            return operation.lease_until is None and operation.created > self.service.clock.now() - LEASE_SECONDS
        host, _, pid = str(operation.lease_owner).rpartition(":")
        return host != socket.gethostname() or (pid.isdigit() and _alive(int(pid)))

    def drive_one(self, operation: Operation | None) -> Operation:
        """Given what ``open`` returned, drive it to its end. Raise Refused if it was opened by somebody else."""
        if operation is None:
            raise Refused("this was opened before, by somebody else", "look at it with `backupsvc operations list`")
        return self.drive([operation.id])[0]

    def drive(self, ids: Sequence[str]) -> list[Operation]:
        """Given operations' ids, advance them side by side until all have ended; return them as they ended.

        An interrupt (Ctrl-C, or a fault of ours) first does the cleanup that is owed, then goes on its way.
        """
        ended: dict[str, Operation] = {}
        try:
            self._turns(list(ids), ended)
        except BaseException:
            for id in ids:
                if id not in ended:
                    self.abandon(id, "interrupted")
            raise
        return [ended[id] for id in ids]

    def _turns(self, ids: list[str], ended: dict[str, Operation]) -> None:
        clock = self.service.clock
        due = dict.fromkeys(ids, 0.0)
        pauses: dict[str, float] = {}
        while due:
            id = min(due, key=lambda key: due[key])
            clock.sleep(max(0.0, due[id] - clock.monotonic()))
            outcome = self.advance(id)
            if outcome.operation.state is not OperationState.OPEN:
                ended[id] = outcome.operation
                del due[id]
            elif outcome.wait:
                pauses[id] = min(outcome.wait.most, pauses.get(id, 0.07) * 1.5)
                due[id] = clock.monotonic() + pauses[id]
            else:
                pauses.pop(id, None)
                due[id] = clock.monotonic()

    def advance(self, id: str) -> Advance:
        """Given an operation's id, do one step or one poll of it. Raise Refused when another process holds it."""
        catalog, now = self.service.catalog, int(self.service.clock.now())
        operation = catalog.operation(id)
        if operation is None:
            raise OperationFailed(f"there is no operation {id}", "list them with `backupsvc operations list`", operation=id)
        if operation.state is not OperationState.OPEN:
            return Advance(operation)
        if not catalog.claim(id, self.owner, now, LEASE_SECONDS):
            raise Refused(f"operation {id} is driven by another process", "wait for it to end")
        return self._step(operation)

    def abandon(self, id: str, why: str) -> None:
        """Cancel an operation: skip to the cleanup that it owes and do all of that."""
        operation = self.service.catalog.operation(id)
        if operation is None or operation.state is not OperationState.OPEN:
            return
        then = interrupted(PLANS[operation.kind], operation.step)
        data = _thaw(operation.data)
        data.setdefault("error", {"step": operation.step, "message": why, "hint": "", "kind": "Cancelled", "exit_code": 1})
        self.service.catalog.note(id, operation.step, "cancelled", int(self.service.clock.now()), None, {"why": why})
        self._apply(operation, then, data)
        if then.step:
            self._turns([id], {})

    def _step(self, operation: Operation) -> Advance:
        run, plan = Run(self, operation), PLANS[operation.kind]
        self._enter(run)
        try:
            self._check_deadline(run, plan)
            wait = self.handlers[operation.kind][operation.step](run)
        except BackupsvcError as error:
            return self._failed(run, plan, error)
        if wait is not None:
            run.save()  # also when nothing changed: the row's time shows that somebody is at it
            return Advance(operation, wait)
        return self._done(run, plan)

    def _enter(self, run: Run) -> None:
        step = run.operation.step
        entered = run.data.setdefault("entered", {})
        if step not in entered:
            entered[step] = self.service.clock.now()
            run.save()
            run.note("started")
            self.watcher(Event(run.operation, "step", step))

    def _check_deadline(self, run: Run, plan: Plan) -> None:
        deadline = run.data.get("deadline")
        if deadline is not None and run.operation.step in plan.steps and run.now() > int(deadline):
            raise OperationFailed(
                f"{plan.kind} of guest {run.operation.subject} passed its deadline at step {run.operation.step}", operation=run.id
            )

    def _done(self, run: Run, plan: Plan) -> Advance:
        seconds = self._measure(run)
        run.note("finished", seconds=seconds)
        self.watcher(Event(run.operation, "done", run.operation.step, str(run.data.pop("said", "")), seconds))
        failed_before = "error" in run.data and not plan.failure_is_result
        then = following(plan, run.operation.step, failed=False, failed_before=failed_before or "cleanup_error" in run.data)
        return self._apply(run.operation, then, run.data)

    def _failed(self, run: Run, plan: Plan, error: BackupsvcError) -> Advance:
        step, seconds = run.operation.step, self._measure(run)
        run.note("failed", getattr(error, "upid", None), message=error.message, hint=error.hint, kind=type(error).__name__)
        key = "cleanup_error" if step in plan.cleanup else "error"
        run.data.setdefault(key, describe(step, error))
        self.watcher(Event(run.operation, "failed", step, error.message, seconds))
        return self._apply(run.operation, following(plan, step, failed=True), run.data)

    def _measure(self, run: Run) -> float:
        step = run.operation.step
        seconds = max(0.0, self.service.clock.now() - float(run.data["entered"][step]))
        run.data.setdefault("seconds", {})[step] = round(seconds, 3)
        return seconds

    def _apply(self, operation: Operation, then: Next, data: dict[str, Any]) -> Advance:
        catalog, now = self.service.catalog, int(self.service.clock.now())
        if then.step is not None:
            catalog.advance(operation.id, step=then.step, data=data, at=now)
            return Advance(replace(operation, step=then.step, data=data, updated=now))
        error = data.get("cleanup_error") or (data.get("error") if then.state is not OperationState.DONE else None)
        catalog.advance(operation.id, step=operation.step, data=data, at=now)
        catalog.finish(operation.id, then.state, now, error["message"] if error else None)
        ended = catalog.operation(operation.id) or operation
        self.watcher(Event(ended, "end", operation.step, error["message"] if error else ""))
        return Advance(ended)


def describe(step: str, error: BackupsvcError) -> dict[str, Any]:
    """Given the error a step ended with, return what an operation remembers of it."""
    found: dict[str, Any] = {"step": step, "message": error.message, "hint": error.hint}
    found |= {"kind": type(error).__name__, "exit_code": error.exit_code}
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _thaw(value: Any) -> Any:
    """Given JSON-like data, return a deep copy made of plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_thaw(item) for item in value]
    return value
