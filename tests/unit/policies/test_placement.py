"""Where a copy goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from policies import placement
from policies.model import Archive, Guest, GuestType, Node, Scratch, Storage
from policies.placement import NoPlace, Placement

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
SHARED = replace(
    ARCHIVE,
    storage="nas",
    volid="nas:backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst",
    shared=True,
)
NODES = [Node("clovis", True, 64 * GIB, 40 * GIB), Node("lge-pve02", True, 64 * GIB, 10 * GIB)]
GUESTS = [Guest(108, "Debian-Server", "clovis"), Guest(9000, "left-behind", "lge-pve02")]
CONFIG = {
    "scsi0": "local-lvm:vm-108-disk-0,size=16G",
    "net0": "virtio=BC:24:11:00:00:08,bridge=vmbr0",
}
SCRATCH = Scratch(9000, 9009, bridge="vmbr9")


def storage(name: str, node: str, free: int = 100, content: str = "images", **more: Any) -> Storage:
    return Storage(
        name, node, "dir", frozenset(content.split()), total=200 * GIB, available=free * GIB, **more
    )


STORAGES = [
    storage("local", "clovis", content="backup iso"),
    storage("local-lvm", "clovis", 50),
    storage("roomy", "clovis", 900),
    storage("local", "lge-pve02", content="backup iso"),
    storage("local-lvm", "lge-pve02", 50),
    storage("nas", "clovis", content="backup", shared=True),
    storage("nas", "lge-pve02", content="backup", shared=True),
]


def choose(**changes: Any) -> Placement | NoPlace:
    facts: dict[str, Any] = {
        "archive": ARCHIVE,
        "config": CONFIG,
        "guests": GUESTS,
        "nodes": NODES,
        "storages": STORAGES,
        "taken": {9001, 9002},
        "scratch": SCRATCH,
        "disks_total": 16 * GIB,
        "memory": 2 * GIB,
    }
    return placement.choose(**(facts | changes))


def placed(**changes: Any) -> tuple[int, str, str]:
    found = choose(**changes)
    assert isinstance(found, Placement), found
    assert found.reasons
    return found.vmid, found.node, found.storage


def refused(**changes: Any) -> str:
    found = choose(**changes)
    assert isinstance(found, NoPlace), found
    return "; ".join(found.reasons)


def test_a_local_archive_is_restored_on_its_own_node_into_the_storage_its_disks_came_from() -> None:
    assert placed() == (9003, "clovis", "local-lvm")


def test_a_shared_archive_is_restored_on_another_node_than_the_guests() -> None:
    assert placed(archive=SHARED)[1] == "lge-pve02"


def test_a_shared_archive_falls_back_to_the_guests_node_and_says_why() -> None:
    found = choose(archive=SHARED, nodes=[NODES[0], replace(NODES[1], online=False)])
    assert isinstance(found, Placement) and found.node == "clovis"
    assert "lge-pve02: the node is offline" in found.reasons


def test_a_node_on_which_the_last_test_could_not_be_decided_comes_last_but_is_taken_if_it_is_the_only_one() -> (
    None
):
    assert placed(archive=SHARED, avoided="lge-pve02")[1] == "clovis"
    found = choose(avoided="clovis")
    assert (
        isinstance(found, Placement)
        and found.node == "clovis"
        and "could not be decided there" in found.reasons[0]
    )


def test_a_local_archive_of_a_dead_node_has_no_place_and_the_reason_names_it() -> None:
    assert "cannot read storage local of clovis" in refused(
        nodes=[replace(NODES[0], online=False), NODES[1]]
    )


def test_law_1_the_vmid_is_the_lowest_of_the_range_that_is_no_guests_and_not_taken() -> None:
    assert placed()[0] == 9003
    assert "9000-9001 is taken" in refused(scratch=replace(SCRATCH, last=9001))


@given(st.sets(st.integers(9000, 9009)), st.sets(st.integers(9000, 9009)))
def test_law_1_no_proposed_vmid_is_ever_in_use_or_out_of_range(
    guests: set[int], taken: set[int]
) -> None:
    there = [Guest(vmid, "x", "clovis") for vmid in guests]
    found = choose(guests=there, taken=taken)
    if isinstance(found, NoPlace):
        assert guests | taken >= set(range(9000, 9010))
    else:
        assert found.vmid in SCRATCH and found.vmid not in guests | taken


def test_a_node_without_memory_to_spare_is_passed_over_but_unknown_memory_is_no_reason() -> None:
    assert "30.0 GiB of memory are needed, 24.0 GiB are to spare" in refused(memory=30 * GIB)
    assert placed(memory=30 * GIB, nodes=[Node("clovis", True)])[1] == "clovis"


def test_the_policys_storage_and_node_are_obeyed() -> None:
    assert placed(scratch=replace(SCRATCH, storage="roomy"))[2] == "roomy"
    nowhere = refused(scratch=replace(SCRATCH, storage="elsewhere"))
    assert (
        "no storage elsewhere is shown to this token: there is none, or the token lacks "
        "Datastore.Audit" in nowhere
    )
    assert "the policy wants copies on lge-pve02" in refused(
        scratch=replace(SCRATCH, node="lge-pve02")
    )


def test_a_full_storage_is_passed_over_for_the_next_and_both_are_accounted_for() -> None:
    found = choose(disks_total=60 * GIB)
    assert isinstance(found, Placement) and found.storage == "roomy"
    assert "clovis: storage local-lvm has 50.0 GiB free, 66.0 GiB are needed" in found.reasons


def test_a_storage_that_holds_no_images_is_inactive_or_disabled_is_never_chosen() -> None:
    dead = [
        storage("a", "clovis", content="backup"),
        storage("b", "clovis", active=False),
        storage("c", "clovis", enabled=False),
    ]
    text = refused(storages=dead)
    assert (
        "storage a holds no disk images" in text
        and "storage b is not active" in text
        and "storage c" not in text
    )


def test_a_copy_that_is_asked_over_the_network_goes_only_where_a_probe_is() -> None:
    shared = replace(ARCHIVE, storage="nas", shared=True)
    assert placed(archive=shared, network_nodes={"clovis"})[1] == "clovis"
    assert placed(archive=shared, network_nodes={"lge-pve02"})[1] == "lge-pve02"
    assert placed(archive=shared, network_nodes=None)[1] == "lge-pve02"
    assert "clovis: no probe is on its isolated bridge" in refused(archive=shared, network_nodes=())


def test_free_and_needed_never_read_alike() -> None:
    tight = [replace(STORAGES[1], available=107_374_182)]
    assert "has 102.4 MiB free, 112.6 MiB are needed" in refused(
        storages=tight, disks_total=107_374_182
    )


def test_a_storage_of_other_nodes_a_disabled_one_and_one_that_is_not_shown_are_three_things() -> (
    None
):
    named = replace(SCRATCH, storage="fast")
    assert "clovis: storage fast is not there, only on lge-pve02" in refused(
        scratch=named, storages=[storage("fast", "lge-pve02")]
    )
    off = [storage("fast", "clovis", enabled=False)]
    assert "clovis: storage fast is disabled" in refused(scratch=named, storages=off)
    assert "clovis: no storage is shown to this token" in refused(storages=[])
