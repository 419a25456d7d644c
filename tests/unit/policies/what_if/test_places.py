"""Which node could take a guest: what one takes is not there for the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.compliance.facts import BridgeFacts, GuestFacts, SiteFacts
from policies.model import Node
from policies.needs import Needs, Volume
from policies.what_if.loss import Loss
from policies.what_if.places import Place, Spare
from policies.what_if.sources import Kind, Source
from tests.unit.policies.what_if.sites import CLOVIS, NEEDS, disk, site
from tests.unit.report.langeo import GIB, NIGHTS, archive, guest, storage

HERE = frozenset({"lge-pve02"})
ARCHIVED = Source(
    Kind.ARCHIVE, NIGHTS[-1], "lge-pve02", HERE, archive(108, NIGHTS[-1], "lge-pve02")
)
COPIED = Source(Kind.COPY, NIGHTS[-1], "vault", None, archive(108, NIGHTS[-1]))
SHARED = Source(Kind.SHARED, NIGHTS[-1], "ceph", HERE)


def item(needs: Needs | None = NEEDS, **changes: Any) -> GuestFacts:
    return GuestFacts(108, "Debian-Server", guest(108, max_memory=2 * GIB, **changes), needs=needs)


def place(
    facts: SiteFacts, one: GuestFacts, source: Source = ARCHIVED, loss: Loss = CLOVIS
) -> Place:
    return Spare(facts, loss).best(one, source)


def room(available: int, **changes: Any) -> SiteFacts:
    """The site with so many bytes free where the disks were, on lge-pve02."""
    facts = site()
    return replace(
        facts,
        storages=tuple(
            replace(one, available=available, **changes)
            if (one.name, one.node) == ("local-lvm", "lge-pve02")
            else one
            for one in facts.storages
        ),
    )


def test_a_node_with_memory_room_and_bridges_fits() -> None:
    assert place(site(), item()) == Place("lge-pve02", True)


def test_a_node_that_is_not_left_cannot_take_it() -> None:
    found = place(site(), item(), replace(ARCHIVED, nodes=frozenset({"clovis"})))
    assert found == Place("clovis", False, None, ("clovis does not answer",))
    assert place(site(), item(), replace(ARCHIVED, nodes=frozenset())).fits is False


def test_memory_decides_and_one_that_is_not_told_is_not_known() -> None:
    facts = site()
    full = replace(facts, nodes=(facts.nodes[0], Node("lge-pve02", True, 8 * GIB, 7 * GIB)))
    found = place(full, item())
    assert found.fits is False and "1.0 GiB of memory to spare, 2.0 GiB" in found.reasons[0]
    over = replace(facts, nodes=(facts.nodes[0], Node("lge-pve02", True, 8 * GIB, 9 * GIB)))
    assert "0 B of memory to spare" in place(over, item()).reasons[0]
    assert place(full, item(status="stopped")).fits is True
    assert place(full, item(template=True)).fits is True
    mute = replace(facts, nodes=(facts.nodes[0], Node("lge-pve02", True)))
    assert place(mute, item()).fits is None


def test_of_a_guest_without_a_listed_size_its_config_tells() -> None:
    facts = site()
    tight = replace(facts, nodes=(facts.nodes[0], Node("lge-pve02", True, 8 * GIB, 5 * GIB)))
    needs = replace(NEEDS, memory=4 * GIB)
    one = replace(item(needs), guest=guest(108, max_memory=0))
    assert place(tight, one).fits is False
    assert place(tight, replace(one, needs=None)).fits is None


def test_what_one_guest_takes_the_next_one_lacks() -> None:
    facts = site()
    small = replace(facts, nodes=(facts.nodes[0], Node("lge-pve02", True, 8 * GIB, 5 * GIB)))
    spare = Spare(small, CLOVIS)
    first = spare.best(item(), ARCHIVED)
    spare.take(first, item(), ARCHIVED)
    assert first.fits is True and spare.best(item(), ARCHIVED).fits is False
    spare = Spare(room(30 * GIB, type="lvm"), CLOVIS)
    spare.take(spare.best(item(), ARCHIVED), item(), ARCHIVED)
    assert spare.best(item(), ARCHIVED).fits is False
    # disks that are there take no room, and of memory that is not told none is counted
    for source, one in ((SHARED, item()), (ARCHIVED, item(None))):
        spare = Spare(room(30 * GIB, type="lvm"), CLOVIS)
        spare.take(Place("lge-pve02", True), one, source)
        assert spare.best(item(), ARCHIVED).fits is True
    mute = replace(facts, nodes=(facts.nodes[0], Node("lge-pve02", True)))
    spare = Spare(mute, CLOVIS)
    spare.take(Place("lge-pve02", None), item(), ARCHIVED)
    assert spare.best(item(), ARCHIVED).fits is None


def test_a_shared_storage_fills_up_for_every_node() -> None:
    facts = site()
    shared = [storage("nas", node, "images", shared=True) for node in ("lge-pve02", "third")]
    both = replace(
        facts,
        nodes=(*facts.nodes, Node("third", True, 64 * GIB, 1 * GIB)),
        storages=tuple(replace(one, available=20 * GIB, type="lvm") for one in shared),
        bridges=None,
    )
    needs = Needs((disk("nas:1", 16 * GIB),))
    source = replace(ARCHIVED, nodes=frozenset({"lge-pve02", "third"}))
    spare = Spare(both, CLOVIS)
    first = spare.best(item(needs), source)
    assert (first.node, first.fits) == ("third", True)
    spare.take(first, item(needs), source)
    assert spare.best(item(needs), source).fits is False


def test_disks_go_elsewhere_if_their_storage_is_not_there_or_full() -> None:
    facts = room(GIB)
    roomy = replace(facts, storages=(*facts.storages, storage("tank", "lge-pve02", "images")))
    assert place(roomy, item()) == Place("lge-pve02", True, "tank")
    away = Needs((disk("ceph:1", GIB),), bridges=("vmbr0",))
    assert place(site(), item(away)).storage == "local-lvm"
    none = replace(site(), storages=(storage("local", "lge-pve02", "backup"),))
    found = place(none, item(away))
    assert found.fits is False and "has no storage ceph, and none with room" in found.reasons[0]


def test_disks_that_are_larger_than_the_room_may_still_fit_where_they_grow_as_written() -> None:
    thin = place(room(2 * GIB, type="lvmthin"), item())
    assert thin.fits is None and "once its disks are full" in thin.reasons[0]
    assert place(room(2 * GIB, type="lvm"), item()).fits is False
    # less than the archive itself, which is packed
    assert place(room(GIB // 2, type="lvmthin"), item()).fits is False
    assert place(room(0, type="lvmthin"), item(), replace(ARCHIVED, archive=None)).fits is None


def test_room_that_is_not_told_and_disks_without_a_size_are_not_known() -> None:
    assert place(room(0, total=0), item()).fits is None
    unsized = Needs((disk("local-lvm:1", None, "scsi1"),), bridges=("vmbr0",))
    found = place(site(), item(unsized))
    assert found.fits is None and "scsi1" in found.reasons[0]


def test_a_copy_needs_room_for_itself_too() -> None:
    assert place(site(), item(), COPIED).fits is True
    facts = site()
    full = replace(
        facts,
        storages=tuple(
            replace(one, available=0) if "backup" in one.content else one for one in facts.storages
        ),
    )
    found = place(full, item(), COPIED)
    assert found.fits is False and "bring the copy to" in found.reasons[0]
    assert place(full, item(), replace(COPIED, archive=None)).fits is True


def test_a_bridge_that_others_have_is_missed_and_one_that_none_lists_is_not_known() -> None:
    facts = site()
    assert facts.bridges
    only = replace(facts, bridges=(*facts.bridges, BridgeFacts("vmbr7", "clovis")))
    needs = replace(NEEDS, bridges=("vmbr0", "vmbr7"))
    found = place(only, item(needs))
    assert found == Place("lge-pve02", False, None, ("lge-pve02 has no bridge vmbr7",))
    assert place(facts, item(needs)).fits is None
    assert place(replace(facts, bridges=None), item()).fits is None
    assert place(facts, item(replace(NEEDS, bridges=()))).fits is True


def test_devices_and_media_of_a_node_are_not_known_elsewhere() -> None:
    found = place(site(), item(replace(NEEDS, local=("hostpci0 is a device of its node",))))
    assert found.fits is None and "hostpci0" in found.reasons[0]
    inserted = replace(NEEDS, files=(Volume("ide2", "local:iso/a.iso"),))
    assert place(site(), item(inserted)).fits is None
    facts = site()
    shared = replace(
        facts, storages=(*facts.storages, storage("isos", "lge-pve02", "iso", shared=True))
    )
    assert (
        place(shared, item(replace(NEEDS, files=(Volume("ide2", "isos:iso/a.iso"),)))).fits is True
    )


def test_a_node_with_fewer_cpus_starts_no_such_vm() -> None:
    facts = site()
    small = replace(facts.nodes[1], max_cpu=4)
    four = replace(facts, nodes=(facts.nodes[0], small))
    found = place(four, item(replace(NEEDS, cpus=8)))
    assert found.fits is False and "it has 4" in found.reasons[0]
    assert place(four, item(replace(NEEDS, cpus=4))).fits is True
    # a token that may not see the node's own figures is told none
    assert place(facts, item(replace(NEEDS, cpus=8))).fits is True


def test_what_is_not_known_of_a_guest_is_never_taken_for_nothing() -> None:
    assert place(site(), item(None)).fits is None
    facts = site()
    full = replace(facts, nodes=(facts.nodes[0], Node("lge-pve02", True, 8 * GIB, 8 * GIB)))
    assert place(full, item(None)).fits is False


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_the_node_with_the_most_memory_takes_it_whatever_its_name(order: tuple[str, str]) -> None:
    rich, poor = order
    facts = replace(
        site(),
        nodes=(Node(rich, True, 64 * GIB, GIB), Node(poor, True, 64 * GIB, 32 * GIB)),
        storages=tuple(storage("local-lvm", node, "images") for node in order),
        bridges=tuple(BridgeFacts("vmbr0", node) for node in order),
    )
    assert place(facts, item(), replace(ARCHIVED, nodes=frozenset(order))).node == rich


def test_after_the_whole_site_a_new_cluster_must_be_set_up() -> None:
    spare = Spare(site(), Loss(site=True))
    found = spare.best(item(), COPIED)
    spare.take(found, item(), COPIED)
    assert found.fits is True and "set up first" in found.reasons[0]
