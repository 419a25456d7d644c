"""A VMID is taken only when nothing has it and nothing had it: the look of ``reserve``, and the
look of ``restore``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.errors import LawRefused
from backupsvc.operations.restore.planning import plan_restore
from policies.model import Guest, Node, SeenStorages, Storage
from tests.fakes.made import archive
from tests.unit.operations.test_restore_test import ONE_BRIDGE, SCRATCH, Steps, site  # noqa: F401
from tests.unit.operations.worlds import World


def with_room(
    site: World, *, free: Any = lambda vmid: True, volumes: Any = lambda node, storage, vmid: []
) -> None:
    """Let PVE have room for a copy, and answer as told whether a VMID is free and which disks bear
    it.
    """
    disks = Storage(
        "local-lvm", "clovis", "lvmthin", frozenset({"images"}), available=1 << 40, total=1 << 40
    )
    site.pve = SimpleNamespace(
        cluster=SimpleNamespace(
            guests=list,
            nodes=lambda max_age=0.0: [Node("clovis", True, max_memory=1 << 40)],
            vmid_free=free,
            permissions=lambda: ONE_BRIDGE,
            ha_resources=set,
        ),
        scratch=lambda scratch, holder: SimpleNamespace(require_bridge=lambda node, network: ()),
        storage=SimpleNamespace(
            seen=lambda: SeenStorages(
                (
                    disks,
                    Storage("local", "clovis", "dir", frozenset({"backup"})),
                )
            ),
            volumes=volumes,
        ),
    )


def reserved(site: World) -> int:
    return Steps(site)("reserve").memory.reserved.vmid


def test_law_1_a_vmid_that_the_cluster_does_not_call_free_is_not_reserved(site: World) -> None:
    with_room(site, free=lambda vmid: vmid != SCRATCH.first)
    assert reserved(site) == SCRATCH.first + 1


def test_law_1_a_vmid_whose_disks_are_still_there_is_not_reserved(site: World) -> None:
    with_room(
        site,
        volumes=lambda node, storage, vmid: (
            ["local-lvm:vm-9000-disk-0"] if vmid == SCRATCH.first else []
        ),
    )
    assert reserved(site) == SCRATCH.first + 1


def test_law_1_a_vmid_that_has_archives_was_a_guest_once_and_is_not_reserved(site: World) -> None:
    with_room(site)
    site.catalog.archives.observe([archive(SCRATCH.first, 1)], scope=[], at=int(site.clock.now()))
    assert reserved(site) == SCRATCH.first + 1


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "hidden from this token"])
def test_law_1_a_restore_is_refused_where_the_vmid_is_in_use(site: World, listed: bool) -> None:
    guests = [Guest(108, "Debian-Server", "clovis", status="stopped")] if listed else []
    site.restore_pve = SimpleNamespace(
        cluster=SimpleNamespace(
            guests=lambda: guests,
            vmid_free=lambda vmid: False,
            nodes=lambda max_age=0.0: [Node("clovis", True)],
        )
    )
    with pytest.raises(LawRefused) as refused:
        plan_restore(site, 108, at=None, volid=None, node=None, storage=None)
    assert refused.value.exit_code == 4
