"""What a loss would leave, asked of the site: what a dead node's guests need is looked up where it
was kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from backupsvc.cli.what_if import as_dict
from backupsvc.copies.config_sets import folder_of, pack
from backupsvc.copies.snapshots import CONFIG, name_at
from backupsvc.errors import PveError, UsageError
from backupsvc.report.what_if import ask
from policies.cluster_config import ConfigSet
from policies.model import Node
from policies.what_if.decide import GuestAfter, WhatIf
from policies.what_if.loss import Loss
from tests.catalogs import new_catalog
from tests.fakes.clock import StoppedClock
from tests.unit.report.langeo import GIB, NIGHTS, NOW, archive, guest, policy
from tests.unit.report.worlds import World, served

REPLICATION = "nodes/clovis/replication"
CLOVIS = Loss(frozenset({"clovis"}))
KEPT = "memory: 2048\nnet0: virtio=BC:24:11:00:00:08,bridge=vmbr0\nscsi0: local-lvm:vm-108-disk-0,size=16G\n"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(new_catalog(tmp_path)) as opened:
        yield opened


@pytest.fixture
def world() -> World:
    """A site whose archives lie on the other node too, which has room and memory."""
    made = World()
    made.guest_list = [guest(108, max_memory=2 * GIB)]
    made.node_list = [Node(name, True, 64 * GIB, 8 * GIB) for name in ("clovis", "lge-pve02")]
    # no real server was asked for its replications, so the fake does not know that call
    made.told[REPLICATION] = []
    made.archive_list = [archive(108, NIGHTS[-1], node) for node in ("clovis", "lge-pve02")]
    return made


def asked(world: World, catalog: Catalog, state: Path, loss: Loss = CLOVIS) -> WhatIf:
    service: Any = SimpleNamespace(
        pve=served(world),
        catalog=catalog,
        policy=replace(policy(), jobs=(), guests={108: policy().guests[108]}),
        clock=StoppedClock(NOW),
        settings=SimpleNamespace(state_dir=state),
    )
    return ask(service, loss)


def only(found: WhatIf) -> GuestAfter:
    (one,) = found.guests
    return one


def test_a_guest_is_placed_by_the_config_that_it_has_now(
    world: World, catalog: Catalog, tmp_path: Path
) -> None:
    one = only(asked(world, catalog, tmp_path))
    assert (one.recoverable, one.target, one.notes) == (True, "lge-pve02", ("never proven",))


def test_names_that_the_cluster_does_not_have_are_wrong_usage(
    world: World, catalog: Catalog, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no node clovsi"):
        asked(world, catalog, tmp_path, Loss(frozenset({"clovsi"})))
    with pytest.raises(UsageError, match="no storage nas") as caught:
        asked(world, catalog, tmp_path, Loss(storages=frozenset({"nas"})))
    assert "local, local-lvm" in caught.value.hint.replace(" and ", ", ")


def kept(state: Path, text: str = KEPT, at: int = NOW - 3600) -> None:
    files = {"guests/qemu-108.conf": text}
    (folder_of(state) / name_at(at, "tar", CONFIG)).write_bytes(pack(ConfigSet(files, {})))


def dead(world: World) -> World:
    world.node_list = [Node("clovis", False), Node("lge-pve02", True, 64 * GIB, 8 * GIB)]
    return world


def test_of_a_node_that_is_dead_already_the_kept_configuration_tells(
    world: World, catalog: Catalog, tmp_path: Path
) -> None:
    kept(tmp_path, KEPT.replace("vmbr0", "vmbr99"), NOW - 86400)
    kept(tmp_path)
    found = asked(dead(world), catalog, tmp_path)
    assert only(found).recoverable is True
    assert found.unseen[-1].startswith("what guest 108 needs is taken from the configuration kept")


@pytest.mark.parametrize("state", ["nothing", "other", "damaged"])
def test_what_was_not_kept_or_cannot_be_read_is_not_known(
    world: World, catalog: Catalog, tmp_path: Path, state: str
) -> None:
    if state == "other":
        (folder_of(tmp_path) / name_at(NOW, "tar", CONFIG)).write_bytes(
            pack(ConfigSet({"guests/qemu-109.conf": KEPT}, {}))
        )
    elif state == "damaged":
        (folder_of(tmp_path) / name_at(NOW, "tar", CONFIG)).write_bytes(b"nothing of ours")
    found = asked(dead(world), catalog, tmp_path)
    assert only(found).recoverable is None
    assert ("no kept configuration" in " ".join(found.unseen)) == (state == "damaged")


def test_a_storage_that_only_a_dead_node_has_is_known_by_its_archives(
    world: World, catalog: Catalog, tmp_path: Path
) -> None:
    lost = archive(108, NIGHTS[-1], storage="old-disk")
    catalog.archives.observe([lost], scope=[], at=NOW)
    found = asked(dead(world), catalog, tmp_path, Loss(storages=frozenset({"old-disk"})))
    assert found.guests == ()


def sent(**changes: Any) -> list[dict[str, Any]]:
    row = {"id": "108-0", "guest": 108, "target": "lge-pve02", "last_sync": NOW - 60}
    return [row | {"fail_count": 0, "schedule": "*/15"} | changes]


def test_a_replica_that_pve_keeps_is_a_way_back_and_what_is_being_removed_is_none(
    world: World, catalog: Catalog, tmp_path: Path
) -> None:
    world.told[REPLICATION] = sent()
    one = only(asked(world, catalog, tmp_path))
    assert one.source and (one.source.kind, one.age) == ("replica", 60)
    world.told[REPLICATION] = sent(remove_job="full")
    one = only(asked(world, catalog, tmp_path))
    assert one.source and one.source.kind == "archive"


def test_a_replica_is_a_way_back_too_where_only_the_storage_is_lost(
    world: World, catalog: Catalog, tmp_path: Path
) -> None:
    world.told[REPLICATION] = sent()
    lost = frozenset({"local-lvm"})
    loss = Loss(storages=lost, sound=frozenset({"lge-pve02"}))
    one = only(asked(world, catalog, tmp_path, loss))
    assert one.source and (one.source.kind, one.age, one.target) == ("replica", 60, "lge-pve02")
    # where its target lost that storage as well there is none
    one = only(asked(world, catalog, tmp_path, Loss(storages=lost)))
    assert one.source and one.source.kind == "archive"


def test_replicas_that_cannot_be_told_are_said_to_be_unknown(
    world: World, catalog: Catalog, tmp_path: Path
) -> None:
    world.refuse["replication clovis"] = PveError("no replication for you")
    found = asked(world, catalog, tmp_path)
    assert any("which replicas there are of the guests on clovis" in one for one in found.unseen)


def test_as_json_it_names_the_source_and_says_what_is_not_known(
    world: World, catalog: Catalog, tmp_path: Path
) -> None:
    told = as_dict(asked(world, catalog, tmp_path))
    assert told["lost"] == {"nodes": ["clovis"], "storages": [], "site": False}
    (one,) = told["guests"]
    assert one["source"] == {
        "kind": "archive",
        "volid": archive(108, NIGHTS[-1]).volid,
        "node": "lge-pve02",
        "place": "lge-pve02",
        "age_seconds": NOW - NIGHTS[-1],
        "proven": False,
    }
    world.archive_list = world.archive_list[:1]
    told = as_dict(asked(world, catalog, tmp_path))
    assert told["guests"][0]["source"]["kind"] == "none" and not told["well"]
