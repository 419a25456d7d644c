"""A cluster that lives on virtual time, and the workers that live on it: nights of hours pass in a
moment.

What is simulated: PVE (dumps take their time and leave an archive) and the restore test's steps
(they only take their time and the node's turn). What is real: the catalog, the engine, the night,
the backup's steps, the tick.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
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
from backupsvc.pve.cluster import PveJob
from backupsvc.settings import Settings
from policies import windows
from policies.causes import Cause
from policies.external_backups import Dumping
from policies.model import (
    Archive,
    Guest,
    GuestPolicy,
    GuestType,
    Job,
    Node,
    OperationState,
    Policy,
    Proof,
    Rung,
    Scratch,
    Stage,
    Tier,
    Verdict,
)
from tests.fakes.clock import SteppingClock
from tests.fakes.made import CONFIG
from tests.unit.operations.cluster import RUNNING, ended
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


@dataclass
class Farm:
    """A cluster by script. ``where`` is the node of each guest; a dump takes ``dump_seconds`` and
    fails for ``sick`` guests.
    """

    clock: SteppingClock
    where: dict[int, str] = field(
        default_factory=lambda: {101: "clovis", 102: "clovis", 103: "lge-pve02"}
    )
    dump_seconds: int = 300
    sick: set[int] = field(default_factory=set)
    offline: set[str] = field(default_factory=set)
    pve_jobs: list[PveJob] = field(default_factory=list)
    others: list[Dumping] = field(default_factory=list)
    archives: list[Archive] = field(default_factory=list)
    dumps: list[tuple[int, str, int]] = field(default_factory=list)
    begun: dict[str, int] = field(default_factory=dict)
    token_id: str = "svc@pve!b1"

    def __post_init__(self) -> None:
        self.cluster = SimpleNamespace(
            guests=self._guests, nodes=self._nodes, jobs=lambda max_age=0.0: self.pve_jobs
        )
        self.tasks = SimpleNamespace(
            poll=self._poll,
            find=self._find,
            surely_runs=lambda upid: False,
            dumps_of_others=lambda: self.others,
        )
        self.vzdump = SimpleNamespace(start=self._start)
        self.agent = SimpleNamespace(state=lambda node, vmid: RUNNING, frozen=self._frozen)
        self.storage = SimpleNamespace(
            archives=self._archives,
            backup_defaults=lambda node, storage, max_age=0.0: {},
            extract_config=lambda node, volid: CONFIG,
        )

    def leave(self, vmid: int, ctime: int, notes: str = "") -> Archive:
        """Given a guest and a time, put an archive of it there, as a dump that ended then leaves
        it.
        """
        made = Archive(
            f"local:backup/{vmid}-{ctime}",
            self.where[vmid],
            "local",
            vmid,
            GuestType.QEMU,
            ctime,
            1000,
            notes=notes,
        )
        self.archives.append(made)
        return made

    def _guests(self, max_age: float = 0.0) -> list[Guest]:
        return [
            Guest(vmid, f"g{vmid}", node, status="unknown" if node in self.offline else "running")
            for vmid, node in sorted(self.where.items())
        ]

    def _nodes(self, max_age: float = 0.0) -> list[Node]:
        return [Node(name, name not in self.offline) for name in sorted({*self.where.values()})]

    def _start(self, node: str, vmid: int, **asked: Any) -> str:
        now = int(self.clock.now())
        assert node not in self.offline
        for upid, begun in self.begun.items():
            assert f":{node}:" not in upid or begun + self.dump_seconds <= now, (
                "two dumps at a time on one node"
            )
        upid = (
            f"UPID:{node}:{len(self.begun):08X}:00097285:{now:08X}:vzdump:{vmid}:{self.token_id}:"
        )
        self.begun[upid] = now
        self.dumps.append((now, node, vmid))
        if vmid not in self.sick:
            self.leave(vmid, now, str(asked["notes"]))
        return upid

    def _frozen(self, node: str, vmid: int) -> bool:
        """Never asked while a dump of the guest runs."""
        running = [
            upid
            for upid, begun in self.begun.items()
            if self.clock.now() < begun + self.dump_seconds
        ]
        assert not [upid for upid in running if _vmid(upid) == vmid], (
            f"guest {vmid} is asked while it is dumped"
        )
        return False

    def _poll(self, upid: str) -> Any:
        if self.clock.now() < self.begun[upid] + self.dump_seconds:
            return None
        return replace(ended("job errors" if _vmid(upid) in self.sick else "OK"), upid=upid)

    def _find(self, node: str, *, type: str, vmid: int, since: int) -> list[Any]:
        return [
            SimpleNamespace(upid=upid)
            for upid, begun in self.begun.items()
            if upid.startswith(f"UPID:{node}:") and _vmid(upid) == vmid and begun >= since
        ]

    def _archives(self, node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        assert node not in self.offline
        return [item for item in self.archives if item.node == node and item.vmid == vmid]


def _vmid(upid: str) -> int:
    return int(upid.split(":")[6])


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
                (item for item in self.farm.archives if item.vmid == run.vmid),
                key=lambda item: item.ctime,
            )
            took = next(
                (item for item in self.farm.archives if item.volid == run.memory.volid), newest
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
    made = world(f"sqlite:///{directory / 'catalog.db'}")
    made.clock.time = float(start)
    farm = Farm(made.clock)
    made.policy, made.pve, made.settings = wanted, farm, Settings(state_dir=directory)
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
