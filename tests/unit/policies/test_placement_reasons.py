"""Which node and which storage take a copy where the facts are bare, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies import placement
from policies.model import Archive, Guest, GuestType, Node, Scratch, Storage
from policies.placement import NoPlace, Placement

GIB = 1 << 30
LOCAL = Archive("local:backup/x", "a", "local", 108, GuestType.QEMU, 1, GIB)
SHARED = replace(LOCAL, storage="nas", volid="nas:backup/x", shared=True)
CONFIG = {"scsi0": "thin:vm-108-disk-0,size=10G"}


def disks(name: str, node: str, free: int = 100, **more: Any) -> Storage:
    made = Storage(name, node, "dir", frozenset({"images"}), total=200 * GIB, available=free * GIB)
    return replace(made, **more)


def nas(node: str, **more: Any) -> Storage:
    return disks("nas", node, content=frozenset({"backup"}), shared=True, **more)


def place(**changes: Any) -> Placement | NoPlace:
    facts: dict[str, Any] = {
        "archive": SHARED,
        "config": CONFIG,
        "guests": [Guest(7, "other", "b"), Guest(108, "mine", "a")],
        "nodes": [Node("a", True, 64 * GIB, GIB), Node("b", True, 64 * GIB, GIB)],
        "storages": [nas("a"), nas("b"), disks("thin", "a"), disks("thin", "b")],
        "taken": (),
        "scratch": Scratch(9000, 9009),
        "disks_total": 10 * GIB,
        "memory": 2 * GIB,
    }
    return placement.choose(**(facts | changes))


def where(**changes: Any) -> tuple[str, str]:
    found = place(**changes)
    assert isinstance(found, Placement), found
    return found.node, found.storage


def test_the_guests_own_node_is_that_of_this_guest_and_comes_last() -> None:
    assert where() == ("b", "thin")
    assert where(guests=[Guest(7, "other", "a"), Guest(108, "mine", "b")]) == ("a", "thin")


def test_the_node_with_the_most_memory_to_spare_comes_first() -> None:
    nodes = [Node("b", True, 64 * GIB, 60 * GIB), Node("c", True, 32 * GIB, 2 * GIB)]
    storages = [nas("b"), nas("c"), disks("thin", "b"), disks("thin", "c")]
    assert where(nodes=nodes, storages=storages) == ("c", "thin")


def test_the_node_of_the_policy_is_taken_and_no_other() -> None:
    assert where(scratch=Scratch(9000, 9009, node="a")) == ("a", "thin")
    found = place(scratch=Scratch(9000, 9009, node="c"))
    assert isinstance(found, NoPlace) and "the policy wants copies on c" in found.reasons[0]


@pytest.mark.parametrize(
    ("most", "used", "fits"),
    [(3, 1, True), (2, 1, False), (0, 5, True), (1, 0, True)],
    ids=["just enough", "too little", "no maximum is known", "no use is known"],
)
def test_memory_that_is_not_known_is_not_held_against_a_node(
    most: int, used: int, fits: bool
) -> None:
    found = place(nodes=[Node("b", True, most * GIB, used * GIB)])
    assert isinstance(found, Placement) is fits


def test_a_node_that_uses_more_memory_than_it_has_has_none_to_spare() -> None:
    found = place(nodes=[Node("b", True, 4 * GIB, 5 * GIB)])
    assert isinstance(found, NoPlace) and found.reasons == (
        "b: 2.0 GiB of memory are needed, 0 B are to spare",
    )


def test_the_path_on_which_the_token_may_lack_a_right_is_named() -> None:
    hidden = "is shown to this token: there is none, or the token lacks Datastore.Audit on"
    node, archive = [Node("a", True)], LOCAL
    assert place(nodes=node, archive=archive, storages=[]) == NoPlace(
        (f"a: no storage {hidden} /storage",)
    )
    named = Scratch(9000, 9009, storage="fast")
    assert place(nodes=node, archive=archive, storages=[], scratch=named) == NoPlace(
        (f"a: no storage fast {hidden} /storage/fast",)
    )


@pytest.mark.parametrize(
    "lacking", [[nas("b", active=False)], [nas("a")], [nas("b", enabled=False)], []]
)
def test_a_node_that_cannot_read_the_archives_storage_itself_is_passed_over(
    lacking: list[Storage],
) -> None:
    found = place(nodes=[Node("b", True)], storages=[*lacking, disks("thin", "b")])
    assert isinstance(found, NoPlace) and found.reasons == ("b: the node cannot read storage nas",)


def test_a_cluster_without_nodes_is_told_so() -> None:
    assert place(nodes=[]) == NoPlace(("the cluster shows no node",))


@pytest.mark.parametrize(
    ("config", "storage"),
    [
        ({}, "roomy"),
        ({"scsi0": "thin:vm-108-disk-0,size=1G"}, "thin"),
        ({"#scsi1": "thin:vm-108-disk-1,size=1G"}, "roomy"),  # commented out: not restored
        ({"vga": "thin"}, "roomy"),
        ({"scsi0": "gone:vm-108-disk-0", "scsi1": "thin:vm-108-disk-1"}, "thin"),
    ],
)
def test_the_storage_that_the_disks_came_from_is_taken_before_the_roomiest(
    config: dict[str, str], storage: str
) -> None:
    storages = [nas("b"), disks("small", "b", 20), disks("thin", "b", 30), disks("roomy", "b", 90)]
    assert where(config=config, storages=storages) == ("b", storage)


@pytest.mark.parametrize(
    ("total", "free", "fits"),
    [(200, 11, True), (200, 10, False), (0, 0, True)],
    ids=["just enough with the headroom", "enough without it", "not known"],
)
def test_room_that_is_not_known_is_not_held_against_a_storage(
    total: int, free: int, fits: bool
) -> None:
    storages = [nas("b"), disks("thin", "b", free, total=total * GIB)]
    found = place(storages=storages)
    assert isinstance(found, Placement) is fits


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {},
            (
                "b can read the archive, and is not the guest's node",
                "storage thin: 100.0 GiB free, 11.0 GiB needed",
            ),
        ),
        (
            {"archive": LOCAL, "storages": [disks("thin", "a", 0, total=0)]},
            (
                "a alone can read the archive, and it is the guest's own node",
                "storage thin: of unknown room, 11.0 GiB needed",
            ),
        ),
        (
            {"nodes": [Node("a", True)]},
            (
                "a is the guest's own node: no other can take the copy",
                "storage thin: 100.0 GiB free, 11.0 GiB needed",
            ),
        ),
        (
            {"archive": LOCAL, "guests": []},
            (
                "a can read the archive, and is not the guest's node",
                "storage thin: 100.0 GiB free, 11.0 GiB needed",
            ),
        ),
    ],
)
def test_the_choice_is_explained(changes: dict[str, Any], said: tuple[str, str]) -> None:
    found = place(**changes)
    assert isinstance(found, Placement) and found.reasons[:2] == said


def test_a_node_that_did_not_say_its_storages_takes_no_copy_and_its_error_is_told() -> None:
    assert where() == ("b", "thin")
    found = place(silent={"b": "595 No route to host"})
    assert isinstance(found, Placement) and found.node == "a"
    assert found.reasons[-1] == "b: it did not say which storages it has (595 No route to host)"
