"""The cluster, not the archive, stood in the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backupsvc.bootstrap import open_service
from backupsvc.engine import worker_loop
from backupsvc.operations import tick
from policies.model import OperationState
from pvelab import moves
from pvelab.faults import effects
from pvelab.guests import power
from pvelab.guests.restore import Restore
from pvelab.nodes_life import kill_node, revive_node
from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import (
    HOME,
    OTHER,
    RESTORE_CALL,
    RESTORING,
    Cell,
    Words,
    at,
    both,
    fault,
)
from tests.lab.false_proof.stage import VMIDS, Moment, Stage
from tests.waiting import HANGS

# the last call before the boot, which is watched through the probe alone
STARTED = "/nodes/*/tasks/*:qmstart:*/log"
SLOW = fault("storage-slow", f"{HOME}/local", 2_000_000)


def quorum_returns(stage: Stage) -> None:
    """Without quorum PVE removes nothing: the VMID stayed reserved, and the reaper removes the copy
    now.
    """
    cells.other_node_returns(stage)
    work_off(stage)


def disks_are_written(stage: Stage) -> bool:
    """Whether the restore is past its first write to the configuration: from there on it is without
    a lock, and its disks have their room.
    """
    vm = stage.lab.guests.get(9000)
    return vm is not None and "lock" not in vm.config


@contextmanager
def quorum_lost_at_the_lock(stage: Stage) -> Iterator[Words]:
    """Quorum is lost while the restore still holds the copy locked. Then not even PVE takes the lock
    back, and nobody but root may; once root has, the next test takes the copy down.
    """
    checked = Restore._early_checks

    def then_lost(restore: Restore) -> None:
        checked(restore)
        cells.other_node_dies(stage)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Restore, "_early_checks", then_lost)
        try:
            yield ()
            assert stage.left_behind()[:1] == ["guest 9000"]
        finally:
            patch.undo()
            cells.other_node_returns(stage)
            work_off(stage)
            (reap,) = stage.shell("operations", "list", "--limit", 1, "--json").json["operations"]
            told = stage.shell("operations", "show", reap["id"]).out
            assert reap["kind"] == "reap" and "qm unlock" in told, told
            vm = stage.lab.guests.need(HOME, 9000)
            assert vm.config.pop("lock") == "create", "no one but root unlocks it"
            stage.lab.guests.save(vm)
            assert stage.shell("restore-test", 104, "--json").code == 0


def storage_fills(stage: Stage) -> None:
    """The scratch storage has no room from now on."""
    effects.set_fault(stage.lab, "storage-full", {"node": HOME, "storage": "local-lvm"})


def copy_moved(stage: Stage) -> None:
    """The copy is moved to another node and runs on there: a guest that still boots would not shut
    down for the move.
    """
    power.switch_off(stage.lab, 9000)
    upid = stage.lab.tasks.spawn(
        HOME,
        "qmigrate",
        "9000",
        "root@pam",
        lambda log: moves.move(stage.lab, 9000, HOME, OTHER, log),
    )
    assert stage.lab.tasks.wait(upid, HANGS) == "OK"
    vm = stage.lab.guests.need(OTHER, 9000)
    power.start_machine(stage.lab, vm)


@contextmanager
def node_dies(stage: Stage) -> Iterator[Words]:
    """The copy's node loses its power once the copy has started, and comes back after the test,
    when the reaper cleans up.
    """
    kept = {vm.vmid: dict(vm.config) for vm in stage.lab.guests.all() if vm.vmid in VMIDS}
    _configure(stage, {vmid: config | {"onboot": "0"} for vmid, config in kept.items()})
    killed = Moment("GET", STARTED, lambda: kill_node(stage.lab, HOME), after=True)
    stage.moments.append(killed)
    try:
        yield ("impatient", 15.0)
        assert killed.passed
        assert stage.left_behind()[:1] == ["guest 9000"], "the dead node still has the copy"
    finally:
        stage.lab.tasks.wait(revive_node(stage.lab, HOME), 60)
        _configure(stage, kept)
        work_off(stage)


def _configure(stage: Stage, configs: dict[int, dict[str, str]]) -> None:
    for vmid, config in configs.items():
        vm = stage.lab.guests.get(vmid)
        assert vm is not None
        vm.config = config
        stage.lab.guests.save(vm)


def work_off(stage: Stage) -> None:
    """Do what workers do: a tick, and turns at all that it wakes."""
    given = {"BACKUPSVC_STATE_DIR": str(stage.shell.state), **stage.shell.env}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        with open_service(foreground=False) as service:
            for _ in range(200):
                opened = [
                    one.id for one in service.catalog.operations.find(state=OperationState.OPEN)
                ]
                for id in {*tick.tick(service), *opened}:
                    worker_loop.work(service.engine.executor, id, long=True)
                if not service.catalog.operations.find(state=OperationState.OPEN):
                    return
                time.sleep(0.2)
    raise AssertionError("the reaper did not come to its end")


CELLS = (
    Cell("HA has the VMID", 108, cells.ha_has_the_vmids, "inconclusive", "platform", 4, "HA"),
    Cell(
        "the VMID is taken meanwhile",
        108,
        at("POST", RESTORE_CALL, cells.foreign_guest, cells.foreign_guest_removed),
        "inconclusive",
        "platform",
        1,
        "already exists",
    ),
    Cell(
        "quorum is lost before the restore",
        108,
        at("POST", RESTORE_CALL, cells.other_node_dies, cells.other_node_returns),
        "inconclusive",
        "platform",
        1,
        "quorum",
    ),
    Cell(
        "the scratch storage is full",
        108,
        fault("storage-full", f"{HOME}/local-lvm"),
        "inconclusive",
        "capacity",
        4,
        "free",
    ),
    Cell(
        "an administrator stops the restore",
        108,
        both(
            fault("storage-slow", f"{HOME}/local", 2_000_000),
            at("GET", RESTORING, cells.task_stopped, cells.nothing),
        ),
        "inconclusive",
        "platform",
        1,
        "",
    ),
    Cell(
        "the copy is moved",
        105,
        at("*", "/nodes/*/qemu/90??/agent/*", copy_moved, cells.nothing),
        "inconclusive",
        "platform",
        1,
        "moved from clovis to lge-pve02",
    ),
    Cell("its node dies", 108, node_dies, "inconclusive", "platform", 3, "node clovis"),
    Cell(
        "quorum is lost while it is restored",
        108,
        both(
            SLOW,
            at("GET", RESTORING, cells.other_node_dies, quorum_returns, when=disks_are_written),
        ),
        "inconclusive",
        "platform",
        1,
        "",
    ),
    Cell(
        "quorum is lost while its restore holds it locked",
        108,
        quorum_lost_at_the_lock,
        "inconclusive",
        "platform",
        1,
        "quorum",
    ),
    Cell(
        "the scratch storage fills up while it is restored",
        108,
        both(SLOW, at("GET", RESTORING, storage_fills, cells.nothing, when=disks_are_written)),
        "inconclusive",
        "capacity",
        1,
        "",
    ),
    Cell(
        "the clock is set back",
        108,
        cells.clock_set(-3600),
        "inconclusive",
        "time",
        1,
        "clock was set by -3600",
    ),
    Cell(
        "the clock is set ahead",
        108,
        cells.clock_set(3600),
        "inconclusive",
        "time",
        1,
        "clock was set by",
    ),
)
