"""A cluster that lives on virtual time, and the workers that live on it: nights of hours pass in a
moment.

What is simulated: PVE (dumps take their time and leave an archive) and the restore test's steps
(they only take their time and the node's turn). What is real: the catalog, the engine, the night,
the backup's steps, the tick.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from backupsvc.engine import worker_loop
from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.operations import tick
from backupsvc.operations.job_run.memory import recall
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.prune.memory import PruneMemory
from backupsvc.operations.restore_test.memory import Judged, RestoreTestMemory
from backupsvc.operations.services import Run
from backupsvc.settings import Settings
from policies import windows
from policies.causes import Cause
from policies.model import (
    Archive,
    GuestPolicy,
    GuestType,
    Job,
    OperationState,
    Policy,
    Proof,
    Rung,
    Scratch,
    Stage,
    Tier,
    Verdict,
)
from tests.catalogs import new_catalog
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import Guest, Task, VirtualCluster, connect
from tests.fakes.made import config_of
from tests.fakes.state import TOKEN_ID, Said
from tests.unit.operations.worlds import World, kinds_with, world

PARIS = ZoneInfo("Europe/Paris")
TICK, IDLE = 30, 600
TIERS = MappingProxyType(
    {
        "gold": Tier("gold", 36 * 3600, 900, 2 * 86400),
        "iron": Tier("iron", 8 * 86400, 3600, 7 * 86400),
    }
)


def at(text: str, fold: int = 0) -> int:
    """Given a local time in Paris, return epoch seconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=PARIS, fold=fold).timestamp())


def local(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, PARIS).strftime("%m-%d %H:%M")


def policy(
    *jobs: Job,
    window: str | None = None,
    tiers: dict[int, str] | None = None,
    node: str | None = None,
) -> Policy:
    """Given jobs, return a policy in Paris time."""
    scratch = Scratch(9000, 9009, window=windows.parse(window) if window else None, node=node)
    guests = MappingProxyType(
        {vmid: GuestPolicy(vmid, "", tier) for vmid, tier in (tiers or {}).items()}
    )
    return Policy("s", "Europe/Paris", "en", jobs, TIERS, guests, scratch, "iron")


class Farm(VirtualCluster):
    """The cluster of a site in Paris time: a dump takes five minutes and fails for ``sick`` guests,
    two never run at a time on one node, and nothing is asked of a node that is off.
    """

    def __init__(self, clock: SteppingClock) -> None:
        super().__init__(clock, (), seconds={"vzdump": 300.0}, zone=PARIS.key)
        self.sick: set[int] = set()
        self.on_start = self._begun
        self.place({101: "clovis", 102: "clovis", 103: "lge-pve02"})

    def place(self, where: dict[int, str]) -> None:
        """Have these guests and no others, each on its node."""
        self.nodes = tuple(sorted({*where.values()}))
        self.guests = {
            vmid: Guest(node, config_of(vmid) | {"name": f"g{vmid}"})
            for vmid, node in where.items()
        }

    @property
    def dumps(self) -> list[tuple[int, str, int]]:
        """When each dump of ours began, where, and of whom."""
        return [
            (int(task.began), task.node, task.vmid)
            for task in self.tasks.values()
            if task.type == "vzdump" and task.user == TOKEN_ID
        ]

    def there(self) -> list[Archive]:
        """Every archive of every node."""
        return [
            Archive(
                volid, node, "local", row["vmid"], GuestType.QEMU, row["ctime"], row["size"],
                notes=row["notes"],
            )
            for (node, volid), row in self.archives.items()
        ]  # fmt: skip

    def leave(self, vmid: int, ctime: int) -> Archive:
        """Given a guest and a time, put an archive of it there, as a dump that ended then leaves
        it.
        """
        self.add_archive(self.guests[vmid].node, vmid, ctime)
        return self.there()[-1]

    def dump_of_somebody(self, node: str, vmid: int, began: int) -> None:
        """Let an administrator's dump run since then (of several guests, if ``vmid`` is 0)."""
        self.task_of("vzdump", vmid, None, "root@pam", node, float(began))

    def end_others(self) -> None:
        """Let what administrators have running end."""
        for task in [task for task in self.running.values() if task.user != TOKEN_ID]:
            self._end(task, "OK")

    def answer(self, method: str, path: str, asked: Mapping[str, Any]) -> Said:
        """Given a call, return its answer; no dump and no listing is asked of a node that is
        off.
        """
        if path.endswith(("/vzdump", "/content")):
            assert path.split("/")[1] not in self.offline, f"{method} {path} of a node that is off"
        return super().answer(method, path, asked)

    def _begun(self, task: Task) -> None:
        beside = [
            one
            for one in self.running.values()
            if one is not task and (one.type, one.node, one.user) == ("vzdump", task.node, TOKEN_ID)
        ]
        assert not beside, "two dumps at a time on one node"
        if task.vmid in self.sick:
            task.exitstatus = "job errors"


@dataclass
class Site:
    """A site with its workers: ``tests`` is when each restore test began, and of whom;
    ``test_seconds`` how long each takes.
    """

    world: World
    farm: Farm
    test_seconds: dict[int, int] = field(default_factory=dict)
    tests: list[tuple[int, int]] = field(default_factory=list)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    # of each test of a guest, one after the other
    causes: dict[int, list[str | None]] = field(default_factory=dict)
    waiting: deque[str] = field(default_factory=deque)
    # when each restore test did, by its operation
    began: dict[str, int] = field(default_factory=dict)

    def live(
        self, until: int, *, beat: bool = True, each: Callable[[], None] = lambda: None
    ) -> None:
        """Let time pass until then: with a beat and a worker, or with neither."""
        clock, engine = self.world.clock, self.world.engine
        while clock.now() < until:
            if beat:
                self.waiting.extend(tick.tick(self.world))
                self._work(engine)
            each()
            clock.sleep(min(self._pause(clock.now()), until - clock.now()))

    def _pause(self, now: float) -> float:
        """Ticks that would find nothing are left out: to the next thing that is due, or ten minutes
        (every schedule's grain).
        """
        due = [item.due for item in self.world.catalog.operations.find(state=OperationState.OPEN)]
        quiet = min([*due, (now // IDLE + 1) * IDLE]) - now
        return max(TICK, quiet // TICK * TICK) if now % TICK == 0 else TICK - now % TICK

    def _work(self, engine: Engine) -> None:
        done: set[str] = set()
        while self.waiting:
            id = self.waiting.popleft()
            if id in done:
                continue
            turn = worker_loop.work(engine.executor, id, long=True)
            done.add(id)
            for hint in turn.hints:
                done.discard(hint)
                self.waiting.append(hint)

    def nights(self) -> list[tuple[str, str]]:
        """Every night's local time and its state, in the order of their times."""
        found = [
            (recall(item).at, str(item.state))
            for item in self.world.catalog.operations.find(kind="night")
        ]
        return [(local(at), state) for at, state in sorted(found, key=lambda one: one[0])]

    def test_handlers(self) -> dict[str, Callable[[Run[RestoreTestMemory]], Wait | None]]:
        def reserve(run: Run[RestoreTestMemory]) -> Wait | None:
            return run.turn("restore clovis", "another copy is being tested")

        def restore(run: Run[RestoreTestMemory]) -> Wait | None:
            if run.id not in self.began:
                self.began[run.id] = run.now()
                self.tests.append((run.now(), run.vmid))
            over = self.began[run.id] + self.test_seconds.get(run.vmid, 600)
            return Wait("restoring", most=5.0) if run.now() < over else None

        def judge(run: Run[RestoreTestMemory]) -> Wait | None:
            verdict = (
                Verdict.INCONCLUSIVE
                if run.book.error
                else self.verdicts.get(run.vmid, Verdict.PROVEN)
            )
            cause = causes.pop(0) if (causes := self.causes.get(run.vmid)) else None
            verdict = Verdict.INCONCLUSIVE if cause else verdict
            seconds = run.book.seconds
            newest = max(
                (item for item in self.farm.there() if item.vmid == run.vmid),
                key=lambda item: item.ctime,
            )
            took = next(
                (item for item in self.farm.there() if item.volid == run.memory.volid), newest
            )
            run.service.catalog.proofs.record(
                Proof(
                    run.id, run.vmid, took.volid, took.node, took.ctime, verdict, Rung.HEALTHY, run.now(), run.now(),
                    stages=tuple(Stage(name, value) for name, value in seconds.items()),
                )
            )  # fmt: skip
            run.memory = replace(
                run.memory, proof=Judged(verdict, cause=Cause(cause) if cause else None)
            )
            return None

        def leave(run: Run[RestoreTestMemory]) -> Wait | None:
            run.leave()
            return None

        steps = ("choose", "begin", "read", "isolate", "start", "boot", "check", "settle")
        nothing: dict[str, Callable[[Run[RestoreTestMemory]], Wait | None]] = {
            step: lambda run: None for step in steps
        }
        return nothing | {
            "reserve": reserve,
            "restore": restore,
            "tear-down": leave,
            "judge": judge,
        }


@contextmanager
def site(directory: Path, wanted: Policy, start: int) -> Iterator[Site]:
    """Given a policy and a time, yield a site whose catalog is new."""
    made = world(new_catalog(directory))
    made.clock.time = float(start)
    farm = Farm(made.clock)
    made.policy, made.settings = wanted, Settings(state_dir=directory)
    made.pve = connect(farm, wanted.scratch)
    found = Site(made, farm)
    plan = KINDS["prune"].workflow
    prune: dict[str, Callable[[Run[PruneMemory]], Wait | None]] = {
        step: lambda run: None for step in plan.steps + plan.cleanup
    }
    made.engine = Engine(
        made, kinds_with({"restore-test": found.test_handlers(), "prune": prune}), foreground=False
    )
    try:
        yield found
    finally:
        made.catalog.close()
