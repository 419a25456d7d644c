"""Drivers that are gone hold up nobody, with real processes; and one that was wrongly taken for
gone can write nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backupsvc.engine import drivers
from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.errors import LeaseLost, Refused
from policies.drivers import INITIAL_PID_NAMESPACE, DriverId, Place, parse, place
from policies.model import OperationState
from tests import held
from tests.unit.engine.notes import NOTES, Run, kinds
from tests.unit.engine.test_engine import opened, workers
from tests.unit.operations.worlds import World, world

NAMED = (
    "from backupsvc.engine import drivers; print(drivers.identity(foreground={}), flush=True); "
    "input()"
)


class Driver:
    """A process that tells its name as a driver and then waits."""

    def __init__(self, *, foreground: bool = True, before: tuple[str, ...] = ()) -> None:
        command = [*before, sys.executable, "-c", NAMED.format(foreground)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.owner = self.process.stdout.readline().strip()

    def kill(self) -> str:
        """End it, and let its parent take note of that; return its name."""
        self.process.kill()
        self.process.wait()
        return self.owner


@pytest.fixture
def start() -> Iterator[Callable[..., Driver]]:
    started: list[Driver] = []

    def begin(**how: Any) -> Driver:
        started.append(Driver(**how))
        return started[-1]

    yield begin
    for one in started:
        one.kill()


@pytest.fixture
def site(catalog_url: str) -> Iterator[World]:
    made = world(catalog_url)
    yield made
    made.catalog.close()


def named(owner: str) -> DriverId:
    found = parse(owner)
    assert found
    return found


# --- who is gone ----------------------------------------------------------------------------------


def test_a_process_that_lives_is_not_gone_and_one_that_was_killed_is(
    start: Callable[..., Driver],
) -> None:
    one = start()
    assert not drivers.gone(one.owner)
    assert not drivers.gone(str(drivers.identity(foreground=True))), "this very process"
    assert drivers.gone(one.kill())


def test_one_that_was_killed_and_not_yet_buried_is_gone(start: Callable[..., Driver]) -> None:
    one = start()
    one.process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, one.process.pid, os.WEXITED | os.WNOWAIT)
    os.kill(one.process.pid, 0)  # it still bears its id
    assert drivers.gone(one.owner)


def test_one_that_was_stopped_is_not_gone(start: Callable[..., Driver]) -> None:
    one = start()
    one.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, one.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert not drivers.gone(one.owner)


def test_one_whose_process_id_another_process_bears_by_now_is_gone(
    start: Callable[..., Driver],
) -> None:
    living = start()
    assert drivers.gone(str(replace(named(living.owner), start="1")))


def test_one_of_another_machine_or_of_before_names_said_so_much_is_not_known_to_be_gone(
    start: Callable[..., Driver],
) -> None:
    dead = named(start().kill())
    assert drivers.gone(str(dead))
    assert not drivers.gone(str(replace(dead, host="elsewhere")))
    assert not drivers.gone(str(replace(dead, machine="another")))
    assert not drivers.gone(f"{dead.host}:{dead.pid}:ab12cd34")


def test_one_in_a_pid_namespace_of_its_own_does_not_look_gone(start: Callable[..., Driver]) -> None:
    apart = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace may be made here")
    one = start(before=apart)
    inside = named(one.owner)
    assert inside.start and inside.namespaces != drivers.identity(foreground=True).namespaces
    assert not drivers.gone(one.owner)
    nobody = replace(inside, pid=2**22 + 1)  # no process here bears that id
    assert not drivers.gone(str(nobody))


def test_a_proc_that_is_not_this_namespaces_own_tells_nothing(start: Callable[..., Driver]) -> None:
    # with the /proc of the namespace outside
    apart = ("unshare", "--pid", "--fork", "--kill-child")
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace may be made here")
    inside = named(start(before=apart).owner)
    assert (inside.start, inside.namespaces) == ("", "")
    assert not drivers.gone(str(inside))


def test_a_machine_that_was_cloned_is_not_taken_for_the_same_one_that_has_started_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setattr(drivers, "_MACHINE_ID", tmp_path / "machine-id")

    def machine(name: str, *cards: str, boot: str = "1") -> DriverId:
        for number, card in enumerate(cards):
            (tmp_path / name / f"eth{number}" / "device").mkdir(parents=True, exist_ok=True)
            (tmp_path / name / f"eth{number}" / "address").write_text(f"{card}\n")
        monkeypatch.setattr(drivers, "_NET", tmp_path / name)
        drivers._machine_id.cache_clear()
        return replace(
            drivers.identity(foreground=False), boot=boot, namespaces=f"{INITIAL_PID_NAMESPACE}+0"
        )

    original = machine("original", "bc:24:11:00:00:01")
    assert place(original, machine("original", "bc:24:11:00:00:01", boot="2")) is Place.EARLIER_BOOT
    assert place(original, machine("clone", "bc:24:11:00:00:02", boot="2")) is Place.UNKNOWN
    drivers._machine_id.cache_clear()


def test_where_proc_hides_the_process_it_is_not_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, start: Any
) -> None:
    one = start()
    here = drivers.identity(foreground=True)
    monkeypatch.setattr(drivers, "identity", lambda *, foreground: here)
    # hidepid=2: the processes of others are not there
    monkeypatch.setattr(drivers, "_PROC", tmp_path)
    assert not drivers.gone(one.owner)


# --- whom they hold up ----------------------------------------------------------------------------


def dumping(dying: set[int]) -> Callable[[Run], Wait | None]:
    def dump(run: Run) -> Wait | None:
        if wait := run.turn("vzdump clovis", "another is being dumped"):
            return wait
        return Wait("dumping") if run.vmid in dying else None

    return dump


def test_a_guest_whose_command_was_killed_is_free_at_once_also_after_its_lease_was_let_run_out(
    site: World, start: Callable[..., Driver]
) -> None:
    dead = Engine(site, kinds("restore-test"))
    dead.executor.owner = start().kill()
    left = opened(dead)
    engine = Engine(site, kinds("restore-test"))
    assert engine.free_orphans() == [left]  # another command, or a tick, came by
    began = site.clock.now()
    opened(engine)
    assert site.clock.now() - began < 1
    found = site.catalog.operations.get(left)
    assert found and found.state is not OperationState.OPEN


def test_what_a_worker_left_is_its_fellows_for_a_while(
    site: World, start: Callable[..., Driver]
) -> None:
    dead = Engine(site, kinds("restore-test"))
    dead.executor.owner = start(foreground=False).kill()
    left = opened(dead)
    fellow = workers(site, "restore-test")
    assert fellow.free_orphans() == [left]
    with pytest.raises(Refused, match="already has an operation at work"):
        opened(Engine(site, kinds("restore-test")))
    assert fellow.executor.advance(left).operation.id == left


def test_those_that_a_killed_command_left_in_the_queue_of_a_node_hold_up_nobody(
    site: World, start: Callable[..., Driver]
) -> None:
    dying = {101, 102, 103, 104}
    dead = Engine(site, kinds("backup", dump=dumping(dying)))
    dead.executor.owner = start().kill()
    left = [opened(dead, "backup", vmid) for vmid in sorted(dying)]
    for id in left * 3:
        dead.executor.advance(id)
    assert site.catalog.locks.holders() == {"vzdump clovis": left[0]}
    dying.clear()
    engine, began = Engine(site, kinds("backup", dump=dumping(dying))), site.clock.now()
    assert engine.drive([opened(engine, "backup", 105)])[0].state is OperationState.DONE
    assert site.clock.now() - began < 10, (
        "the one that held the node was finished, and those that only waited were passed"
    )
    states = [found.state for id in left if (found := site.catalog.operations.get(id))]
    assert states == [OperationState.DONE, *[OperationState.OPEN] * 3]
    engine.drive([opened(engine, "backup", 102)])
    found = site.catalog.operations.get(left[1])
    assert found and found.state is not OperationState.OPEN


def test_a_lock_that_becomes_free_wakes_the_first_whose_driver_lives(
    site: World, start: Callable[..., Driver]
) -> None:
    alive = workers(site, "backup", dump=dumping(set()))
    holder, lost, waiting = (opened(alive, "backup", vmid) for vmid in (101, 102, 103))
    for id in (holder, lost, waiting):
        held.enter(site.catalog, "vzdump clovis", id, int(site.clock.now()))
    now = int(site.clock.now())
    owner = start().kill()
    site.catalog.operations.claim(lost, replace(alive.executor.driver(), owner=owner))
    site.catalog.operations.postpone([waiting], now + 900)
    assert held.leave(site.catalog, holder, now, gone=drivers.gone) == waiting
    found = site.catalog.operations.get(waiting)
    assert found and found.due == now


def test_law_9_a_driver_that_was_wrongly_taken_for_gone_can_write_nothing(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = Engine(site, kinds("backup", dump=dumping({108})))
    id = opened(alive, "backup")
    for _ in range(3):
        alive.executor.advance(id)
    assert site.catalog.locks.holders() == {"vzdump clovis": id}
    late: Run = Run(alive.executor, site, alive.executor.advance(id).operation, NOTES)
    monkeypatch.setattr(drivers, "gone", lambda owner: owner == alive.executor.owner)
    other = Engine(site, kinds("backup"))
    opened(other, "backup")  # which takes the first one over, and ends it
    before = site.catalog.operations.get(id)
    for write in (
        late.save,
        late.leave,
        late.heartbeat,
        lambda: late.note("intent", what="dump"),
        lambda: late.turn("vzdump clovis", "it is mine"),
        lambda: site.catalog.leases.take(9000, 1, late.fence()),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert (
        site.catalog.operations.get(id) == before
        and before
        and before.state is OperationState.CANCELLED
    )


def test_what_a_worker_left_a_moment_ago_is_its_fellows_also_before_a_tick_has_freed_it(
    site: World, start: Callable[..., Driver]
) -> None:
    dead = workers(site, "restore-test")
    dead.executor.owner = start(foreground=False).kill()
    left = opened(dead)
    # it was killed in the middle of a turn
    site.catalog.operations.claim(left, dead.executor.driver())
    with pytest.raises(Refused, match="already has an operation at work"):
        opened(Engine(site, kinds("restore-test")))
    found = site.catalog.operations.get(left)
    assert found and found.state is OperationState.OPEN and found.cancel is None
    site.clock.sleep(121)  # and nobody came
    opened(Engine(site, kinds("restore-test")))
