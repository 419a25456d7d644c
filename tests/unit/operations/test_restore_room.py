"""Whether the target has room for an archive's disks is measured before anything is written: when
planned, and once more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backupsvc.errors import NoRoom
from backupsvc.inventory.room import before_restore
from backupsvc.operations.restore.planning import open_restore, plan_restore
from backupsvc.operations.restore.result import restore_outcome
from policies.model import SeenStorages, Storage
from policies.room import DiskNeed
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.test_choosing import listing, plan, shown
from tests.unit.operations.test_choosing import site as site
from tests.unit.operations.worlds import World

MIB = 1 << 20
ONE = archive(108, 1)
LOCAL = Storage("local", "clovis", "dir", frozenset({"backup"}))
DISKS = Storage(
    "local-lvm", "clovis", "lvm", frozenset({"images"}), total=1000 * MIB, available=64 * MIB
)
OTHER = Storage(
    "tank", "clovis", "zfspool", frozenset({"images"}), total=1000 * MIB, available=500 * MIB
)


def stands(site: World, *storages: Storage) -> Cluster:
    """A cluster whose archive of guest 108 holds one disk of 64 MiB on local-lvm, and that has
    these storages.
    """
    cluster = listing(site, ONE, held={ONE.volid: CONFIG})
    cluster.storage.seen = lambda: SeenStorages((LOCAL, *storages))
    return cluster


def test_a_storage_that_has_just_the_room_takes_it_without_a_word(site: World) -> None:
    stands(site, DISKS)
    assert plan(site).room == ()


def test_where_it_surely_cannot_fit_nothing_begins_and_the_numbers_and_the_way_out_are_said(
    site: World,
) -> None:
    cluster = stands(site, replace(DISKS, available=63 * MIB), OTHER)
    with pytest.raises(NoRoom) as refused:
        plan(site)
    assert refused.value.exit_code == 4 and cluster.started == []
    assert refused.value.message == (
        "restoring guest 108 was not begun: storage local-lvm on clovis has 66.1 MB free, and 67.1 "
        "MB are needed, because it sets the whole size of a disk aside when the disk is made"
    )
    assert (
        refused.value.hint
        == "free 1.0 MB there, or put the disks elsewhere with --storage: tank (524.3 MB free)"
    )
    stands(site, replace(DISKS, available=0))
    with pytest.raises(NoRoom) as alone:
        plan(site)
    assert alone.value.hint == "free 67.1 MB there; no other storage of clovis has so much"


def test_the_storage_that_is_named_is_the_one_that_is_measured(site: World) -> None:
    stands(site, replace(DISKS, available=0), OTHER)
    asked: dict[str, Any] = {"at": None, "volid": None, "node": None}
    assert plan_restore(site, 108, storage="tank", **asked).room == ()


def test_a_thin_pool_may_be_overcommitted_so_that_is_a_warning_with_the_numbers(
    site: World,
) -> None:
    stands(site, replace(DISKS, type="lvmthin", available=63 * MIB))
    planned = plan(site)
    assert planned.room == (
        "storage local-lvm on clovis has 66.1 MB free, and the disks take 67.1 MB there when full: "
        "only what is written is allocated, so the restore may fit, and the guest run out of room "
        "later; free some, or name another storage with --storage",
    )
    assert f"  WARNING: {planned.room[0]}" in shown(site)
    stands(site, replace(DISKS, type="lvmthin", available=10))
    assert "; the archive alone is 1.0 kB packed, so it will hardly fit; " in plan(site).room[0]


@pytest.mark.parametrize(
    ("storages", "said"),
    [
        (
            [],
            "clovis shows no storage local-lvm, where the disks would go: name another with "
            "--storage, or PVE refuses the",
        ),
        (
            [replace(DISKS, total=0)],
            "how much storage local-lvm on clovis has free is not known; the disks take 67.1 MB "
            "there",
        ),
    ],
)
def test_what_is_not_known_of_the_room_is_said_and_hinders_nobody(
    site: World, storages: list[Storage], said: str
) -> None:
    stands(site, *storages)
    (found,) = plan(site).room
    assert found.startswith(said)


def test_a_node_that_does_not_say_its_storages_has_no_known_room(site: World) -> None:
    cluster = stands(site)
    cluster.storage.seen = lambda: SeenStorages((LOCAL,), {"clovis": "596 Connection timed out"})
    assert before_restore(cluster, 108, "clovis", [DiskNeed("local-lvm", 1)], 1) == [  # type: ignore[arg-type]
        "whether clovis has room for the disks is not known: it did not say which storages it has "
        "(596 Connection timed out)"
    ]


def test_room_that_was_taken_between_plan_and_restore_is_seen_before_anything_is_written(
    site: World,
) -> None:
    cluster = stands(site, DISKS)
    opened = open_restore(site, 108, replace(plan(site), start=False))
    cluster.storage.seen = lambda: SeenStorages((LOCAL, replace(DISKS, available=63 * MIB)))
    error = restore_outcome(site.engine.drive_one(opened))["error"]
    assert (error["step"], error["exit_code"]) == (
        "choose",
        4,
    ) and "66.1 MB free, and 67.1 MB are needed" in error["message"]
