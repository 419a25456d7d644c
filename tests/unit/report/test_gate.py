"""The gate asks the site: what works there before, while and after it is looked at counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from backupsvc.catalog.operations import Driver, Kept, NewOperation
from backupsvc.errors import UsageError
from backupsvc.operations.backup import memory as backup
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.pve.tasks import TaskRow
from backupsvc.report import facts, gate
from policies.gate import Asked, Gate
from policies.model import Operation, OperationState
from tests.catalogs import new_catalog
from tests.fakes.clock import StoppedClock
from tests.unit.report.langeo import NIGHTS, NOW, policy, proof
from tests.unit.report.worlds import TOKEN, World, served

WRITTEN = backup.FORM.write(BackupMemory("nightly"))
DRIVER = Driver("a", 600, NOW)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(new_catalog(tmp_path)) as opened:
        yield opened


@pytest.fixture
def world(catalog: Catalog) -> World:
    """A site of which 108 is proven."""
    made = World()
    catalog.archives.observe(made.archive_list, scope=[], at=NOW)
    catalog.proofs.record(proof(108, NIGHTS[-1]))
    return made


def ask(world: World, catalog: Catalog, **wanted: Any) -> Gate:
    service: Any = SimpleNamespace(
        pve=served(world), catalog=catalog, policy=policy(), clock=StoppedClock(NOW)
    )
    return gate.ask(service, Asked(**wanted))


def opened(catalog: Catalog, vmid: int, at: int = NOW) -> Operation:
    made = catalog.operations.open(NewOperation("backup", vmid, "dump", WRITTEN), at, DRIVER)
    assert made
    return made


def ended(catalog: Catalog, one: Operation) -> None:
    catalog.operations.finish(
        one.id,
        DRIVER,
        OperationState.DONE,
        kept=Kept(WRITTEN, one.book),
        error=None,
        note=None,
    )


def test_it_is_open_for_what_is_proven_and_shut_for_the_site_of_which_that_is_one(
    world: World, catalog: Catalog
) -> None:
    assert ask(world, catalog, vmids=(108,)).open
    found = ask(world, catalog, nodes=("clovis",))
    assert not found.open and [one.vmid for one in found.guests if one.ok] == [108]


def test_a_node_that_the_cluster_does_not_have_is_wrong_usage_and_names_those_it_has(
    world: World, catalog: Catalog
) -> None:
    with pytest.raises(UsageError, match="no node clovsi") as caught:
        ask(world, catalog, nodes=("clovsi", "clovis"))
    assert "clovis" in caught.value.hint and "lge-pve02" in caught.value.hint


def test_an_open_operation_shuts_it_and_one_that_ended_before_does_not(
    world: World, catalog: Catalog
) -> None:
    before = opened(catalog, 108, NOW - 60)
    found = ask(world, catalog, vmids=(108,))
    assert found.guests[0].reasons == (f"backup {before.id} is at work",)
    ended(catalog, before)
    assert ask(world, catalog, vmids=(108,)).open


@pytest.mark.parametrize("ends", [False, True])
def test_what_begins_while_the_site_is_read_shuts_it_though_it_ended_by_then(
    world: World, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    collect = facts.collect

    def meanwhile(*words: Any) -> Any:
        found = collect(*words)
        made = opened(catalog, 108)
        if ends:
            ended(catalog, made)
        return found

    monkeypatch.setattr("backupsvc.report.gate.collect", meanwhile)
    found = ask(world, catalog, vmids=(108,))
    assert not found.open and found.guests[0].reasons[0].startswith("backup ")


def test_what_ends_while_the_site_is_read_shuts_it(
    world: World, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect, before = facts.collect, opened(catalog, 108, NOW - 60)

    def meanwhile(*words: Any) -> Any:
        found = collect(*words)
        ended(catalog, before)
        return found

    monkeypatch.setattr("backupsvc.report.gate.collect", meanwhile)
    assert not ask(world, catalog, vmids=(108,)).open


def test_a_dump_of_somebody_else_shuts_it(world: World, catalog: Catalog) -> None:
    upid = "UPID:clovis:00001F40:0002A1B3:67CE1F00:vzdump:108:root@pam:"
    world.task_list = [TaskRow(upid, "running", NOW - 5, "root@pam")]
    found = ask(world, catalog, vmids=(108,))
    assert found.guests[0].reasons == (f"PVE dumps it in task {upid}",)
    assert ask(world, catalog, vmids=(105,)).at_work == ()
    world.task_list = [TaskRow(upid.replace("root@pam", TOKEN), "running", NOW - 5, TOKEN)]
    assert ask(world, catalog, vmids=(108,)).open, "our own is known by its operation"


def test_an_operation_of_a_kind_that_this_version_does_not_know_shuts_it_too(
    world: World, catalog: Catalog
) -> None:
    catalog.operations.open(NewOperation("defrost", 108, "x", {}), NOW - 60)
    assert ask(world, catalog, vmids=(108,)).guests[0].reasons[0].startswith("defrost ")
