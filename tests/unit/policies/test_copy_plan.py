"""What a restore test would make of an archive, or why it would make nothing: decided before
anything is asked of PVE.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies import copy_plan
from policies.copy_plan import CopyPlan, Facts, Harmful, NoBridge
from policies.model import Archive, Guest, GuestPolicy, GuestType, Node, Scratch, Storage
from policies.placement import NoPlace

GIB = 1 << 30
ARCHIVE = Archive(
    "local:backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst",
    "clovis",
    "local",
    108,
    GuestType.QEMU,
    1773086402,
    GIB,
)
CONFIG = {
    "name": "Debian-Server",
    "memory": "4096",
    "net0": "virtio=BC:24:11:00:00:08,bridge=vmbr0,tag=10",
    "scsi0": "local-lvm:vm-108-disk-0,size=16G",
    "scsi1": "local-lvm:vm-108-disk-1,size=1G,backup=0",
    "ide2": "local:iso/debian.iso,media=cdrom",
}
SCRATCH = Scratch(9000, 9009, bridge="vmbr9")
GUEST = GuestPolicy(108, "Debian-Server", "standard", network="isolated")
RIGHTS = {
    "/": frozenset(
        {"VM.Config.Options", "VM.Config.HWType", "VM.Config.Network", "VM.Config.Disk", "SDN.Use"}
    )
}
FACTS = Facts(
    guests=[Guest(108, "Debian-Server", "clovis")],
    nodes=[Node("clovis", True, 16 * GIB, 4 * GIB)],
    storages=[
        Storage(
            "local-lvm",
            "clovis",
            "lvmthin",
            frozenset({"images"}),
            total=100 * GIB,
            available=50 * GIB,
        )
    ],
    permissions=RIGHTS,
)


def plan(
    config: dict[str, str] | None = None,
    *,
    guest: GuestPolicy = GUEST,
    scratch: Scratch = SCRATCH,
    facts: Facts = FACTS,
    taken: tuple[int, ...] = (),
) -> CopyPlan | Harmful | NoBridge | NoPlace:
    given = CONFIG if config is None else config
    return copy_plan.plan(
        ARCHIVE,
        given,
        guest=guest,
        scratch=scratch,
        facts=facts,
        taken=taken,
        operation="01J",
        service="us",
    )


def made(config: dict[str, str] | None = None, **changes: Any) -> CopyPlan:
    found = plan(config, **changes)
    assert isinstance(found, CopyPlan), found
    return found


def refused(found: CopyPlan | Harmful | NoBridge | NoPlace) -> str:
    assert not isinstance(found, CopyPlan | NoBridge)
    return "; ".join(found.reasons)


def test_law_2_a_copy_is_planned_onto_the_isolated_bridge_and_loses_what_could_do_harm() -> None:
    found = made()
    assert (found.vmid, found.node, found.storage, found.network, found.bridge) == (
        9000,
        "clovis",
        "local-lvm",
        "isolated",
        "vmbr9",
    )
    assert found.overrides["net0"] == "virtio=BC:24:11:00:00:08,bridge=vmbr9"
    assert "backupsvc-scratch-copy-of-operation-01J" in found.overrides["description"]
    assert "backupsvc-scratch-copy-of-service-us" in found.overrides["description"]
    assert (
        "net0: bridge vmbr0 became vmbr9" in found.changes
        and "net0: tag=10 dropped" in found.changes
    )
    assert found.stripped == ("ide2: medium local:iso/debian.iso,media=cdrom removed",)
    assert found.missing == ("scsi1",)
    assert any("clovis" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("guest", "site", "memory"),
    [
        (None, None, 4096),
        (1024, None, 1024),
        (None, 2048, 2048),
        (1024, 2048, 1024),
        (8192, None, 4096),
    ],
)
def test_the_smallest_cap_is_a_copys_memory_and_none_raises_it(
    guest: int | None, site: int | None, memory: int
) -> None:
    found = made(guest=replace(GUEST, memory=guest), scratch=replace(SCRATCH, memory=site))
    assert found.memory == memory
    assert ("memory" in found.overrides) == (memory < 4096)
    assert copy_plan.memory_cap(replace(GUEST, memory=guest), replace(SCRATCH, memory=site)) == min(
        filter(None, (guest, site)), default=None
    )


def test_the_memory_that_a_node_must_have_is_that_of_the_capped_copy_in_bytes() -> None:
    tight = replace(FACTS, nodes=[Node("clovis", True, 8 * GIB, 5 * GIB)])  # 3 GiB to spare
    assert "memory" in refused(plan(facts=tight))
    assert made(guest=replace(GUEST, memory=3 * 1024), facts=tight).node == "clovis"
    assert isinstance(plan(guest=replace(GUEST, memory=3 * 1024 + 1), facts=tight), NoPlace)


def test_the_disks_of_a_copy_must_find_room() -> None:
    small = [replace(FACTS.storages[0], available=17 * GIB)]
    assert isinstance(plan(guest=CAPPED, facts=replace(FACTS, storages=small)), NoPlace)


CAPPED = replace(GUEST, memory=1024)


def test_what_is_taken_and_where_it_may_not_go_is_kept_to() -> None:
    assert made(guest=CAPPED, taken=(9000, 9001)).vmid == 9002
    assert "probe" in refused(plan(guest=CAPPED, facts=replace(FACTS, network_nodes=())))
    two = replace(FACTS, nodes=[*FACTS.nodes, Node("lge-pve02", True, 8 * GIB, GIB)])
    assert "last test" in " ".join(made(guest=CAPPED, facts=replace(two, avoided="clovis")).reasons)
    assert "last test" not in " ".join(made(guest=CAPPED, facts=two).reasons)


@pytest.mark.parametrize(
    "config", [{"teleport7": "1"}, {"args": "-device x"}, {"net0": "what, ever="}]
)
def test_law_2_what_nobody_can_make_harmless_is_no_plan_and_says_which_key(
    config: dict[str, str],
) -> None:
    found = plan(CONFIG | config, guest=CAPPED)
    assert isinstance(found, Harmful)
    assert next(iter(config)) in refused(found) or "NIC" in refused(found)


def test_law_2_without_an_isolated_bridge_a_copy_that_must_be_asked_is_no_plan() -> None:
    found = plan(guest=CAPPED, scratch=replace(SCRATCH, bridge=None))
    assert isinstance(found, Harmful) and "needs scratch.bridge" in refused(found)
    down = made(guest=replace(CAPPED, network="link-down"), scratch=replace(SCRATCH, bridge=None))
    assert (down.bridge, down.overrides["net0"]) == (
        None,
        "virtio=BC:24:11:00:00:08,bridge=vmbr0,link_down=1",
    )


def test_a_copy_whose_links_are_down_hangs_on_a_bridge_that_the_token_may_use() -> None:
    rights = {
        **RIGHTS,
        "/": RIGHTS["/"] - {"SDN.Use"},
        "/sdn/zones/localnetwork/vmbr5": frozenset({"SDN.Use"}),
    }
    found = made(
        guest=replace(CAPPED, network="link-down"),
        scratch=replace(SCRATCH, bridge=None),
        facts=replace(FACTS, permissions=rights),
    )
    assert (found.bridge, found.overrides["net0"]) == (
        "vmbr5",
        "virtio=BC:24:11:00:00:08,bridge=vmbr5,link_down=1",
    )


def test_law_2_where_the_token_may_use_no_bridge_no_copy_is_planned_and_the_archives_own_are_named() -> (
    None
):
    rights = {"/": RIGHTS["/"] - {"SDN.Use"}}
    found = copy_plan.plan(
        ARCHIVE,
        CONFIG | {"net1": "virtio=BC:24:11:00:00:09,bridge=vmbr1,link_down=1"},
        guest=replace(CAPPED, network="link-down"),
        scratch=replace(SCRATCH, bridge=None),
        facts=replace(FACTS, permissions=rights),
        taken=(),
        operation="01J",
        service="us",
    )
    assert found == copy_plan.NoBridge(("vmbr0", "vmbr1"))
