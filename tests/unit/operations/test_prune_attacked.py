"""Prune, attacked: one archive by two names, another file by the same name, listings that say less
than there is (law 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from backupsvc.catalog.inspections import Acceptance
from backupsvc.catalog.tables import ARCHIVE
from backupsvc.errors import PveError, PveNotFound, PveUnreachable
from backupsvc.inventory import accepting, listing
from backupsvc.operations.prune.deciding import preview
from backupsvc.operations.prune.opening import open_prune
from backupsvc.operations.prune.result import prune_outcome
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from policies import prune_guard
from policies.model import Archive, Guest, GuestType, Mark, Node, SeenStorages, Storage
from policies.prune_guard import Knowledge, Sighting
from tests import held
from tests.unit.operations.cluster import REMOVAL, Cluster, ended
from tests.unit.operations.test_prune import THREE, marks, pruned, with_cluster, with_policy
from tests.unit.operations.worlds import World, world

A, B = "clovis", "lge-pve02"
HOURS = 3600


@pytest.fixture
def site(sqlite_url: str) -> Iterator[World]:
    made = with_policy(world(sqlite_url))
    yield made
    made.catalog.close()


def on(node: str, *items: Archive, shared: bool = False) -> list[Archive]:
    return [replace(item, node=node, shared=shared) for item in items]


def two_nodes(site: World, there: dict[str, list[Archive]], *, shared: bool) -> Cluster:
    """A cluster of two nodes; what each lists may be changed in ``there``."""
    cluster = Cluster()
    cluster.cluster.nodes = lambda max_age=0.0: [Node(A, True), Node(B, True)]
    cluster.storage.seen = lambda: SeenStorages(
        tuple(
            Storage("local", node, "dir", frozenset({"backup"}), shared=shared) for node in (A, B)
        )
    )

    def archives(node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        return [item for item in there[node] if item.volid not in cluster._gone]

    cluster.storage.archives = archives
    with_cluster(site, cluster)
    return cluster


def prove(site: World, *items: Archive) -> None:
    with site.catalog._database.write() as connection:
        for item in items:
            place = "" if item.shared else item.node
            here = (ARCHIVE.c.volid == item.volid, ARCHIVE.c.place == place)
            assert (
                connection.execute(
                    update(ARCHIVE).where(*here).values(proven_at=1, rung="healthy")
                ).rowcount
                == 1
            )


def decided(site: World) -> str:
    """Let a prune decide, and stop it before it removes anything; return its id."""
    operation = open_prune(site)
    assert operation and site.engine.executor.advance(operation.id).operation.step == "remove"
    return operation.id


def rest_of(site: World, id: str) -> dict[str, Any]:
    operation = site.catalog.operations.get(id)
    assert operation
    return prune_outcome(site.engine.drive_one(operation))


# --- one archive by two names ---------------------------------------------------------------------


def test_a_backup_through_another_node_of_a_shared_storage_hides_nothing_from_the_prune_after_it(
    site: World,
) -> None:
    there = {node: on(node, *THREE, shared=True) for node in (A, B)}
    cluster = two_nodes(site, there, shared=True)
    site.catalog.archives.observe(
        there[B], scope=[], at=int(site.clock.now())
    )  # as a backup that ran there remembers its listing
    assert pruned(site)["error"] is None
    assert cluster.deleted == [THREE[0].volid, THREE[1].volid]


def test_a_backup_through_another_node_since_the_decision_hides_nothing_either(site: World) -> None:
    there = {node: on(node, *THREE, shared=True) for node in (A, B)}
    cluster = two_nodes(site, there, shared=True)
    id = decided(site)
    site.catalog.archives.observe(there[B], scope=[], at=int(site.clock.now()))
    assert rest_of(site, id)["removed"] == cluster.deleted == [THREE[0].volid, THREE[1].volid]


def test_law_3_an_archive_of_a_shared_storage_is_not_counted_once_a_node(site: World) -> None:
    """Its rows name different nodes, so both are asked: the newest proven one must not be its own
    stand-in.
    """
    there = {node: on(node, *THREE, shared=True) for node in (A, B)}
    cluster = two_nodes(site, there, shared=True)
    id = decided(site)
    prove(site, there[A][0])
    with site.catalog._database.write() as connection:
        connection.execute(
            update(ARCHIVE).where(ARCHIVE.c.volid == THREE[2].volid).values(node="a-node-before")
        )
    there["a-node-before"] = on("a-node-before", *THREE, shared=True)
    assert rest_of(site, id)["removed"] == cluster.deleted == [THREE[1].volid]


def test_a_sync_names_nothing_of_a_shared_storage_as_new_or_gone_because_another_node_listed_it(
    site: World,
) -> None:
    there = {node: on(node, *THREE, shared=True) for node in (A, B)}
    two_nodes(site, there, shared=True)
    site.catalog.archives.observe(there[B], scope=[], at=int(site.clock.now()))
    found = accepting.sync(site)
    assert (found.new, found.gone) == ((), ())


def test_law_3_the_proven_file_is_not_removed_under_its_other_name(site: World) -> None:
    """A directory of a file server, mounted by both nodes and not called shared in PVE: one file,
    listed as two archives.
    """
    there = {node: on(node, *THREE) for node in (A, B)}
    cluster = two_nodes(site, there, shared=False)
    preview(site)
    prove(site, there[A][0])
    found = {(item.archive.node, item.archive.volid): item for item in preview(site)}
    assert found[B, THREE[0].volid].mark is Mark.KEEP
    assert f"may be the file that stays on {A}" in found[B, THREE[0].volid].reasons[-1]
    assert cluster.deleted == []


def test_law_3_a_storage_that_was_made_shared_is_one_of_which_nothing_is_known(site: World) -> None:
    """Its archives are listed as others than those that were proven."""
    there = {node: on(node, *(THREE if node == A else [])) for node in (A, B)}
    cluster = two_nodes(site, there, shared=False)
    preview(site)
    prove(site, there[A][0])
    site.clock.sleep(HOURS)
    there |= {node: on(node, *THREE, shared=True) for node in (A, B)}
    cluster.storage.seen = lambda: SeenStorages(
        tuple(Storage("local", node, "dir", frozenset({"backup"}), shared=True) for node in (A, B))
    )
    assert "no longer listed" in pruned(site)["error"]["message"]
    accepting.sync(site)
    assert "catalog-young" in pruned(site)["error"]["message"]
    assert cluster.deleted == []


# --- another file by the same name ----------------------------------------------------------------


def test_law_3_a_file_that_took_the_name_of_a_decided_one_is_kept(site: World) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve
    id = decided(site)
    cluster.listings = [[replace(THREE[0], size=THREE[0].size + 5), *THREE[1:]]]
    assert rest_of(site, id)["removed"] == cluster.deleted == [THREE[1].volid]


def test_law_3_the_archives_of_a_container_are_kept_when_its_vmid_went_to_a_vm(site: World) -> None:
    old = [
        replace(item, volid=item.volid.replace("qemu", "lxc"), type=GuestType.LXC) for item in THREE
    ]
    with_cluster(site, Cluster(listings=[[*old, *THREE]]))
    found = marks(site)
    assert {found[item.volid] for item in old} == {Mark.KEEP}
    assert [found[item.volid] for item in THREE] == [Mark.REMOVE, Mark.REMOVE, Mark.KEEP]


def test_law_3_the_rest_of_a_failed_restore_does_not_make_a_lost_guest_one_that_exists(
    site: World,
) -> None:
    cluster = with_cluster(
        site, Cluster(listings=[THREE], guests_there=[Guest(108, "VM 108", A)])
    ).pve
    cluster.guests.config = lambda node, vmid: {"memory": "128"}
    assert set(marks(site).values()) == {Mark.KEEP}


# --- listings that say less than there is ---------------------------------------------------------


def test_law_3_an_archive_is_not_called_removed_because_the_storage_lists_nothing_at_all(
    site: World,
) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve

    def delete(node: str, volid: str) -> None:
        cluster.listings = [[]]  # the mount is lost, and so was the call
        raise PveUnreachable("the connection broke off; whether it was carried out is not known")

    cluster.storage.delete = delete
    done = pruned(site)
    assert done["removed"] == [] and done["error"]["exit_code"] == 4
    assert len(site.catalog.archives.find(vmid=108)) == 3


def test_law_3_a_storage_that_was_empty_at_the_first_look_holds_nothing_known_when_it_is_mounted(
    site: World,
) -> None:
    """What was accepted, or proven elsewhere, before anybody saw these archives says nothing of
    them.
    """
    usb = [
        replace(item, storage="usb", volid=item.volid.replace("local:", "usb:")) for item in THREE
    ]
    here: dict[str, list[Archive]] = {"local": [], "usb": []}
    cluster = Cluster()
    cluster.storage.seen = lambda: SeenStorages(
        tuple(Storage(name, A, "dir", frozenset({"backup"})) for name in here)
    )
    cluster.storage.archives = lambda node, storage, vmid=None: here[storage]
    with_cluster(site, cluster)
    site.clock.sleep(HOURS)
    preview(site)
    site.clock.sleep(60)
    site.catalog.inspections.accept(
        [Acceptance(108, int(site.clock.now()), "ada", "all that there is", ())]
    )
    site.clock.sleep(HOURS)
    here["usb"] = usb
    assert pruned(site)["error"]["exit_code"] == 4 and cluster.deleted == []


def test_law_3_a_tiny_archive_whose_config_cannot_be_read_counts_for_no_whole_one(
    site: World,
) -> None:
    """Its config was never read: it may be the dump of an empty machine."""
    listed = [*(replace(item, size=1 << 30) for item in THREE[:2]), THREE[2]]
    cluster = with_cluster(site, Cluster(listings=[listed])).pve

    def unreadable(node: str, volid: str) -> str:
        raise PveError("unable to read the archive", status=500)

    cluster.storage.extract_config = unreadable
    assert list(marks(site).values()) == [Mark.REMOVE, Mark.KEEP, Mark.KEEP]


def test_law_3_a_listing_that_was_begun_before_a_removal_does_not_bring_the_archive_back(
    site: World,
) -> None:
    """Else the next prune misses it, and stops, night after night."""
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve
    preview(site)

    def slowly(node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        site.clock.sleep(30)
        site.catalog.archives.mark_gone(A, THREE[0].volid, int(site.clock.now()))
        site.clock.sleep(30)
        return THREE

    cluster.storage.archives = slowly
    listing.observe(site, 108)
    assert THREE[0].volid not in {item.volid for item in site.catalog.archives.find()}
    site.clock.sleep(1)
    cluster.storage.archives = lambda node, storage, vmid=None: THREE
    listing.observe(site, 108)
    # one that begins later is believed
    assert THREE[0].volid in {item.volid for item in site.catalog.archives.find()}


# --- what happens between the last look and the deletion ------------------------------------------


def test_law_3_a_process_that_slept_after_its_last_look_looks_again(site: World) -> None:
    """A laptop that was closed, a machine that was suspended: what the storages listed hours ago is
    no reason to remove.
    """
    cluster: Cluster = with_cluster(site, Cluster(listings=[THREE])).pve
    id = decided(site)
    asked: list[int] = []

    def guests(max_age: float = 0.0) -> list[Guest]:
        asked.append(1)
        if len(asked) == 1:
            site.clock.sleep(8 * HOURS)
            cluster.listings = [THREE[:1]]
        return cluster.guests_there

    cluster.cluster.guests = guests
    assert rest_of(site, id)["error"]["exit_code"] == 4
    assert cluster.deleted == []


def test_an_archive_that_was_protected_after_the_last_look_stays_and_the_others_go(
    site: World,
) -> None:
    cluster: Cluster = with_cluster(site, Cluster(listings=[THREE])).pve

    def delete(node: str, volid: str) -> str | None:
        if volid == THREE[0].volid:
            cluster.result = ended(f"unable to remove {volid}: is protected")
            cluster.listings = [[replace(THREE[0], protected=True), *THREE[1:]]]
            return REMOVAL
        cluster._delete(node, volid)
        return None

    cluster.storage.delete = delete
    done = pruned(site)
    assert (done["error"], done["removed"]) == (None, [THREE[1].volid])


def test_law_3_an_archive_that_is_gone_is_chosen_by_nobody(site: World) -> None:
    """Listed, removed by a prune that has ended since, then chosen: the operation learns it here
    and not from PVE.
    """
    with_cluster(site, Cluster(listings=[THREE]))
    preview(site)
    site.catalog.archives.mark_gone(A, THREE[0].volid, int(site.clock.now()))
    test = site.engine.open("restore-test", 108, RestoreTestMemory())
    assert test
    for take in (held.pin, held.begin_removal):
        with pytest.raises(PveNotFound, match="no longer there"):
            take(site.catalog, A, THREE[0].volid, test.id, 1)


@pytest.mark.parametrize("ours", [True, False])
def test_law_3_our_own_backup_of_a_wrong_clock_is_misdated_though_its_storage_was_never_listed_whole(
    ours: bool,
) -> None:
    now = THREE[0].ctime
    began = now if ours else None
    item = replace(THREE[0], ctime=now - 365 * 86400)
    known = Knowledge(
        {(A, "local"): now - 9},
        {(A, item.volid): Sighting(now + 9, None, began)},
        proven={108: now + 99},
    )
    assert bool(prune_guard.stopped([item], known)) is ours
