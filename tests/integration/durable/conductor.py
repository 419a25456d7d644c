"""A warm process that forks: each run drives one operation in a process of its own, which may be
killed or meet a fault.

It is started as ``python -m tests.integration.durable.conductor``, reads one JSON object a line and
answers each with one. All modules are imported before the first fork and no thread lives, so that a
run costs what its calls cost. What is made once a process (compiled SQL, the forms of memories) is
made by a run of the warm process's own; what the catalog holds before and after a run is read by it
too.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

import pytest

import backupsvc.archives
import backupsvc.checks
import backupsvc.checks.watching
import backupsvc.engine.context
import backupsvc.inventory
import backupsvc.operations
import backupsvc.operations.ha_drill.travelling
import backupsvc.pve.tasks
import backupsvc.remote
import policies
from backupsvc.bootstrap import Service, open_service
from backupsvc.catalog import database
from backupsvc.clock import SystemClock
from backupsvc.engine import worker_loop
from backupsvc.errors import PveError, Unreachable
from backupsvc.operations import tick
from backupsvc.settings import Settings, load_settings
from policies.model import Operation, OperationState, Policy
from policies.site import load_policy
from tests.integration.durable.interference import break_call, watch_points
from tests.integration.durable.kinds import APART, KINDS, Kind

LOST_REPLY_GRACE_S = 1.5  # seconds; instead of 10: the lab lists a task as soon as it has begun
RECENT_AGE = 0.1  # seconds; instead of 12: how long an answer about all tasks serves
JUST_NOW = 0.1  # seconds; instead of 1: how long a task that was begun is not asked about
HEEDED_S = 2.0  # seconds; instead of 60: the lab's HA has a round each tenth of a second
SURE = 2  # good answers; instead of 30 and 10
MAX_SLEEP = 0.03
TIMEOUT_S = 120.0  # seconds of wall time in which an operation must have ended


class HastyClock(SystemClock):
    """The machine's clock, whose waits are cut short: what is waited for here takes
    milliseconds.
    """

    def sleep(self, seconds: float) -> None:
        """Wait a little."""
        time.sleep(min(seconds, MAX_SLEEP))


class Unending(Exception):
    """An operation does not end."""


@cache
def _read(path: Path) -> Policy:
    return load_policy(path.read_text(encoding="utf-8"), str(path))


def read_policy(settings: Settings) -> Policy:
    """The policy: read before the first fork, because reading it takes longer than half an
    operation.
    """
    assert settings.policy
    return _read(settings.policy)


def opened(settings: Settings, *, foreground: bool) -> Service:
    """Given the settings, return a service in a hurry."""
    service = Service(settings, HastyClock(), foreground=foreground)
    service.policy = read_policy(settings)
    service.engine.executor.lost_reply_grace_s = LOST_REPLY_GRACE_S
    return service


def hurry(change: Callable[[ModuleType, str, float], None]) -> None:
    """Shorten what backupsvc waits for, in the whole process: by ``setattr`` in one that does
    nothing else, by ``monkeypatch.setattr`` in one where other tests follow.
    """
    change(backupsvc.pve.tasks, "RECENT_AGE", RECENT_AGE)
    change(backupsvc.engine.context, "JUST_NOW", JUST_NOW)
    change(backupsvc.operations.ha_drill.travelling, "HEEDED_S", HEEDED_S)
    change(backupsvc.operations.ha_drill.travelling, "SURE", SURE)
    change(backupsvc.checks.watching, "FIRST", SURE)


def newest(service: Service, kind: Kind) -> Operation | None:
    """The operation of a kind that was opened last."""
    return next(iter(service.catalog.operations.find(kind=kind.name, limit=1)), None)


def work_to_the_end(service: Service) -> None:
    """Work as workers do, until nothing is open. Times at which an operation is due are not waited
    for.
    """
    end = time.monotonic() + TIMEOUT_S
    while True:
        tick.tick(service)
        rest = service.catalog.operations.find(state=OperationState.OPEN)
        if not rest:
            return
        for operation in rest:
            worker_loop.work(service.engine.executor, operation.id, long=True)
            if time.monotonic() > end:
                raise Unending(
                    f"{operation.kind} {operation.id} still stands at step {operation.step}"
                )
        service.clock.sleep(1)


def asked_again(service: Service, kind: Kind) -> Operation | None:
    """Open an operation. Where that fails nothing has begun, and whoever wanted it is told so: he
    asks once more.
    """
    try:
        return kind.open(service)
    except (PveError, Unreachable):
        return kind.open(service)


def drive(service: Service, kind: Kind, way: str) -> None:
    """Open an operation and drive it to its end, as a command or as a worker does."""
    operation = asked_again(service, kind)
    if way == "worker":
        work_to_the_end(service)
    else:
        service.engine.drive_one(operation)


def resume(service: Service, kind: Kind, before: str | None, *, cancel: bool) -> None:
    """Finish what a dead process left, or its cleanup alone. If it died before it opened anything,
    it is asked for again.
    """
    found = newest(service, kind)
    if found is None or found.id == before:
        asked_again(service, kind)
    elif cancel:
        service.catalog.operations.request_cancel(
            found.id, "cancelled by the administrator", int(service.clock.now())
        )
    work_to_the_end(service)


class Forked:
    """A child process that does one thing: what it said, line by line, what it returned, and the
    signal that ended it.
    """

    def __init__(self, act: Callable[[Callable[[str], None]], Any]) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            self._be(act, writer)
        os.close(writer)
        with os.fdopen(reader) as lines:
            told = [json.loads(line) for line in lines]
        _, status = os.waitpid(self.pid, 0)
        self.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        self.said: list[str] = [line["said"] for line in told if "said" in line]
        last: dict[str, Any] = next((line for line in told if "said" not in line), {})
        self.result, self.error = last.get("result"), last.get("error")

    def _be(self, act: Callable[[Callable[[str], None]], Any], writer: int) -> None:
        def tell(**line: Any) -> None:
            os.write(writer, json.dumps(line).encode() + b"\n")

        try:
            tell(result=act(lambda text: tell(said=text)))
        except BaseException as error:  # noqa: BLE001 - it is told to the parent, and the child ends here whatever happened
            tell(error=f"{error!r}\n{traceback.format_exc()}")
        os._exit(0)


def run(settings: Settings, asked: dict[str, Any]) -> dict[str, Any]:
    """Drive one operation as asked: undisturbed, killed at a point and resumed by another process,
    or with one broken call.
    """
    kind, way = (KINDS | APART)[asked["kind"]], str(asked["way"])
    if asked.get("warm"):
        return warm_up(settings, kind, way)
    before = _newest_id(settings, kind)

    def first(say: Callable[[str], None]) -> None:
        if "fault" in asked:
            break_call(say, asked["at"], asked["fault"])
        else:
            watch_points(say, asked["at"])
        drive(opened(settings, foreground=way == "command"), kind, way)

    driven, errors = Forked(first), []
    errors += [driven.error] if driven.error else []
    with open_service(settings) as service:
        errors += kind.broken(service)
    if driven.signal:
        cancel = bool(asked.get("cancel"))
        errors += [
            Forked(
                lambda say: resume(opened(settings, foreground=False), kind, before, cancel=cancel)
            ).error
        ]
    return {
        "said": driven.said,
        "killed": driven.signal == 9,
        "errors": [error for error in errors if error],
        "operations": _result(settings, kind, before),
    }


def warm_up(settings: Settings, kind: Kind, way: str) -> dict[str, Any]:
    """Drive one operation in the warm process itself."""
    service = opened(settings, foreground=way == "command")
    drive(service, kind, way)
    service.close()
    others = [one for one in threading.enumerate() if one is not threading.main_thread()]
    for one in others:
        one.join(TIMEOUT_S)  # that of an SSH connection ends a moment after it was closed
    left = [one.name for one in others if one.is_alive()]
    gc.freeze()
    return {"errors": [f"threads are left that a fork would lack: {left}"] if left else []}


def _newest_id(settings: Settings, kind: Kind) -> str | None:
    with open_service(settings) as service:
        found = newest(service, kind)
        return found.id if found else None


def _result(settings: Settings, kind: Kind, before: str | None) -> list[Any]:
    with open_service(settings) as service:
        newer = takewhile(
            lambda operation: operation.id != before,
            service.catalog.operations.find(kind=kind.name, limit=9),
        )
        told = [
            json.dumps(
                {"state": str(item.state), "history": _history(service, item)}
                | kind.result(service, item)
            ).replace(item.id, "ID")
            for item in newer
        ]
        return [json.loads(text) for text in told]


def _history(service: Service, operation: Operation) -> list[str]:
    """What is written once in an operation's history, whoever drove it."""
    once = ("started", "finished", "failed", "reserved", "removed", "task-ended")
    return [
        f"{row.step}: {row.event}"
        for row in service.catalog.operations.transitions(operation.id)
        if row.event in once
    ]


def import_all() -> None:
    """Import whatever an operation may need. None of it is ever collected, so that no fork has to
    copy it for the counting.
    """
    for package in (backupsvc.archives, backupsvc.checks, backupsvc.engine, backupsvc.inventory, backupsvc.operations,
                    backupsvc.pve, backupsvc.remote, policies):  # fmt: skip
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    gc.freeze()


def main() -> None:
    """Answer every line with a line."""
    import_all()
    # one engine for all runs: it keeps what it compiled, and no connection outlives its service
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(database, "_engine", cache(database._engine))
    hurry(setattr)
    settings = load_settings()
    read_policy(settings)
    for line in sys.stdin:
        print(json.dumps(run(settings, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
