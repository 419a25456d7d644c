"""Who acts on operations in the model test: workers and people's commands that crash, sleep, or
meet a cluster that misbehaves.

Every actor passes a *point* before and after each write to the catalog and each call to the
cluster. What happens at the nth point of a turn is its fate, drawn by Hypothesis.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import bindparam, select

from backupsvc.catalog import Catalog
from backupsvc.catalog.database import Database
from backupsvc.catalog.operations import Driver, Kept, Note, OperationRepository
from backupsvc.catalog.tables import OPERATION
from backupsvc.engine.executor import Advance
from backupsvc.engine.foreground import Engine
from backupsvc.errors import PveError, PveUnreachable
from backupsvc.operations import build_engine
from backupsvc.settings import ProbeSettings, Settings, SshSettings
from policies.model import Policy
from tests.fakes.cluster import VirtualCluster, connect
from tests.unit.operations.worlds import World

LEASE_SAFE = 60.0  # seconds that an actor may sleep at any point: far less than a lease


T = TypeVar("T")
_OWNER = select(OPERATION.c.lease_owner).where(OPERATION.c.id == bindparam("id"))


class Dead(BaseException):
    """The process was killed: whatever it still tries to do does not happen."""


@dataclass(frozen=True)
class Fate:
    """What happens at the ``at``-th point of a turn (from 1): ``crash``, ``interrupt``, ``sleep``,
    or a call that goes wrong.

    Of all calls, counted from 1: ``silent`` does not act, ``refused`` is PVE's own error. Of those
    that change something: ``lost`` acts and loses the answer, ``late`` does so after some seconds,
    ``before`` and ``after`` kill the caller there. ``seconds`` are those of the sleep, or of the
    delay; who was killed for more than none is known to be gone. ``meanwhile`` is who acts during a
    sleep.
    """

    kind: str
    at: int
    seconds: float = 0.0
    meanwhile: tuple[int, ...] = ()


CALLS = frozenset({"silent", "refused"})
CHANGES = frozenset({"lost", "late", "before", "after"})


@dataclass
class Turn:
    """A turn under way: how many points it has passed, whether its actor is dead, and whether a
    fence was just passed.

    Between the record of an intent and the call that it announces there is no fence, and cannot be
    one: PVE knows no leases. A process that is suspended just there for longer than its lease may
    act a second time. The model knows this window and does not put long sleeps into it.
    """

    actor: Actor
    fate: Fate | None
    passed: int = 0
    calls: int = 0
    changes: int = 0
    dead: bool = False
    acting: bool = False
    operations: list[str] = field(default_factory=list)


class WatchedOperations(OperationRepository):
    """The real ones; ``stage`` hears of every write, and every fenced write is checked against the
    row's own lease.
    """

    stage: Stage

    def record(
        self,
        id: str,
        driver: Driver,
        *,
        step: str | None = None,
        kept: Kept | None = None,
        note: Note | None = None,
        park: int | None = None,
    ) -> None:
        with self.stage.fenced(id, driver):
            if note is not None and note.event == "intent":
                self.stage.acting()
            super().record(id, driver, step=step, kept=kept, note=note, park=park)

    def finish(self, id: str, driver: Driver, state: Any, **given: Any) -> Any:
        with self.stage.fenced(id, driver):
            return super().finish(id, driver, state, **given)


class WatchedCatalog(Catalog):
    """The real catalog, whose operations are watched.

    ``known`` is what a model has read of it, and forgets at each write: its invariants ask for the
    same again and again.
    """

    operations: WatchedOperations

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.operations = WatchedOperations(database)
        self.known: dict[str, Any] = {}

    def read(self, what: str, ask: Callable[[], T]) -> T:
        """Given a question and how the catalog answers it, return the answer; nobody changes it."""
        if what not in self.known:
            self.known[what] = ask()
        found: T = self.known[what]
        return found


def watch(engine: Engine, stage: Stage) -> None:
    """Let an engine tell the stage which operation it is at."""
    advance = engine.executor.advance

    def watched(id: str) -> Advance:
        with stage.at(id):
            return advance(id)

    engine.executor.advance = watched  # type: ignore[method-assign]


@dataclass
class Actor:
    """A process: its engine, its own connection to the cluster, and whether it is at work (or dead)
    at the moment.
    """

    name: str
    site: World
    busy: bool = False


class Stage:
    """Where the actors act, one inside the other: while one sleeps, others take their turns."""

    def __init__(
        self,
        catalog: WatchedCatalog,
        cluster: VirtualCluster,
        policy: Policy,
        lost_reply_grace_s: float,
    ) -> None:
        self.catalog, self.cluster, self.policy, self.clock, self.lost_reply_grace_s = (
            catalog,
            cluster,
            policy,
            cluster.clock,
            lost_reply_grace_s,
        )
        self.turns: list[Turn] = []
        self.gone: set[str] = set()
        self.meanwhile: Callable[[int], None] = lambda number: None
        self._numbers = itertools.count(1)
        catalog.known.clear()
        catalog.operations.stage = self
        self._write = catalog._database.write
        catalog._database.write = self._watched_write  # type: ignore[method-assign]
        cluster.operation = lambda: (
            self.turns[-1].operations[-1] if self.turns and self.turns[-1].operations else ""
        )

    def has_log(self) -> bool:
        """Whether who is on stage tells of outcomes: workers do, and commands have no log."""
        return bool(self.turns) and not self.turns[-1].actor.site.engine.foreground

    def close(self) -> None:
        """Leave the catalog as it was."""
        self.catalog.known.clear()
        self.catalog._database.write = self._write  # type: ignore[method-assign]

    def actor(self, name: str, *, foreground: bool = False) -> Actor:
        """A new process."""
        settings = Settings.model_construct(
            ssh=SshSettings(), probe=ProbeSettings(), simulated=True
        )
        pve = connect(self.cluster, self.policy.scratch, self._around)
        site = World(
            self.catalog,
            self.clock,
            pve=pve,
            restore_pve=pve,
            policy=self.policy,
            settings=settings,
        )
        plain = build_engine(site)
        site.engine = Engine(
            site, plain.kinds, foreground=foreground, lost_reply_grace_s=self.lost_reply_grace_s
        )
        watch(site.engine, self)
        site.engine.executor.owner = f"{name}:{next(self._numbers)}"
        return Actor(name, site)

    def take_turn(self, actor: Actor, fate: Fate | None, act: Callable[[], Any]) -> Any:
        """Let an actor act; return what came of it, or None if it died or was interrupted."""
        self.turns.append(Turn(actor, fate))
        actor.busy = True
        try:
            return act()
        except (Dead, KeyboardInterrupt):
            return None
        finally:
            turn = self.turns.pop()
            actor.busy = turn.dead
            # whoever they are for is found by a tick, or by chance
            actor.site.engine.executor.hints.clear()

    @contextmanager
    def at(self, operation: str) -> Iterator[None]:
        """The actor on stage works at an operation."""
        self.turns[-1].operations.append(operation)
        try:
            yield
        finally:
            self.turns[-1].operations.pop()

    def acting(self) -> None:
        """An intent is being recorded: from here to the call that it announces there is no
        fence.
        """
        if self.turns:
            self.turns[-1].acting = True

    @contextmanager
    def fenced(self, id: str, driver: Driver) -> Iterator[None]:
        """Check that a write which goes through was made by the one who holds the lease."""
        self._point()
        with self.catalog._database.read() as connection:
            owner = connection.execute(_OWNER, {"id": id}).scalar()
        yield
        assert owner == driver.owner, f"{driver.owner} wrote to {id} of {owner}"

    @contextmanager
    def _watched_write(self) -> Iterator[Any]:
        self._point()
        try:
            with self._write() as connection:
                yield connection
        finally:
            self.catalog.known.clear()
        self._point()

    def _around(self, method: str, path: str, act: Callable[[], Any]) -> Any:
        self._point()
        turn, changes = self.turns[-1], method != "GET"
        turn.calls, turn.changes = turn.calls + 1, turn.changes + changes
        fate = turn.fate
        hit = fate and (
            (fate.kind in CALLS and fate.at == turn.calls)
            or (fate.kind in CHANGES and fate.at == turn.changes and changes)
        )
        try:
            return self._wrong(turn, fate, act) if fate and hit else act()
        finally:
            turn.acting = turn.acting and not changes
            self._point()

    def _wrong(self, turn: Turn, fate: Fate, act: Callable[[], Any]) -> Any:
        if fate.kind == "refused":
            raise PveError("got timeout", status=500, text="got timeout")
        if fate.kind == "late":
            self.cluster.later(fate.seconds, act)
        elif fate.kind in ("lost", "after"):
            act()
        if fate.kind in ("before", "after"):
            self._break_off(turn, fate)
        raise PveUnreachable("nobody answers; whether it was carried out is not known")

    def _point(self) -> None:
        if not self.turns:
            return
        turn = self.turns[-1]
        if turn.dead:
            raise Dead
        turn.passed += 1
        fate = turn.fate
        if fate is None or fate.kind in CALLS | CHANGES or turn.passed < fate.at:
            return
        if fate.kind == "sleep":
            if turn.acting and fate.seconds > LEASE_SAFE:
                return  # at the next point, then
            turn.fate = None
            self._sleep(fate)
        else:
            turn.fate = None
            self._break_off(turn, fate)

    def _break_off(self, turn: Turn, fate: Fate) -> None:
        if fate.kind == "interrupt":
            raise KeyboardInterrupt
        turn.dead = True
        if fate.seconds:  # it died on this machine, which is noticed at once
            self.gone.add(turn.actor.site.engine.executor.owner)
        raise Dead

    def _sleep(self, fate: Fate) -> None:
        self.clock.sleep(fate.seconds)
        for number in fate.meanwhile:
            self.meanwhile(number)
