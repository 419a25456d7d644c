"""Taking a copy down where it is, and calling it gone only when the cluster does (law 1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from backupsvc.catalog.operations import Kept
from backupsvc.engine.context import Run, Wait
from backupsvc.engine.foreground import Engine
from backupsvc.errors import LawRefused, OperationFailed, PveError
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.memories import ScratchPlace
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from backupsvc.operations.scratch_cleanup import forgotten, taking_down
from backupsvc.operations.scratch_cleanup.memory import CopyMemory
from backupsvc.operations.services import StepServices
from backupsvc.settings import Settings
from policies import ownership
from policies.bookkeeping import TaskRecord
from policies.model import OperationState, Policy, Scratch
from tests import held
from tests.fakes.cluster import Guest, VirtualCluster, connect
from tests.unit.operations.worlds import World, world

SCRATCH = Scratch(9000, 9009, storage="local")
HERE, THERE = "a", "b"
PLACE = ScratchPlace(9000, HERE, "local")


class Site:
    """A catalog, a virtual cluster of two nodes, and one restore test whose copy is to be taken
    down.
    """

    def __init__(self, sqlite_url: str, directory: Path) -> None:
        self.world: World = world(sqlite_url)
        self.cluster = VirtualCluster(self.world.clock, (HERE, THERE), {})
        self.offline: set[str] = set()
        self.quorate = 1
        self.left: dict[str, list[str]] = {}
        self.world.pve = connect(self.cluster, SCRATCH, self._around)
        self.world.policy = Policy(
            "s", "UTC", "en", (), MappingProxyType({}), MappingProxyType({}), SCRATCH, "standard"
        )
        self.world.settings = Settings(state_dir=directory)
        self.engine = Engine(self.world, KINDS, foreground=False)
        self.world.engine = self.engine

    def _around(self, method: str, path: str, act: Any) -> Any:
        if path == "nodes":
            return [
                {**row, "status": "offline" if row["node"] in self.offline else "online"}
                for row in act()
            ]
        if path == "cluster/status":
            return [{**row, "quorate": self.quorate} for row in act()]
        answer = act()
        if path.endswith("/content") and method == "GET":
            node = path.split("/")[1]
            return [*answer, *({"volid": volid} for volid in self.left.get(node, ()))]
        if method == "DELETE" and "/content/" in path:
            for volids in self.left.values():
                volids[:] = [volid for volid in volids if not path.endswith(volid)]
        return answer

    def copy(
        self,
        operation: str,
        node: str = HERE,
        service: str = "",
        *,
        running: bool = True,
        restored: bool = True,
    ) -> None:
        """Put a copy there; ``restored``: by a task of ours, as PVE remembers, and not as
        somebody's clone of another one.
        """
        if restored:
            self.world.clock.sleep(2.0)
            self.did("qmrestore", node)
        config = {
            "description": ownership.mark(operation, service),
            "scsi0": "local:9000/vm-9000-disk-0.raw",
        }
        self.cluster.guests[9000] = Guest(node, config, running=running)

    def did(self, type: str, node: str = HERE, exitstatus: str = "OK") -> None:
        """A task of ours on VMID 9000 that has ended."""
        upid = self.cluster._start(node, type, 9000, lambda exitstatus: None)
        self.cluster._end(self.cluster.tasks[upid], exitstatus)

    def test(self) -> str:
        """Open a restore test that has restored its copy; return its id."""
        restored = {"restore": TaskRecord(upid="UPID:a:1:1:1:qmrestore:9000:x:", told=True)}
        operation = self.engine.open("restore-test", 108, RestoreTestMemory(PLACE))
        assert operation and self.world.catalog.operations.claim(
            operation.id, self.engine.executor.driver()
        )
        kept = Kept(operation.memory, replace(operation.book, tasks=restored))
        self.world.catalog.operations.record(operation.id, self.engine.executor.driver(), kept=kept)
        assert held.lease(self.world.catalog, 9000, operation.id, 1)
        return operation.id

    def down(self, id: str, calls: int = 40) -> Run[StepServices, CopyMemory]:
        """Call tear-down as the engine does, until it is done. Raise whatever it raises."""
        for _ in range(calls):
            operation = self.world.catalog.operations.claim(id, self.engine.executor.driver())
            assert operation
            run: Run[StepServices, CopyMemory] = Run(
                self.engine.executor, self.world, operation, KINDS[operation.kind].form
            )
            run.enter("tear-down")
            try:
                wait = KINDS[operation.kind].handlers["tear-down"](run)
            finally:
                run.save()
            if wait is None:
                return run
            assert isinstance(wait, Wait)
            self.world.clock.sleep(wait.most)
        raise AssertionError(f"still waiting: {wait}")

    @property
    def leased(self) -> dict[int, str]:
        return self.world.catalog.leases.holders()


@pytest.fixture
def site(sqlite_url: str, tmp_path: Path) -> Iterator[Site]:
    made = Site(sqlite_url, tmp_path)
    yield made
    made.world.catalog.close()


def test_law_1_a_copy_is_destroyed_and_its_vmid_given_back(site: Site) -> None:
    id = site.test()
    site.copy(id)
    run = site.down(id)
    assert site.cluster.guests == {} and site.leased == {} and run.memory.moved is None


def test_law_1_a_copy_that_was_moved_is_destroyed_where_it_is(site: Site) -> None:
    id = site.test()
    site.copy(id, THERE)
    run = site.down(id)
    assert site.cluster.guests == {} and site.leased == {}
    assert run.memory.moved and (run.memory.moved.from_node, run.memory.moved.to_node) == (
        HERE,
        THERE,
    )


def test_law_1_somebody_elses_guest_under_the_vmid_elsewhere_is_not_touched(site: Site) -> None:
    id = site.test()
    site.cluster.guests[9000] = Guest(THERE, {"name": "somebody-elses", "scsi0": "local:x"})
    with pytest.raises(LawRefused):
        site.down(id)
    assert site.cluster.guests[9000].running and site.leased == {9000: id}


@pytest.mark.parametrize(
    "stop", ["OK", "Configuration file 'nodes/a/qemu-server/9000.conf' does not exist"]
)
def test_law_1_a_copy_that_moves_while_it_is_taken_down_is_followed(site: Site, stop: str) -> None:
    id = site.test()
    site.copy(id)
    site.cluster.fails = {"qmstop": [stop]}
    moved: list[int] = []

    def away(task: Any) -> None:
        if task.type == "qmstop" and not moved:
            moved.append(1)
            site.cluster.guests[9000].node = THERE
            site.cluster.guests[9000].running = False

    site.cluster.on_start = away
    run = site.down(id)
    assert site.cluster.guests == {} and site.leased == {}
    assert run.memory.moved and run.memory.moved.to_node == THERE


def test_law_1_without_quorum_nothing_is_called_gone(site: Site) -> None:
    id = site.test()
    site.copy(id)
    site.quorate = 0
    with pytest.raises(AssertionError, match="quorum"):
        site.down(id, calls=12)
    assert site.leased == {9000: id}
    site.quorate = 1
    site.down(id)
    assert site.leased == {}


def test_law_1_a_copy_on_a_node_that_is_off_is_unknown_and_keeps_its_vmid(site: Site) -> None:
    id = site.test()
    site.copy(id)
    site.offline = {HERE}
    with pytest.raises(OperationFailed, match="offline: what became of the copy is not known"):
        site.down(id)
    assert site.leased == {9000: id} and 9000 in site.cluster.guests
    site.offline = set()
    site.down(id)
    assert site.leased == {}


def test_law_1_a_disk_that_a_destroy_left_is_removed_if_it_is_ours(site: Site) -> None:
    id = site.test()
    site.copy(id)
    site.left = {HERE: ["local:9000/vm-9000-disk-1.raw"]}
    site.down(id)
    assert site.left == {HERE: []} and site.leased == {}


def test_law_1_a_disk_that_does_not_go_is_named_and_the_vmid_is_kept(site: Site) -> None:
    id = site.test()
    site.copy(id, THERE)
    site.left = {THERE: ["other:vm-9000-disk-7"]}  # on a storage that nobody looked at before
    with pytest.raises(PveError, match="other:vm-9000-disk-7") as left:
        site.down(id)
    assert "pvesm free" in left.value.hint
    assert site.left == {THERE: ["other:vm-9000-disk-7"]} and site.leased == {9000: id}


def test_law_1_where_pve_refused_the_restore_nothing_is_ours_and_the_vmid_is_given_back(
    site: Site,
) -> None:
    operation = site.engine.open("restore-test", 108, RestoreTestMemory(PLACE))
    assert operation and held.lease(site.world.catalog, 9000, operation.id, 1)
    site.cluster.guests[9000] = Guest(HERE, {"name": "somebody-elses"})
    site.down(operation.id)
    assert site.cluster.guests[9000].running and site.leased == {}


# --- copies that the catalog has forgotten --------------------------------------------------------


def reap(site: Site) -> OperationState:
    """Let workers take turns at what the tick opened."""
    (operation,) = forgotten.attend(site.world)
    while (
        found := site.world.catalog.operations.get(operation.id)
    ) and found.state is OperationState.OPEN:
        pause = site.engine.executor.advance(operation.id).pause
        site.world.clock.sleep(pause or 0.1)
    assert found
    return found.state


def test_law_1_a_forgotten_copy_that_bears_this_services_identity_is_removed(site: Site) -> None:
    site.copy("01GONE", THERE, site.world.catalog.identity.get())
    assert reap(site) is OperationState.DONE
    assert site.cluster.guests == {} and site.leased == {}


@pytest.mark.parametrize("service", ["", "f" * 32], ids=["unsigned", "of another service"])
def test_law_1_any_other_forgotten_copy_is_only_told(
    site: Site, service: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.copy("01GONE", HERE, service)
    with caplog.at_level("WARNING"):
        forgotten._told.clear()
        assert forgotten.attend(site.world) == []
    (orphan,) = forgotten.look(site.world)
    assert not orphan.ours and 9000 in site.cluster.guests
    assert "orphan-copy" in caplog.text and "qm destroy 9000" in caplog.text


@pytest.mark.parametrize(
    "before", [(), ("qmrestore", "qmdestroy")], ids=["nothing", "a copy that was removed"]
)
def test_law_1_a_clone_of_a_copy_bears_its_description_and_is_not_ours(
    site: Site, before: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    for type in before:
        site.world.clock.sleep(2.0)
        site.did(type)
    site.copy("01GONE", HERE, site.world.catalog.identity.get(), restored=False)
    with caplog.at_level("WARNING"):
        forgotten._told.clear()
        assert forgotten.attend(site.world) == []
    (orphan,) = forgotten.look(site.world)
    assert not orphan.ours and orphan.unconfirmed and 9000 in site.cluster.guests
    assert "it may be a clone of a copy" in caplog.text and "qm destroy 9000" in caplog.text


def test_law_1_what_took_the_place_of_a_forgotten_copy_meanwhile_is_not_touched(site: Site) -> None:
    site.copy("01GONE", HERE, site.world.catalog.identity.get())
    (operation,) = forgotten.attend(site.world)
    site.world.clock.sleep(2.0)
    site.did("qmdestroy")
    with pytest.raises(LawRefused, match="do not say that this token restored VM 9000"):
        site.down(operation.id)
    assert site.cluster.guests[9000].running


def test_a_copy_whose_test_is_open_or_that_waits_for_its_reap_is_not_forgotten(site: Site) -> None:
    id = site.test()
    site.copy(id, HERE, site.world.catalog.identity.get())
    assert forgotten.look(site.world) == ()


def test_law_1_a_forgotten_copy_whose_vmid_was_lent_meanwhile_is_not_touched(site: Site) -> None:
    site.copy("01GONE", HERE, site.world.catalog.identity.get())
    (operation,) = forgotten.attend(site.world)
    other = site.engine.open("restore-test", 108, RestoreTestMemory())
    assert other and held.lease(site.world.catalog, 9000, other.id, 1)
    with pytest.raises(OperationFailed, match="lent to another"):
        site.down(operation.id)
    assert site.cluster.guests[9000].running and site.leased == {9000: other.id}


def test_a_cluster_that_does_not_answer_does_not_stop_the_tick(site: Site) -> None:
    def silent(max_age: float = 0.0) -> Any:
        raise PveError("got timeout", status=500)

    site.world.pve.cluster.guests = silent
    assert forgotten.attend(site.world) == []


def test_law_1_a_reap_of_one_copy_does_not_put_off_that_of_the_next_under_its_vmid(
    site: Site,
) -> None:
    site.copy("01GONE", HERE, site.world.catalog.identity.get())
    assert reap(site) is OperationState.DONE
    site.copy("01NEXT", HERE, site.world.catalog.identity.get())
    assert reap(site) is OperationState.DONE
    assert site.cluster.guests == {}


def test_a_copy_that_would_not_go_is_tried_again_only_after_an_hour(site: Site) -> None:
    site.cluster.fails = {"qmdestroy": ["no", "no"]}
    site.copy("01GONE", HERE, site.world.catalog.identity.get())
    assert reap(site) is OperationState.FAILED
    taking_down.open_reaps(site.world)
    assert forgotten.attend(site.world) == []
    site.world.clock.sleep(taking_down.REAP_EVERY + 1)
    assert len(forgotten.attend(site.world)) == 1
