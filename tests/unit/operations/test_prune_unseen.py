"""Prune while something cannot be listed: it goes on with what was read; what is unseen is not
gone, and nothing goes for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from backupsvc.catalog.inspections import Acceptance
from backupsvc.errors import PveUnreachable
from backupsvc.operations import showing
from backupsvc.operations.prune.deciding import decision, preview
from backupsvc.operations.prune.opening import open_prune
from backupsvc.operations.prune.result import foreseen, prune_exit_code, prune_outcome
from policies.model import Archive, Guest, Mark, Node, SeenStorages, Storage
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.test_prune import THREE, pruned, with_cluster, with_policy
from tests.unit.operations.test_prune_attacked import on, prove, two_nodes
from tests.unit.operations.worlds import World, world

A, B = "clovis", "lge-pve02"
TIMEOUT = "596 Connection timed out"


@pytest.fixture
def site(sqlite_url: str) -> Iterator[World]:
    made = with_policy(world(sqlite_url))
    yield made
    made.catalog.close()


def dead(cluster: Cluster) -> None:
    """The second node is off: its storages are not shown, and whoever asks it anything is wrong."""
    listing = cluster.storage.archives
    cluster.cluster.nodes = lambda max_age=0.0: [Node(A, True), Node(B, False)]
    cluster.storage.seen = lambda: SeenStorages(
        (Storage("local", A, "dir", frozenset({"backup"})),)
    )

    def only(node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        assert node == A, "a dead node was asked"
        found: list[Archive] = listing(node, storage, vmid)
        return found

    cluster.storage.archives = only


def mute(cluster: Cluster) -> None:
    """The second node is called online, and does not say which storages it has."""
    dead(cluster)
    cluster.cluster.nodes = lambda max_age=0.0: [Node(A, True), Node(B, True)]
    cluster.storage.seen = lambda: SeenStorages(
        (Storage("local", A, "dir", frozenset({"backup"})),), {B: TIMEOUT}
    )


def hanging(cluster: Cluster) -> None:
    """The second node shows its storage, whose listing is never answered."""
    listing = cluster.storage.archives

    def hangs(node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        if node == B:
            raise PveUnreachable(TIMEOUT)
        found: list[Archive] = listing(node, storage, vmid)
        return found

    cluster.storage.archives = hangs


def inactive(cluster: Cluster) -> None:
    """The second node shows its storage as not active: asked all the same, it would list an empty
    folder.
    """
    local = {
        node: Storage("local", node, "dir", frozenset({"backup"}), active=node == A)
        for node in (A, B)
    }
    cluster.storage.seen = lambda: SeenStorages(tuple(local.values()))
    listing = cluster.storage.archives
    cluster.storage.archives = lambda node, storage, vmid=None: (
        listing(node, storage, vmid) if node == A else []
    )


WAYS = {
    "dead": (dead, "node lge-pve02 is offline"),
    "mute": (mute, f"node lge-pve02 did not say which storages it has ({TIMEOUT})"),
    "hanging": (hanging, TIMEOUT),
    "inactive": (inactive, "it is not active"),
}
ELSEWHERE = on(B, *(archive(108, second) for second in (11, 12)))


def after(site: World, way: str, there: dict[str, list[Archive]], *proven: Archive) -> Cluster:
    """The service has seen both nodes once, and then the second one cannot be listed."""
    cluster = two_nodes(site, there, shared=False)
    preview(site)
    prove(site, *proven)
    WAYS[way][0](cluster)
    return cluster


@pytest.mark.parametrize("way", WAYS)
def test_law_3_what_was_listed_is_pruned_and_what_was_not_is_named_and_neither_gone_nor_touched(
    site: World, way: str
) -> None:
    cluster = after(site, way, {A: on(A, *THREE), B: ELSEWHERE})
    done = pruned(site)
    assert done["error"] is None
    assert cluster.deleted == done["removed"] == [THREE[0].volid, THREE[1].volid]
    (unknown,) = done["unknown"]
    assert unknown["vmid"] == 108
    assert unknown["said"] == (
        "guest 108: 2 known archives are out of reach, and not gone (2 on storage local of "
        f"lge-pve02, where {WAYS[way][1]}): no other goes because of them"
    )
    assert done["not_listed"] == [
        "2 known archive(s) on storage local of lge-pve02 are out of reach, and not gone: "
        f"{WAYS[way][1]}"
    ]
    assert {(one["node"], one["volid"]) for one in done["archives"]} == {
        (A, one.volid) for one in THREE
    }
    assert {one.volid for one in site.catalog.archives.find(vmid=108)} == {
        THREE[2].volid,
        *(one.volid for one in ELSEWHERE),
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_prune_that_could_not_list_all_exits_3_also_when_it_is_only_foreseen(
    site: World, way: str
) -> None:
    after(site, way, {A: on(A, *THREE), B: ELSEWHERE})
    expected = foreseen(decision(site))
    assert prune_exit_code(expected) == 3 and [one["vmid"] for one in expected["unknown"]] == [108]
    ended = site.engine.drive_one(open_prune(site))
    assert prune_exit_code(prune_outcome(ended)) == showing.exit_code(site.catalog, ended) == 3


@pytest.mark.parametrize("way", WAYS)
def test_law_3_the_last_archive_within_reach_stays_though_newer_ones_are_known_elsewhere(
    site: World, way: str
) -> None:
    cluster = after(site, way, {A: on(A, THREE[0]), B: ELSEWHERE})
    assert pruned(site)["removed"] == cluster.deleted == []


@pytest.mark.parametrize("way", WAYS)
def test_law_3_the_newest_proven_archive_within_reach_stays_though_a_newer_proof_lies_out_of_reach(
    site: World, way: str
) -> None:
    there = {A: on(A, *THREE), B: ELSEWHERE}
    cluster = after(site, way, there, there[A][0], ELSEWHERE[1])
    done = pruned(site)
    assert done["removed"] == cluster.deleted == [THREE[1].volid]
    assert "proven ones among them" in done["unknown"][0]["said"]


def recorded(site: World, item: Archive, config: str) -> None:
    site.catalog.archives.annotate(item.node, item.volid, config=config)


@pytest.mark.parametrize("way", WAYS)
def test_law_10_an_older_machines_archives_do_not_rotate_out_when_those_of_the_guest_of_today_are_out_of_reach(
    site: World, way: str
) -> None:
    there = {A: on(A, *THREE), B: ELSEWHERE}
    cluster = two_nodes(site, there, shared=False)
    preview(site)
    older = CONFIG.replace("11111111", "22222222")
    for item in there[A]:
        recorded(site, item, older)
    for item in ELSEWHERE:
        recorded(site, item, CONFIG)
    WAYS[way][0](cluster)
    done = pruned(site)
    assert done["removed"] == cluster.deleted == []
    assert all(
        "another machine than guest 108" in one["reasons"][0] for one in done["archives"][:2]
    )


@pytest.mark.parametrize("way", WAYS)
def test_law_3_an_archive_that_collapsed_counts_for_no_whole_one_when_its_history_is_out_of_reach(
    site: World, way: str
) -> None:
    whole = [
        replace(one, size=1 << 30) for one in on(B, *(archive(108, second) for second in (1, 2, 3)))
    ]
    here = on(A, archive(108, 4, size=1 << 30), archive(108, 5, size=9 << 20))
    cluster = after(site, way, {A: here, B: whole})
    assert pruned(site)["removed"] == cluster.deleted == []


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_law_3_what_may_be_the_file_or_the_copy_that_is_out_of_reach_stays(
    site: World, way: str
) -> None:
    """A folder that two nodes mount lists each of its files once a node."""
    cluster = after(site, way, {A: on(A, *THREE), B: on(B, THREE[0])})
    done = pruned(site)
    assert done["removed"] == cluster.deleted == [THREE[1].volid]
    (kept,) = (one for one in done["archives"] if one["volid"] == THREE[0].volid)
    assert (kept["mark"], "out of reach" in kept["reasons"][-1]) == (str(Mark.KEEP), True)


def test_law_3_a_guest_that_a_misdated_archive_stops_is_stopped_also_when_that_one_is_out_of_reach(
    site: World,
) -> None:
    there = {A: on(A, *THREE), B: list[Archive]()}
    cluster = two_nodes(site, there, shared=False)
    preview(site)
    site.clock.sleep(60)
    there[B] = on(B, archive(108, 9, ctime=THREE[0].ctime - 30 * 86400))
    assert "misdated" in pruned(site)["error"]["message"]
    dead(cluster)
    done = pruned(site)
    assert (
        cluster.deleted == []
        and done["error"]["exit_code"] == 4
        and "misdated" in done["error"]["message"]
    )


def test_law_3_a_place_that_is_lost_after_the_decision_ends_the_run(site: World) -> None:
    """Less is seen than was decided on: a new run decides on that."""
    cluster = two_nodes(site, {A: on(A, *THREE), B: ELSEWHERE}, shared=False)
    operation = open_prune(site)
    assert operation and site.engine.executor.advance(operation.id).operation.step == "remove"
    hanging(cluster)
    done: Any = prune_outcome(site.engine.drive_one(operation))
    assert cluster.deleted == [] and TIMEOUT in done["error"]["message"]


def test_law_3_a_listing_that_shrank_stops_the_run_also_while_another_place_is_out_of_reach(
    site: World,
) -> None:
    there = {A: on(A, *THREE), B: ELSEWHERE}
    cluster = after(site, "dead", there)
    there[A] = there[A][1:]
    done = pruned(site)
    assert cluster.deleted == [] and "no longer listed" in done["error"]["message"]
    assert (
        THREE[0].volid in done["error"]["message"]
        and ELSEWHERE[0].volid not in done["error"]["message"]
    )


@pytest.mark.parametrize("name", ["", "VM 108", "Debian-Server"])
@pytest.mark.parametrize("way", ["dead", "mute"])
def test_law_3_archives_of_a_guest_that_nobody_can_ask_what_it_is_stay_and_the_others_are_pruned(
    site: World, way: str, name: str
) -> None:
    """A node that has been dead for minutes has no names of its guests, as what a failed restore
    leaves has none.
    """
    of_109 = on(A, *(archive(109, second) for second in (1, 2)))
    there = {A: [*on(A, *THREE), *of_109], B: list[Archive]()}
    cluster = two_nodes(site, there, shared=False)
    site.catalog.inspections.accept(
        [Acceptance(109, int(site.clock.now()), "ada", "the tests begin", ())]
    )
    preview(site)
    cluster.guests_there = [Guest(108, name, B), Guest(109, "other", A)]
    WAYS[way][0](cluster)

    def config(node: str, vmid: int) -> dict[str, str]:
        assert node == A or way == "mute", "a dead node was asked"
        raise PveUnreachable(TIMEOUT)

    cluster.guests.config = config
    done = pruned(site)
    named = name == "Debian-Server"
    assert done["error"] is None
    assert (
        done["removed"]
        == cluster.deleted
        == [*(one.volid for one in THREE[:2] if named), of_109[0].volid]
    )
    told = {one["reasons"][0] for one in done["archives"] if one["vmid"] == 108}
    assert named or {one.partition(" (")[0] for one in told} == {
        "whether VMID 108 on lge-pve02 is a guest, or what a failed restore left, is not known"
    }


def test_a_guest_with_nothing_out_of_reach_is_not_named(site: World) -> None:
    with_cluster(site, Cluster(listings=[THREE]))
    done = pruned(site)
    assert (done["unknown"], done["not_listed"], prune_exit_code(done)) == ([], [], 0)
