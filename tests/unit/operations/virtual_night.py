"""A night of many guests on the virtual clock, driven the workers' way: a tick every 30 s, a turn
for every hint.

Workers are modelled as an event loop: a heap of (time, message), and the worker that is free first
takes the next. A worker's calls cost virtual time, during which only that worker stands still; the
clock is set to each turn's own time, so that two turns may overlap by the length of a call. No
Celery, no network: messages are never lost here, and computing costs no virtual time.
"""

from __future__ import annotations

import heapq
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backupsvc.catalog import Catalog
from backupsvc.engine import worker_loop
from backupsvc.operations import build_engine, tick
from backupsvc.settings import ProbeSettings, Settings, SshSettings
from policies.model import OperationState
from policies.site import load_policy
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import Guest, VirtualCluster, connect
from tests.fakes.made import config_of
from tests.unit.operations.worlds import World

TICK_SECONDS = 30.0
START = 1_773_090_000 - 5  # five seconds before 2026-03-09 21:00 UTC
DUMP_SECONDS = 300.0
CALL_SECONDS, SLOW_SECONDS = 0.05, 3.0
_POLICY = """
site: virtual
timezone: UTC
scratch: {vmids: 900000-900009, storage: local, window: "sun 01:00-06:00"}  # not in this night: backups alone are counted
jobs:
  nightly: {schedule: "21:00", storage: local, guests: all, keep: keep-last=30}
tiers:
  gold: {rpo: 36h, rto: 30m, proof-age: 7d}
  silver: {rpo: 8d, rto: 4h, proof-age: 7d}
  bronze: {rpo: 31d, rto: 24h, proof-age: 30d}
default-tier: silver
guests:
"""


@dataclass
class Figures:
    """What a night came to. Seconds of ``makespan`` and ``bound`` are virtual, those of ``ticks``
    and ``wall`` real.
    """

    guests: int
    makespan: float
    bound: float
    calls: Counter[str]
    writes: int
    ticks: list[float]
    busiest_tick: float
    wall: float
    states: Counter[str]
    order_kept: bool

    @property
    def ratio(self) -> float:
        return self.makespan / self.bound

    @property
    def calls_per_guest(self) -> float:
        return sum(self.calls.values()) / self.guests

    def lines(self) -> list[str]:
        """The figures as a person reads them."""
        worst, usual = max(self.ticks), statistics.median(self.ticks)
        rows = [
            f"    {calls / self.guests:6.2f} a guest  {call}"
            for call, calls in self.calls.most_common()
        ]
        return [
            f"{self.guests} guests, states {dict(self.states)}",
            f"makespan {self.makespan:.0f} s, lower bound {self.bound:.0f} s, ratio "
            f"{self.ratio:.3f}",
            f"tick: median {usual * 1000:.0f} ms, max {worst:.3f} s, with most open "
            f"{self.busiest_tick:.3f} s",
            f"catalog writes {self.writes / self.guests:.1f} a guest; wall {self.wall:.1f} s",
            f"API calls {self.calls_per_guest:.2f} a guest:",
            *rows,
        ]


@dataclass
class Worker:
    """One worker process: a service with caches of its own, and the time at which it is free
    again.
    """

    site: World
    free: float = 0.0


@dataclass
class Night:
    """A night to be run. ``state`` is a folder of its own, ``homes`` says how many guests each node has."""

    catalog: Catalog
    state: Path
    homes: Mapping[str, int]
    slow: frozenset[str] = frozenset()
    workers: int = 4
    clock: SteppingClock = field(default_factory=lambda: SteppingClock(START))

    def __post_init__(self) -> None:
        places = [node for node, count in self.homes.items() for _ in range(count)]
        # Guests are numbered across the nodes, so that the order of VMIDs is not the order of
        # nodes.
        places = [place for offset in range(7) for place in places[offset::7]]
        guests = {
            10_001 + number: Guest(node, config_of(10_001 + number))
            for number, node in enumerate(places)
        }
        self.cluster = VirtualCluster(
            self.clock, tuple(self.homes), guests, {"vzdump": DUMP_SECONDS}
        )
        tiers = "\n".join(
            f"  {vmid}: {{tier: {('gold', 'silver', 'bronze')[vmid % 3]}}}" for vmid in guests
        )
        self.policy = load_policy(_POLICY + tiers, "virtual.yaml")
        settings = Settings.model_construct(
            ssh=SshSettings(), probe=ProbeSettings(), state_dir=self.state, simulated=True
        )
        self.crew = []
        for _ in range(self.workers):
            pve = connect(self.cluster, self.policy.scratch, self._around)
            site = World(self.catalog, self.clock, pve=pve, policy=self.policy, settings=settings)
            site.engine = build_engine(site, foreground=False)
            self.crew.append(Worker(site))
        self._heap: list[tuple[float, int, str]] = []
        self._numbers = 0
        self.ticks: list[float] = []
        self.busiest = (0, 0.0)
        self.opened: float | None = None

    def _around(self, method: str, path: str, act: Callable[[], Any]) -> Any:
        slow = any(path.startswith(f"nodes/{node}/") for node in self.slow)
        self.clock.sleep(SLOW_SECONDS if slow else CALL_SECONDS)
        return act()

    def run(self) -> Figures:
        """Let the night pass, and return what it came to."""
        began, writes = time.monotonic(), _counting(self.catalog)
        self._send(START, "tick")
        while self._heap:
            at, _, message = heapq.heappop(self._heap)
            worker = min(self.crew, key=lambda one: one.free)
            self.clock.time = max(at, worker.free)
            if message == "tick":
                self._tick(worker, at)
            else:
                self._turn(worker, message)
            worker.free = self.clock.time
        return self._figures(time.monotonic() - began, writes[0])

    def _send(self, at: float, message: str) -> None:
        self._numbers += 1
        heapq.heappush(self._heap, (at, self._numbers, message))

    def _tick(self, worker: Worker, at: float) -> None:
        began = time.monotonic()
        due = tick.tick(worker.site)
        tick.told(worker.site, due)
        spent = time.monotonic() - began
        self.ticks.append(spent)
        still = len(self.catalog.operations.find(state=OperationState.OPEN))
        self.busiest = max(self.busiest, (still, spent))
        for id in due:
            self._send(self.clock.time, id)
        if self.opened is None and still:
            self.opened = self.clock.time
        if still or self.opened is None:
            self._send(at + TICK_SECONDS, "tick")

    def _turn(self, worker: Worker, id: str) -> None:
        turn = worker_loop.work(worker.site.engine.executor, id, long=True)
        for woken in turn.hints:
            self._send(self.clock.time, woken)
        if turn.again is not None:
            self._send(self.clock.time + turn.again, id)

    def _figures(self, wall: float, writes: int) -> Figures:
        dumps = [task for task in self.cluster.tasks.values() if task.type == "vzdump"]
        assert self.opened is not None
        ended = self.catalog.operations.find(kind="backup")
        ranks = {operation.id: operation.rank for operation in ended}
        queues = [
            [ranks[task.operation] for task in dumps if task.node == node] for node in self.homes
        ]
        return Figures(
            guests=sum(self.homes.values()),
            makespan=max(task.ends for task in dumps) - self.opened,
            bound=max(self.homes.values()) * DUMP_SECONDS,
            calls=self.cluster.calls,
            writes=writes,
            ticks=self.ticks,
            busiest_tick=self.busiest[1],
            wall=wall,
            states=Counter(
                f"{operation.kind} {operation.state}"
                for operation in self.catalog.operations.find()
            ),
            order_kept=all(queue[1:] == sorted(queue[1:]) for queue in queues),
        )


def _counting(catalog: Catalog) -> list[int]:
    """Count the catalog's write transactions from now on."""
    count, write = [0], catalog._database.write

    def counted() -> Any:
        count[0] += 1
        return write()

    catalog._database.write = counted  # type: ignore[method-assign]
    return count
