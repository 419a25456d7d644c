"""What the recovery of a storage would do: only what is known to be lost is, whatever one of the
tokens is not told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from backupsvc.errors import PveUnreachable
from backupsvc.report.recover import Ahead, look_ahead
from policies.model import Node
from policies.recover.plan import Way
from tests.catalogs import new_catalog
from tests.fakes.clock import StoppedClock
from tests.unit.report.langeo import GIB, NIGHTS, NOW, archive, guest, policy
from tests.unit.report.worlds import World, served

LOST, HERE = "clovis", "lge-pve02"
SILENT = {f"storages of {LOST}": PveUnreachable("596 Connection timed out")}


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(new_catalog(tmp_path)) as opened:
        yield opened


def world(*having: str) -> World:
    """Guest 108, whose archive lies on both nodes; its storage is active on those that have it."""
    made = World()
    made.guest_list = [guest(108, max_memory=2 * GIB)]
    made.node_list = [Node(name, True, 64 * GIB, 8 * GIB) for name in (LOST, HERE)]
    made.told[f"nodes/{LOST}/replication"] = []
    made.archive_list = [archive(108, NIGHTS[-1], node) for node in (LOST, HERE)]
    made.storage_list = [
        replace(one, active=one.name == "local" or one.node in having) for one in made.storage_list
    ]
    return made


def ahead(everyday: World, restoring: World, catalog: Catalog, state: Path) -> Ahead:
    """What would be done, as the site tells it to each of the tokens."""
    service: Any = SimpleNamespace(
        pve=served(everyday),
        restore_pve=served(restoring),
        catalog=catalog,
        policy=replace(policy(), jobs=(), guests={108: policy().guests[108]}),
        clock=StoppedClock(NOW),
        settings=SimpleNamespace(state_dir=state),
    )
    return look_ahead(service, "", "local-lvm")


def test_a_storage_that_one_node_cannot_use_is_lost_there(catalog: Catalog, tmp_path: Path) -> None:
    found = ahead(world(HERE), world(HERE), catalog, tmp_path)
    (one,) = found.plan
    assert (one.vmid, one.way, one.target, one.home) == (108, Way.RESTORE, HERE, LOST)
    assert found.well and not found.online and not found.found.hidden


def test_a_replica_on_a_node_that_has_the_storage_comes_before_an_older_archive(
    catalog: Catalog, tmp_path: Path
) -> None:
    everyday = world(HERE)
    row = {"id": "108-0", "guest": 108, "target": HERE, "last_sync": NOW - 60, "fail_count": 0}
    everyday.told[f"nodes/{LOST}/replication"] = [row]
    (one,) = ahead(everyday, world(HERE), catalog, tmp_path).plan
    assert (one.way, one.source, one.at) == (Way.BY_HAND, f"replica, replica on {HERE}", NOW - 60)
    assert one.commands[0] == f"# on {LOST}:" and one.commands[-1] == "qm start 108"


@pytest.mark.parametrize("who", ["everyday", "restoring", "both"])
def test_law_4_a_node_that_does_not_say_its_storages_has_not_lost_one(
    catalog: Catalog, tmp_path: Path, who: str
) -> None:
    tokens = {"everyday": world(HERE), "restoring": world(HERE)}
    for name, one in tokens.items():
        if who in (name, "both"):
            one.refuse = dict(SILENT)
        else:  # which is not told of the storage there
            one.storage_list = [
                it for it in one.storage_list if (it.name, it.node) != ("local-lvm", LOST)
            ]
    found = ahead(tokens["everyday"], tokens["restoring"], catalog, tmp_path)
    assert found.plan == () and not found.online and not found.well
    assert (
        f"{LOST} did not say its storages (596 Connection timed out), so whether local-lvm is lost "
        "there is not known" in found.found.hidden
    )


@pytest.mark.parametrize("seeing", ["everyday", "restoring"])
def test_what_one_token_has_no_right_on_and_the_other_sees_is_not_lost(
    catalog: Catalog, tmp_path: Path, seeing: str
) -> None:
    tokens = {"everyday": world(LOST, HERE), "restoring": world(LOST, HERE)}
    for name, one in tokens.items():
        if name != seeing:
            one.storage_list = [it for it in one.storage_list if it.name != "local-lvm"]
    known = archive(108, NIGHTS[0], HERE, storage="local-lvm")
    catalog.archives.observe([known], scope=[], at=NOW)
    found = ahead(tokens["everyday"], tokens["restoring"], catalog, tmp_path)
    assert found.plan == () and found.online


def test_what_one_token_is_not_told_the_other_may_know(catalog: Catalog, tmp_path: Path) -> None:
    mute = world(HERE)
    mute.refuse = dict(SILENT)
    found = ahead(world(HERE), mute, catalog, tmp_path)
    assert [one.vmid for one in found.plan] == [108] and found.well


def test_a_storage_that_no_node_lists_may_be_one_that_the_tokens_may_not_see(
    catalog: Catalog, tmp_path: Path
) -> None:
    blind = world()
    blind.storage_list = [one for one in blind.storage_list if one.name == "local"]
    catalog.archives.observe([archive(108, NIGHTS[0], HERE, storage="local-lvm")], scope=[], at=NOW)
    found = ahead(blind, blind, catalog, tmp_path)
    assert [one.vmid for one in found.plan] == [108] and not found.well
    assert any("no node lists storage local-lvm" in line for line in found.found.hidden)
