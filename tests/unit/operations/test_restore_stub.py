"""The rest of our own failed restore goes before the next try, and nothing else under a production
VMID does (law 1, a).
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog.operations import Kept, Note
from backupsvc.engine import context
from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.errors import LawRefused, TaskFailed
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.restore import steps as restore
from backupsvc.operations.restore.memory import FORM, RestoreMemory
from backupsvc.operations.services import Run
from policies.bookkeeping import TaskRecord
from policies.model import Guest, Node, OperationState, SeenStorages
from tests.fakes.made import CONFIG
from tests.unit.operations.cluster import ended
from tests.unit.operations.test_restore_test import ARCHIVE, site  # noqa: F401
from tests.unit.operations.worlds import World

UPID = "UPID:clovis:1:1:1:qmrestore:108:svc@pve!b1:"
CLEAR = "UPID:clovis:2:2:2:qmdestroy:108:svc@pve!b1:"


def stub(site: World, why: str | None) -> list[tuple[str, int, str]]:
    """Let a stub stand under VMID 108; ``why`` is what law 1 has against its removal. Return what
    is destroyed.
    """
    there, destroyed = (
        [Guest(108, "VM 108", "clovis", status="stopped")],
        list[tuple[str, int, str]](),
    )

    def destroy(node: str, vmid: int, upid: str) -> str:
        destroyed.append((node, vmid, upid))
        there.clear()
        return CLEAR

    asked: list[str | None] = []

    def why_not(node: str, vmid: int, upid: str | None) -> str | None:
        asked.append(upid)
        return why if upid else "no restore of this service is known to have left it"

    site.restore_pve = SimpleNamespace(
        cluster=SimpleNamespace(
            guests=lambda: list(there),
            vmid_free=lambda vmid: not there,
            nodes=lambda max_age=0.0: [Node("clovis", True)],
        ),
        guests=SimpleNamespace(config=lambda node, vmid: {"memory": "128"}),
        storage=SimpleNamespace(
            extract_config=lambda node, volid: CONFIG, seen=lambda: SeenStorages(())
        ),
        tasks=SimpleNamespace(
            poll=lambda upid: ended("OK"),
            find=lambda node, **wanted: [],
            surely_runs=lambda upid: False,
        ),
        stubs=lambda: SimpleNamespace(why_not=why_not, destroy=destroy),
    )
    return destroyed


def failed_before(site: World, state: OperationState = OperationState.FAILED) -> None:
    """Remember a restore of ours that ended so."""
    engine = Engine(site, KINDS)
    operation = engine.open("restore", 108, RestoreMemory(ARCHIVE, "clovis"))
    assert operation
    begun = replace(operation.book, tasks={"restore": TaskRecord(upid=UPID)})
    kept, note = Kept(operation.memory, begun), Note("settle", "finished")
    site.catalog.operations.finish(
        operation.id, engine.executor.driver(), state, kept=kept, error="x", note=note
    )


def chosen(site: World) -> Any:
    """Call the first step of a restore until it is done."""
    engine = Engine(site, KINDS)
    operation = engine.open("restore", 108, RestoreMemory(ARCHIVE, "clovis"))
    assert operation
    for _ in range(5):
        claimed = site.catalog.operations.claim(operation.id, engine.executor.driver())
        assert claimed
        run: Run[RestoreMemory] = context.Run(engine.executor, site, claimed, FORM)
        run.enter("choose")
        answer = restore.choose(run)
        run.save()
        if not isinstance(answer, Wait):
            return answer
    raise AssertionError("it waits for ever")


def test_law_1_the_rest_of_our_failed_restore_is_removed_before_the_next_try(site: World) -> None:
    destroyed = stub(site, None)
    failed_before(site)
    chosen(site)
    assert destroyed == [("clovis", 108, UPID)]


@pytest.mark.parametrize(
    "why", ["there are volumes of VMID 108: local-lvm:vm-108-disk-0", "it runs"]
)
def test_law_1_a_rest_that_may_be_more_is_named_with_its_command_and_left_alone(
    site: World, why: str
) -> None:
    destroyed = stub(site, why)
    failed_before(site)
    with pytest.raises(LawRefused, match=why) as refused:
        chosen(site)
    assert destroyed == [] and "qm destroy 108" in refused.value.hint


@pytest.mark.parametrize(
    ("log", "damaged"),
    [
        (("x.vma.zst : Decoding error (36) : Restored data doesn't match checksum",), True),
        (("vma: can't write to volume: No space left on device",), False),
    ],
    ids=["flipped", "target full"],
)
def test_law_5_an_archive_whose_bytes_pve_could_not_restore_is_damaged_from_then_on(
    site: World, log: tuple[str, ...], damaged: bool
) -> None:
    """Both end with the same exit status."""
    result = ended("command 'zstd -q -d -c x | vma extract' failed: exit code 133", *log)
    site.restore_pve = SimpleNamespace(
        restore=SimpleNamespace(start=lambda *args, **named: UPID),
        tasks=SimpleNamespace(
            poll=lambda upid: result, find=lambda node, **wanted: [], surely_runs=lambda upid: False
        ),
    )
    engine = Engine(site, KINDS)
    operation = engine.open("restore", 108, RestoreMemory(ARCHIVE, "clovis", storage="local-lvm"))
    assert operation
    claimed = site.catalog.operations.claim(operation.id, engine.executor.driver())
    assert claimed
    run: Run[RestoreMemory] = context.Run(engine.executor, site, claimed, FORM)
    run.enter("restore")
    with pytest.raises(TaskFailed):
        restore.restore(run)
    known = site.catalog.archives.get(ARCHIVE.node, ARCHIVE.volid)
    assert known and bool(known.damaged) is damaged


@pytest.mark.parametrize("state", [None, OperationState.DONE])
def test_law_1_a_stub_that_no_failed_restore_of_ours_left_is_nobodys_to_remove(
    site: World,
    state: OperationState | None,
) -> None:
    destroyed = stub(site, None)
    if state:
        failed_before(site, state)
    with pytest.raises(LawRefused, match="left alone"):
        chosen(site)
    assert destroyed == []
