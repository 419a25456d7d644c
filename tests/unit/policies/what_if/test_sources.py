"""Where a guest could come back from: only what is left, only what is its own, best first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from policies.compliance.facts import GuestFacts, SiteFacts
from policies.ha.facts import Replica
from policies.lineage import Identity
from policies.model import (
    Archive,
    ArchiveCopy,
    CopyRoute,
    CopyTarget,
    Directory,
    Node,
    Rung,
    SftpFolder,
    Suspicion,
    SuspicionKind,
)
from policies.needs import Needs
from policies.what_if.loss import Loss
from policies.what_if.sources import Kind, Source, sources
from tests.unit.policies.what_if.sites import CLOVIS, SHA, disk, replica, site
from tests.unit.report.langeo import (
    GIB,
    NIGHTS,
    NOW,
    archive,
    policy,
    proof,
    storage,
)

OUTSIDE = CopyTarget("vault", SftpFolder("vault.example", 22, "keeper", "/copies", ("key",)))
DISK = CopyTarget("usb", Directory("/mnt/usb"))


def left(
    facts: SiteFacts,
    item: GuestFacts,
    loss: Loss = CLOVIS,
    replicas: Iterable[Replica] = (),
) -> tuple[Source, ...]:
    return sources(facts, policy(copies=(OUTSIDE, DISK)), item, replicas, loss, Rung.HEALTHY)


def item(facts: SiteFacts, **changes: Any) -> GuestFacts:
    found = next(one for one in facts.guests if one.vmid == 108)
    return replace(found, **changes)


def copy(
    of: Archive,
    place: str = "vault",
    folder: str = "sftp://vault.example:22/copies",
    **changes: Any,
) -> ArchiveCopy:
    route = CopyRoute(place, folder, place, of.node, of.volid, of.vmid)
    file = of.volid.rpartition("/")[2]
    return replace(ArchiveCopy(route, file, of.size, SHA, NOW, "read back", "01COPY"), **changes)


def test_of_a_dead_node_the_copy_with_the_proven_bytes_is_the_first_way_back() -> None:
    facts = site()
    first, *others = left(facts, item(facts))
    assert (first.kind, first.place, first.at) == (Kind.ARCHIVE, "lge-pve02", NIGHTS[-1])
    # law 5: the proof is of the archive that is lost, and of these very bytes
    assert first.proof and first.proof.node == "clovis"
    assert [one.proof for one in others] == [None, None]
    assert [one.at for one in others] == [NIGHTS[1], NIGHTS[0]]


def test_law_5_bytes_that_differ_or_that_nobody_has_summed_are_not_proven_by_another() -> None:
    facts = site()
    for sha in (None, "cd" * 32):
        archives = tuple(
            one if one.node == "clovis" else replace(one, sha256=sha)
            for one in item(facts).archives
        )
        assert not any(one.proof for one in left(facts, item(facts, archives=archives)))
    unsummed = tuple(replace(one, sha256=None) for one in item(facts).archives)
    assert not any(one.proof for one in left(facts, item(facts, archives=unsummed)))


def test_on_a_simulated_cluster_nothing_is_proven() -> None:
    facts = replace(site(), simulated=True)
    assert not any(one.proof for one in left(facts, item(facts)))


def test_a_proven_backup_comes_before_a_newer_one_that_was_not() -> None:
    facts = site()
    older = proof(108, NIGHTS[0])
    archives = tuple(
        replace(one, proven_at=older.ended if one.ctime == NIGHTS[0] else None)
        for one in item(facts).archives
    )
    found = left(facts, item(facts, archives=archives, proofs=(older,)))
    assert [one.at for one in found] == [NIGHTS[0], NIGHTS[2], NIGHTS[1]]


def test_an_archive_out_of_reach_or_of_another_machine_is_no_way_back() -> None:
    facts = site()
    away = archive(108, NIGHTS[-1], "lge-pve02")
    assert left(facts, item(facts, archives=(), unreachable=(away,))) == ()
    strange = replace(away, uuid="another")
    machine = Identity("uuid-108", 1)
    assert left(facts, item(facts, archives=(strange,), machine=machine)) == ()


def test_an_archive_on_a_shared_storage_can_be_read_by_the_nodes_that_are_left() -> None:
    on_nas = archive(108, NIGHTS[-1], storage="nas", shared=True)
    facts = replace(
        site(),
        storages=tuple(
            storage("nas", node, "backup", shared=True, active=node != "third")
            for node in ("clovis", "lge-pve02", "third")
        ),
    )
    (found,) = left(facts, item(facts, archives=(on_nas,)))
    assert (found.nodes, found.place) == (frozenset({"lge-pve02"}), "storage nas")
    assert left(facts, item(facts, archives=(on_nas,)), Loss(storages=frozenset({"nas"}))) == ()


def test_a_suspicious_archive_says_so() -> None:
    facts = site()
    odd = replace(
        archive(108, NIGHTS[-1], "lge-pve02"),
        suspicious=(Suspicion(SuspicionKind.SEALED, "scsi0", 0.1, 0.9, "older"),),
    )
    (found,) = left(facts, item(facts, archives=(odd,)))
    assert "suspicious" in found.notes[0]


def test_a_copy_outside_is_a_way_back_after_the_archive_that_is_at_hand() -> None:
    facts = site()
    mine = item(facts)
    whole = tuple(copy(one) for one in mine.archives if one.node == "clovis")
    found = left(facts, replace(mine, copies=whole))
    assert [one.kind for one in found[:2]] == [Kind.ARCHIVE, Kind.COPY]
    assert found[1].nodes is None and found[1].copy == whole[-1] and found[1].proof
    everything = left(facts, replace(mine, copies=whole), Loss(site=True))
    assert {one.kind for one in everything} == {Kind.COPY} and everything[0].proof


def test_a_copy_is_lost_with_its_node_and_of_no_use_while_that_is_silent() -> None:
    facts = site()
    mine = item(facts, archives=(archive(108, NIGHTS[-1]),), proofs=())
    there = copy(mine.archives[0], "lge-pve02", "lge-pve02:/var/lib/vz/dump")
    (found,) = left(facts, replace(mine, copies=(there,)))
    assert found.kind is Kind.COPY
    assert (
        left(facts, replace(mine, copies=(there,)), Loss(frozenset({"lge-pve02", "clovis"}))) == ()
    )
    silent = replace(facts, nodes=(Node("clovis", True), Node("lge-pve02", False)))
    assert left(silent, replace(mine, copies=(there,))) == ()


def test_a_copy_of_other_bytes_or_of_another_machine_is_none() -> None:
    facts = site()
    one = archive(108, NIGHTS[-1])
    mine = item(facts, archives=(one,), proofs=())
    assert left(facts, replace(mine, copies=(copy(one, size=one.size - 1),))) == ()
    changed = replace(one, changed="its size")
    assert left(facts, replace(mine, archives=(changed,), copies=(copy(one),))) == ()
    strange = replace(one, uuid="another")
    of_other = replace(
        mine, archives=(strange,), machine=Identity("uuid-108", 1), copies=(copy(one),)
    )
    assert left(facts, of_other) == ()


def test_a_copy_whose_archive_was_forgotten_counts_by_its_name() -> None:
    facts = site()
    one = archive(108, NIGHTS[0])
    mine = item(facts, archives=(), proofs=(), copies=(copy(one, recipients=("age1x",)),))
    (found,) = left(facts, mine)
    assert found.at == NIGHTS[0] and found.archive and found.archive.volid == one.volid
    assert "encrypted" in found.notes[0]
    odd = replace(one, volid="local:backup/old.vma.zst")
    assert left(facts, replace(mine, copies=(copy(odd),))) == ()


def test_a_copy_of_an_archive_that_was_pruned_is_still_its_own() -> None:
    facts = site()
    one = archive(108, NIGHTS[0])
    mine = item(facts, archives=(), removed=(one,), proofs=(), copies=(copy(one),))
    (found,) = left(facts, mine)
    assert (found.kind, found.at) == (Kind.COPY, NIGHTS[0])


def test_a_copy_on_the_services_own_machine_says_so() -> None:
    facts = site()
    one = archive(108, NIGHTS[0])
    mine = item(facts, archives=(one,), proofs=(), copies=(copy(one, "usb", "/mnt/usb"),))
    (found,) = left(facts, mine)
    assert found.notes == ("it lies on the machine of this service",)


def test_a_newer_replica_comes_before_what_was_proven_and_an_older_one_last() -> None:
    facts = site()
    fresh = replica("lge-pve02", NOW - 60)
    stale = replica("lge-pve02", NIGHTS[0], "no route to host")
    found = left(facts, item(facts), replicas=(fresh, stale))
    assert [one.kind for one in found] == [Kind.REPLICA, *[Kind.ARCHIVE] * 3, Kind.REPLICA]
    assert "no route to host" in found[-1].notes[1]
    assert all("tested" in one.notes[0] for one in (found[0], found[-1]))


def test_a_replica_that_was_never_sent_or_is_lost_is_none() -> None:
    facts = site()
    mine = item(facts, archives=(), proofs=())
    assert left(facts, mine, replicas=(replica("lge-pve02", None),)) == ()
    assert left(facts, mine, replicas=(replica("clovis", NOW),)) == ()
    silent = replace(facts, silent={"lge-pve02": "timed out"})
    assert left(silent, mine, replicas=(replica("lge-pve02", NOW),)) == ()


def test_a_replica_that_lies_on_the_storage_that_is_lost_is_none() -> None:
    facts = site()
    mine, sent = item(facts, archives=()), [replica("lge-pve02", NOW), replica("third", NOW - 60)]
    lost = frozenset({"local-lvm"})
    # a replica lies on the storage of the same name on its own node
    found = left(facts, mine, Loss(storages=lost, sound=frozenset({"third"})), sent)
    assert [one.place for one in found] == ["replica on third"]
    assert left(facts, mine, Loss(storages=lost), sent) == ()
    # a disk on shared storage is in no replica, and must be usable where that is
    both = replace(mine, needs=Needs((disk("local-lvm:1", GIB), disk("nas:1", GIB, "scsi1"))))
    nas = replace(storage("nas", "clovis", "images"), shared=True)
    facts = replace(facts, storages=(*facts.storages, nas, replace(nas, node="third")))
    for sound in ("third", "lge-pve02"):
        loss = Loss(storages=frozenset({"nas"}), sound=frozenset({sound}))
        found = left(facts, both, loss, sent)
        assert [one.place for one in found if one.kind is Kind.REPLICA] == [f"replica on {sound}"]
    assert left(facts, both, Loss(storages=frozenset({"nas"})), sent) == ()


def test_a_replica_without_one_of_the_disks_is_no_way_back() -> None:
    facts = replace(site(), storages=(storage("nas", "lge-pve02", "images", shared=True),))
    kept_out = replace(disk("local-lvm:1", GIB, "scsi1"), replicated=False)
    sent = (replica("lge-pve02", NOW),)
    bare = item(facts, archives=(), proofs=(), needs=Needs((kept_out,)))
    assert left(facts, bare, replicas=sent) == ()
    elsewhere = replace(bare, needs=Needs((replace(kept_out, volid="nas:1"),)))
    assert [one.kind for one in left(facts, elsewhere, replicas=sent)] == [
        Kind.SHARED,
        Kind.REPLICA,
    ]
    made = replace(bare, needs=Needs((replace(kept_out, made=True),)))
    (found,) = left(facts, made, replicas=(replace(sent[0], enabled=False),))
    assert found.kind is Kind.REPLICA and found.notes[1] == "its replication is switched off"
    unknown = replace(bare, needs=None)
    assert len(left(facts, unknown, replicas=sent)) == 1


def test_a_guest_whose_disks_are_all_on_shared_storage_only_needs_another_node() -> None:
    facts = replace(
        site(),
        storages=tuple(
            storage(name, node, "images", shared=True)
            for node in ("clovis", "lge-pve02")
            for name in ("ceph", "nas")
        ),
    )
    needs = Needs((disk("ceph:1", GIB), disk("nas:1", GIB, "scsi1")))
    mine = item(facts, archives=(), proofs=(), needs=needs)
    (found,) = left(facts, mine)
    assert (found.kind, found.nodes, found.at) == (Kind.SHARED, frozenset({"lge-pve02"}), NOW)
    assert left(facts, mine, Loss(storages=frozenset({"nas"}))) == ()
    assert left(facts, mine, Loss(site=True)) == ()
    partly = replace(
        mine, needs=replace(needs, disks=(*needs.disks, disk("local-lvm:1", GIB, "scsi2")))
    )
    assert left(facts, partly) == ()
    assert left(facts, replace(mine, needs=None)) == ()
    assert left(facts, replace(mine, needs=Needs())) == ()
    assert left(facts, replace(mine, guest=None)) == ()
