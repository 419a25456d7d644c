"""The engine against a model: random interleavings of workers and commands, with crashes, sleepers,
lost answers and duplicates.

The catalog (SQLite, in memory), the engine, every operation's handlers and the adapters over the
HTTP client are the real ones; the cluster and the clock are virtual. Whatever happens, the laws
hold after each step; and when the trouble is over, one fresh worker brings everything to its end
and nothing is left behind (laws 1 and 9).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from backupsvc import events
from backupsvc.catalog.tables import TRANSITION, UNTOLD
from backupsvc.catalog.untold import HEAD_START
from backupsvc.engine import drivers, worker_loop
from backupsvc.engine.executor import LOST_REPLY_GRACE_S
from backupsvc.errors import BackupsvcError
from backupsvc.inventory import accepting
from backupsvc.operations import tick
from backupsvc.operations.backup import memory as backup_memory
from backupsvc.operations.backup.opening import open_backup
from backupsvc.operations.prune.opening import open_prune
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore_test.opening import open_test
from policies import ownership
from policies.jobs import Expected
from policies.model import Archive, GuestType, Operation, OperationState
from policies.model import Guest as KnownGuest
from policies.outcomes import Event
from policies.site import load_policy
from tests.fakes.clock import SteppingClock
from tests.fakes.cluster import Guest, Task, VirtualCluster
from tests.fakes.made import config_of
from tests.unit.operations.actors import CALLS, CHANGES, Actor, Fate, Stage, WatchedCatalog
from tests.unit.operations.worlds import emptied

START = 1_773_122_400.0  # 2026-03-10 06:00 UTC, a Tuesday: no night is due for days
GUESTS = {101: "n1", 102: "n1", 103: "n2"}
LOST = (110, 111)  # guests that are gone, with an archive each
KINDS = ("backup", "restore-test", "restore", "prune")
WORKERS = 3
POLICY = load_policy(
    """
site: model
timezone: UTC
scratch: {vmids: 9000-9001, storage: local, restore-timeout: 1h, settle: 0s}  # calls are counted
jobs:
  nightly: {schedule: "sun 21:00", storage: local, guests: [101, 102, 103], keep: keep-last=1, timeout: 1h}
tiers:
  gold: {rpo: 36h, rto: 30m, proof-age: 7d}
  silver: {rpo: 8d, rto: 4h, proof-age: 7d}
default-tier: silver
guests:
  102: {tier: gold}
prune: {max-share: 100%}
""",
    "model.yaml",
)

_LINES = select(TRANSITION).order_by(TRANSITION.c.operation, TRANSITION.c.seq)
_UNTOLD = select(UNTOLD.c.operation)

INVARIANT = "hypothesis_stateful_invariant"  # by which Hypothesis knows them

numbers = st.integers(0, 7)
fates = st.one_of(
    st.none(),
    st.builds(Fate, st.just("crash"), st.integers(1, 40), st.sampled_from([0.0, 1.0])),
    st.builds(
        Fate,
        st.just("sleep"),
        st.integers(1, 40),
        st.sampled_from([5.0, 30.0, 610.0, 4000.0]),
        st.lists(numbers, max_size=12).map(tuple),
    ),
    st.builds(Fate, st.sampled_from(sorted(CALLS)), st.integers(1, 8)),
    st.builds(
        Fate,
        st.sampled_from(sorted(CHANGES)),
        st.integers(1, 2),
        st.sampled_from([0.0, 0.5, 5.0, 8.0]),
    ),
)


class EngineModel(RuleBasedStateMachine):
    """What the model knows besides the catalog: who was asked for, what has ended, and what the
    cluster was made to do.
    """

    catalog: WatchedCatalog
    lost_reply_grace_s = LOST_REPLY_GRACE_S

    @initialize(wanted=st.lists(st.tuples(st.sampled_from(KINDS), numbers), min_size=2, max_size=6))
    def begin(self, wanted: list[tuple[str, int]]) -> None:
        self.clock = SteppingClock(START)
        guests = {vmid: Guest(node, config_of(vmid)) for vmid, node in GUESTS.items()}
        lasts = {
            "vzdump": 45.0,
            "qmrestore": 30.0,
            "qmstart": 2.0,
            "qmstop": 2.0,
            "qmdestroy": 3.0,
            "imgdel": 1.0,
        }
        self.cluster = VirtualCluster(self.clock, ("n1", "n2"), guests, lasts)
        self.cluster.on_start, self.cluster.on_destroy = self._task_started, self._destroyed
        for age, vmid in enumerate((*GUESTS, *LOST), 1):
            self.cluster.add_archive(GUESTS.get(vmid, "n1"), vmid, int(START) - 86_400 * age)
        self.stage = Stage(self.catalog, self.cluster, POLICY, self.lost_reply_grace_s)
        # The archives are older than this catalog: somebody accepts them, so that there is
        # something to prune.
        person = self.stage.actor("person")
        self.stage.take_turn(person, None, lambda: accepting.sync(person.site, accept=True))
        self.stage.meanwhile = self._others_act
        self.workers = [self.stage.actor(f"worker-{number}") for number in range(WORKERS)]
        self.keys = 0
        self.seen: dict[str, Operation] = {}
        self.lines: dict[str, list[tuple[int, str]]] = {}
        self.told: dict[str, float] = {}
        self.others: dict[int, Guest] = {}
        gone = self.stage.gone
        drivers.gone = lambda owner: owner in gone
        events.anybody = self.stage.has_log
        events._listeners[:] = [self._heard]
        for number, (kind, which) in enumerate(wanted):
            self._act(
                self._worker(number),
                None,
                lambda actor, kind=kind, which=which: self._open(actor, kind, which, None),
            )

    # --- what may happen --------------------------------------------------------------------------

    @rule(
        worker=numbers,
        kind=st.sampled_from(KINDS),
        which=numbers,
        keyed=st.booleans(),
        twice=st.booleans(),
        fate=fates,
    )
    def somebody_opens_an_operation(
        self, worker: int, kind: str, which: int, keyed: bool, twice: bool, fate: Fate | None
    ) -> None:
        """A scheduler opens it for workers; with a key perhaps twice, as two beats do."""
        self.keys += 1
        key = f"nightly@{self.keys}" if keyed else None
        for _ in range(1 + twice):
            self._act(self._worker(worker), fate, lambda actor: self._open(actor, kind, which, key))
        if key and fate is None:
            assert len([one for one in self._all() if one.occurrence == key]) <= 1

    @rule(worker=numbers, which=numbers, whole=st.booleans(), fate=fates)
    def a_hint_reaches_a_worker(
        self, worker: int, which: int, whole: bool, fate: Fate | None
    ) -> None:
        """Hints are lost, doubled and late: any worker may be sent to any operation, at any
        time.
        """
        if ids := self._open_ids():
            self._act(
                self._worker(worker),
                fate,
                lambda actor: self._work(actor, ids[which % len(ids)], whole),
            )

    @rule(
        turns=st.lists(st.tuples(numbers, fates), min_size=3, max_size=16),
        seconds=st.sampled_from([2.0, 15.0, 40.0]),
    )
    def workers_go_about_their_work(
        self, turns: list[tuple[int, Fate | None]], seconds: float
    ) -> None:
        """A tick, and for each of these turns a worker at one of the operations that it found due;
        then time passes.
        """
        for number, (worker, fate) in enumerate(turns):
            due = self._act(self._worker(number), fate if worker == 7 else None, self._tick) or []
            for place, id in enumerate(due):
                chosen = fate if place == worker % len(due) and worker < 7 else None
                self._act(
                    self._worker(worker + place),
                    chosen,
                    lambda actor, id=id: self._work(actor, id, True),
                )
            self.clock.sleep(seconds)

    @rule(kind=st.sampled_from(KINDS), which=numbers, fate=fates, interrupted=st.integers(0, 60))
    def a_person_runs_a_command(
        self, kind: str, which: int, fate: Fate | None, interrupted: int
    ) -> None:
        """In the foreground, to its end; it may be killed or interrupted in between."""
        person = self.stage.actor("person", foreground=True)
        self._act(
            person,
            Fate("interrupt", interrupted) if interrupted > 40 else fate,
            lambda actor: self._command(actor, kind, which),
        )

    @rule(which=numbers, fate=fates, sure=st.integers(0, 3))
    def a_person_cancels_an_operation(self, which: int, fate: Fate | None, sure: int) -> None:
        if (ids := self._open_ids()) and sure == 3:
            person = self.stage.actor("person", foreground=True)
            self._act(
                person,
                fate,
                lambda actor: actor.site.engine.cancel(ids[which % len(ids)], "no longer wanted"),
            )

    @rule(seconds=st.sampled_from([1.0, 5.0, 12.0, 50.0, 130.0, 605.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @rule(type=st.sampled_from(["vzdump", "qmrestore", "qmstart", "qmstop", "qmdestroy", "imgdel"]))
    def the_next_task_will_fail(self, type: str) -> None:
        self.cluster.fails.setdefault(type, ["job errors"])

    @rule(which=numbers)
    def a_guest_moves_to_another_node(self, which: int) -> None:
        self.cluster.catch_up()
        vmid = sorted(GUESTS)[which % len(GUESTS)]
        if not any(task.vmid == vmid for task in self.cluster.running.values()):
            guest = self.cluster.guests[vmid]
            guest.node = "n2" if guest.node == "n1" else "n1"

    @rule(which=numbers, sure=st.integers(0, 3))
    def a_restore_of_somebody_else_fails_under_a_lost_vmid(self, which: int, sure: int) -> None:
        """What it leaves looks like what our own restores leave, and may stand where one of those
        stood.
        """
        self.cluster.catch_up()
        vmid = LOST[which % len(LOST)]
        there = self.cluster.guests.get(vmid)
        if (
            sure == 3
            and not (there and not ownership.is_stub(there.config))
            and not self._works_at(vmid)
        ):
            self.others[vmid] = self.cluster.restore_of_somebody("n1", vmid)

    @rule(which=numbers, sure=st.integers(0, 3))
    def a_disk_appears_under_a_lost_vmid(self, which: int, sure: int) -> None:
        if sure == 3 and not self._works_at(LOST[which % len(LOST)]):
            self.cluster.stray.add(LOST[which % len(LOST)])

    # --- how it happens ---------------------------------------------------------------------------

    def _works_at(self, vmid: int) -> bool:
        """Whether a task works at a VMID, or may begin any moment: its call is on the way."""
        at = [
            one for one in self._all() if one.state is OperationState.OPEN and one.subject == vmid
        ]
        return (
            bool(at)
            or any(task.vmid == vmid for task in self.cluster.running.values())
            or bool(self.cluster._late)
        )

    def _worker(self, number: int) -> int:
        return number % WORKERS

    def _act(self, who: int | Actor, fate: Fate | None, act: Any) -> Any:
        """Let an actor act, unless it is asleep; the place of one that died is taken by a new
        process.
        """
        actor = self.workers[who] if isinstance(who, int) else who
        if actor.busy:
            return None
        try:
            return self.stage.take_turn(actor, fate, lambda: act(actor))
        except BackupsvcError:
            return None
        finally:
            if actor.busy and isinstance(who, int):
                self.workers[who] = self.stage.actor(f"worker-{who}")

    def _open(self, actor: Actor, kind: str, which: int, key: str | None) -> Operation | None:
        vmid = sorted(GUESTS)[which % len(GUESTS)]
        if kind == "backup":
            item = Expected(vmid, KnownGuest(vmid, f"guest-{vmid}", self.cluster.guests[vmid].node))
            return open_backup(actor.site, POLICY.jobs[0], item, occurrence=key)
        if kind == "restore-test":
            timeout_s = (120, 600, 7200)[which % 3]
            return open_test(actor.site, vmid, occurrence=key, timeout_s=timeout_s)
        if kind == "prune":
            return open_prune(actor.site, occurrence=key)
        lost = LOST[which % len(LOST)]
        node, volid = next(
            place for place, row in self.cluster.archives.items() if row["vmid"] == lost
        )
        archive = Archive(volid, node, "local", lost, GuestType.QEMU, 1, 1)
        planned = RestoreMemory(archive, node, "local", disks=("#qmdump#map:scsi0",))
        found: Operation | None = actor.site.engine.open(
            "restore", lost, planned, occurrence=key, timeout_s=7200
        )
        return found

    def _work(self, actor: Actor, id: str, whole: bool) -> None:
        if whole:
            worker_loop.work(actor.site.engine.executor, id, long=True)
        else:
            actor.site.engine.executor.advance(id)

    def _tick(self, actor: Actor) -> list[str]:
        due = tick.tick(actor.site)
        tick.told(actor.site, due)
        return due

    def _command(self, actor: Actor, kind: str, which: int) -> None:
        actor.site.engine.drive_one(self._open(actor, kind, which, None))

    def _others_act(self, number: int) -> None:
        """While somebody sleeps, another worker takes a turn at all that is due, and some time
        passes.
        """
        for id in self._act(self._worker(number), None, self._tick) or []:
            self._act(self._worker(number), None, lambda actor, id=id: self._work(actor, id, True))
        self.clock.sleep(15.0)

    def _all(self) -> list[Operation]:
        return self.catalog.read("operations", self.catalog.operations.find)

    def _open_ids(self) -> list[str]:
        return sorted(one.id for one in self._all() if one.state is OperationState.OPEN)

    def _histories(self) -> dict[str, list[Any]]:
        """Every operation's lines, as they lie in the table."""

        def ask() -> dict[str, list[Any]]:
            with self.catalog._database.read() as connection:
                lines = connection.execute(_LINES).all()
            return {
                id: list(own) for id, own in groupby(lines, key=lambda line: str(line.operation))
            }

        return self.catalog.read("histories", ask)

    def _held(self) -> set[str]:
        """Who holds a lock or a scratch VMID."""

        def ask() -> set[str]:
            return {
                *self.catalog.locks.holders().values(),
                *self.catalog.leases.holders().values(),
            }

        return self.catalog.read("held", ask)

    # --- what must hold ---------------------------------------------------------------------------

    def _task_started(self, task: Task) -> None:
        """Once: no operation dumps, or restores, a second time; and no node works at two dumps of
        ours at a time.
        """
        same = [
            one
            for one in self.cluster.tasks.values()
            if (one.operation, one.type) == (task.operation, task.type)
        ]
        if task.type in ("vzdump", "qmrestore"):
            assert same == [task], f"{task.type} was started {len(same)} times for {task.operation}"
        beside = [
            one
            for one in self.cluster.running.values()
            if (one.node, one.type) == (task.node, "vzdump") and one is not task
        ]
        if task.type == "vzdump":
            assert not [one for one in beside if not self._left_behind(one.operation)], (
                f"two dumps on {task.node}: {beside}"
            )

    def _destroyed(self, operation: str, vmid: int, config: dict[str, str]) -> None:
        """Law 1: a copy is destroyed by its own operation, or by the reap that was opened for it,
        and nothing else ever is.

        But for exception (a): the empty rest that our own failed restore left under the guest's own
        VMID, and nothing beside it.
        """
        by = self.catalog.operations.get(operation)
        if by is not None and by.kind == "restore":
            assert vmid == by.subject and ownership.is_stub(config), (
                f"restore {by.id} destroyed {vmid}: {config}"
            )
            assert self._is_rest_of_ours(vmid), (
                f"restore {by.id} destroyed what is not the rest of a restore of ours"
            )
            assert vmid not in self.cluster.stray, (
                f"restore {by.id} destroyed VM {vmid}, of which there is a disk"
            )
            return
        assert by is not None and vmid in POLICY.scratch
        owner = _copy_of(by)
        assert f"operation-{owner}" in config.get("description", ""), (
            f"{by.kind} {by.id} destroyed {config}"
        )

    def _is_rest_of_ours(self, vmid: int) -> bool:
        """Whether a restore of ours made that guest, which has failed, and which the catalog
        names.
        """
        made = self.cluster.tasks[self.cluster.guests[vmid].made_by]
        restores = [one for one in self._all() if one.kind == "restore" and one.subject == vmid]
        over = [
            one
            for one in restores
            if one.state in (OperationState.FAILED, OperationState.CANCELLED)
        ]
        named = [line.upid for one in over for line in self._histories().get(one.id, [])]
        return made.type == "qmrestore" and made.ended not in (None, "OK") and made.upid in named

    def _heard(self, event: Event) -> None:
        """An outcome is told: it must be one, and be noted as untold, and nobody may have told it a
        moment ago.
        """
        id, now = event.operation, self.clock.now()
        operation = self.catalog.operations.get(id)
        assert operation and operation.state is not OperationState.OPEN, f"{id} has not ended"
        assert id in self._noted(), f"{id} is told though it was struck off, or was never noted"
        assert id not in self.told or now - self.told[id] >= HEAD_START, (
            f"{id} was told {now - self.told[id]} s ago"
        )
        self.told[id] = now

    def _noted(self) -> set[str]:
        def ask() -> set[str]:
            with self.catalog._database.read() as connection:
                return {row.operation for row in connection.execute(_UNTOLD)}

        return self.catalog.read("noted", ask)

    def _left_behind(self, id: str) -> bool:
        """Whether an operation said that its cleanup failed."""
        found = self.catalog.operations.get(id)
        return found is not None and _left_behind(found)

    @invariant()
    def a_guest_has_at_most_one_open_operation(self) -> None:
        busy = [
            (one.kind if one.subject is None else "", one.subject)
            for one in self._all()
            if one.state is OperationState.OPEN
        ]
        assert len(busy) == len(set(busy))

    @invariant()
    def what_has_ended_never_changes(self) -> None:
        for one in self._all():
            if one.id in self.seen:
                assert self.seen[one.id] == one
            elif one.state is not OperationState.OPEN:
                self.seen[one.id] = one

    @invariant()
    def history_is_only_ever_appended_to_without_a_gap(self) -> None:
        for one in self._all():
            lines = [(line.seq, line.event) for line in self._histories().get(one.id, [])]
            assert [seq for seq, _ in lines] == list(range(1, len(lines) + 1))
            assert lines[: len(self.lines.get(one.id, []))] == self.lines.get(one.id, [])
            self.lines[one.id] = lines

    @invariant()
    def no_task_is_taken_for_that_of_two_operations(self) -> None:
        named: dict[str, set[str]] = {}
        for one in self._all():
            for line in self._histories().get(one.id, []):
                if line.upid:
                    named.setdefault(line.upid, set()).add(_copy_of(one))  # a reap knows the copy's
        assert all(len(owners) == 1 for owners in named.values()), named

    @invariant()
    def what_has_ended_has_cleaned_up_or_says_that_it_could_not(self) -> None:
        self.cluster.catch_up()
        ended = {
            one.id
            for one in self._all()
            if one.state is not OperationState.OPEN and not _left_behind(one)
        }
        assert not ended & self._held()
        assert not ended & {task.operation for task in self.cluster.running.values()}
        for vmid in (9000, 9001):
            if guest := self.cluster.guests.get(vmid):
                assert not any(
                    f"operation-{id}" in guest.config.get("description", "") for id in ended
                )

    @invariant()
    def what_has_ended_was_told_or_is_noted_and_nothing_else_is(self) -> None:
        ended = {one.id for one in self._all() if one.state is not OperationState.OPEN}
        noted = self._noted()
        assert noted <= ended and ended <= noted | set(self.told), (
            f"nobody will ever tell {ended - noted - set(self.told)}"
        )

    @invariant()
    def what_somebody_else_left_is_still_there(self) -> None:
        assert all(self.cluster.guests.get(vmid) is guest for vmid, guest in self.others.items())

    @invariant()
    def a_backup_that_is_done_made_exactly_one_archive(self) -> None:
        for one in self._all():
            notes = [
                row["notes"] for row in self.cluster.archives.values() if one.id in row["notes"]
            ]
            assert len(notes) <= 1
            if one.kind == "backup" and one.state is OperationState.DONE:
                archive = backup_memory.recall(one).archive
                assert archive and one.id in archive.notes

    def teardown(self) -> None:
        """When the trouble is over, a fresh worker brings everything to its end, and nothing is
        left behind.
        """
        if not hasattr(self, "stage"):
            return
        try:
            self.cluster.fails.clear()
            self._quiesce()
            assert self._open_ids() == []
            assert self.catalog.locks.holders() == {} and self.catalog.leases.holders() == {}
            assert not self.cluster.running and not {9000, 9001} & set(self.cluster.guests)
            assert set(GUESTS) <= set(self.cluster.guests)
            self.history_is_only_ever_appended_to_without_a_gap()
            self.what_has_ended_never_changes()
            self.a_backup_that_is_done_made_exactly_one_archive()
            self.what_somebody_else_left_is_still_there()
            assert self._noted() == set() and {one.id for one in self._all()} == set(self.told)
        finally:
            events._listeners.clear()
            self.stage.close()
            emptied(self.catalog)

    def _quiesce(self) -> None:
        fresh = self.stage.actor("fresh")
        for _ in range(400):
            due = self._act(fresh, None, self._tick)
            for id in due:
                self._act(fresh, None, lambda actor, id=id: self._work(actor, id, True))
            self.cluster.catch_up()
            if (
                not self._open_ids()
                and not self.catalog.leases.holders()
                and not self.cluster.running
                and not self._noted()
            ):
                return
            self.clock.sleep(self._pause())

    def _pause(self) -> float:
        """Until something is due: a tick's time, or longer if all wait for longer."""
        times = [
            max(one.due, one.lease_until or 0)
            for one in self._all()
            if one.state is OperationState.OPEN
        ]
        return max(1.0, min(times) - self.clock.now()) if times else 600.0


def _left_behind(operation: Operation) -> bool:
    error = operation.book.cleanup_error
    return error is not None and error.step != "judge"


def _copy_of(operation: Operation) -> str:
    """Whose copy it takes down: a reap that of the operation after which it cleans up."""
    return str(operation.memory.get("copy_of") or operation.id)


@contextmanager
def watched() -> Iterator[WatchedCatalog]:
    """A catalog for models; what they change in the service is as it was afterwards."""
    kept, asked, heard = drivers.gone, events.anybody, list(events._listeners)
    try:
        with WatchedCatalog.open("sqlite://") as opened:
            yield opened
    finally:
        drivers.gone, events.anybody, events._listeners[:] = kept, asked, heard


@pytest.fixture
def catalog() -> Iterator[WatchedCatalog]:
    with watched() as opened:
        yield opened


@pytest.mark.parametrize(
    "examples",
    [
        4,
        pytest.param(
            200, marks=[pytest.mark.slow, pytest.mark.long(1200), pytest.mark.timeout(3600)]
        ),
    ],
)
def test_law_9_nothing_is_lost_doubled_or_left_behind_in_any_order(
    catalog: WatchedCatalog, examples: int
) -> None:
    EngineModel.catalog = catalog
    given = settings(
        max_examples=examples,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        print_blob=True,
    )
    run_state_machine_as_test(EngineModel, settings=given)


def test_law_9_a_start_that_a_killed_restore_had_begun_is_awaited(catalog: WatchedCatalog) -> None:
    EngineModel.catalog = catalog
    history = EngineModel()
    history.begin(wanted=[("backup", 0), ("backup", 0)])
    history.a_person_runs_a_command(
        fate=Fate("after", 2, 5.0), interrupted=0, kind="restore", which=0
    )
    history.a_person_runs_a_command(fate=None, interrupted=0, kind="restore", which=0)
    history.what_has_ended_has_cleaned_up_or_says_that_it_could_not()
    history.teardown()
