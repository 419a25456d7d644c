"""Retention removes what it must and nothing else, and believes no listing that shrank (law 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from backupsvc.catalog import Catalog
from backupsvc.catalog.inspections import Acceptance
from backupsvc.catalog.tables import ARCHIVE
from backupsvc.errors import LawRefused, PveError, PveUnreachable
from backupsvc.inventory import accepting
from backupsvc.operations import build_engine
from backupsvc.operations.prune import deciding
from backupsvc.operations.prune.deciding import decision, preview
from backupsvc.operations.prune.opening import open_prune
from backupsvc.operations.prune.result import foreseen, prune_exit_code, prune_outcome
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from backupsvc.requester import person
from policies import prune_compare, prune_marks
from policies.model import (
    Archive,
    CopyTarget,
    Directory,
    Guest,
    Job,
    Mark,
    Marked,
    Node,
    Operation,
    Policy,
    Proof,
    PruneRules,
    Rung,
    Scratch,
    SeenStorages,
    Storage,
    Verdict,
)
from tests import held
from tests.fakes.made import archive
from tests.unit.operations.cluster import REMOVAL, Cluster, ended
from tests.unit.operations.worlds import World, emptied, world

JOB = Job("nightly", "21:00", "local", keep="keep-last=1")


@pytest.fixture
def site(catalog_url: str) -> Iterator[World]:
    made = with_policy(world(catalog_url))
    yield made
    made.catalog.close()


def with_policy(made: World) -> World:
    nothing: Any = MappingProxyType({})
    rules = PruneRules(max_share=0.9)
    made.policy = Policy(
        "s",
        "Europe/Paris",
        "en",
        (JOB,),
        nothing,
        nothing,
        Scratch(9000, 9009),
        "standard",
        prune=rules,
    )
    return made


def with_cluster(site: World, cluster: Cluster) -> World:
    """The service on that cluster, what it holds of guest 108 accepted, as by `catalog sync
    --accept`.
    """
    site.catalog.inspections.accept(
        [Acceptance(108, int(site.clock.now()), "ada", "the tests begin", ())]
    )
    return with_lost_catalog(site, cluster)


def with_lost_catalog(site: World, cluster: Cluster) -> World:
    """The service on a cluster that has archives which this catalog never saw."""
    site.pve = cluster
    site.engine = build_engine(site)
    return site


def marks(site: World) -> dict[str, Mark]:
    return {item.archive.volid: item.mark for item in preview(site)}


def chosen_by_a_test(site: World, item: Archive) -> str:
    """Let a restore test choose an archive, as its first step does; return the test's id."""
    operation: Operation | None = site.engine.open("restore-test", 108, RestoreTestMemory())
    assert operation and held.pin(site.catalog, item.node, item.volid, operation.id, 1) is None
    return operation.id


THREE = [archive(108, second) for second in (1, 2, 3)]


def test_what_retention_does_not_keep_is_removed_and_then_not_missed(site: World) -> None:
    cluster = Cluster(listings=[THREE])
    with_cluster(site, cluster)
    done = prune_outcome(site.engine.drive_one(open_prune(site)))
    assert done["removed"] == [THREE[0].volid, THREE[1].volid] == cluster.deleted
    cluster.listings = [THREE[2:]]
    assert marks(site) == {THREE[2].volid: Mark.KEEP}


def test_law_3_an_archive_that_is_known_and_not_listed_stops_the_run(site: World) -> None:
    site.catalog.archives.observe(THREE, scope=[], at=1)
    with_cluster(site, Cluster(listings=[THREE[1:]]))
    with pytest.raises(
        LawRefused, match="1 archives that the catalog knows are no longer listed"
    ) as refused:
        marks(site)
    assert refused.value.law == 3
    with pytest.raises(LawRefused):
        marks(site)  # also the second time: looking does not make it true


def test_law_3_the_archives_of_a_guest_that_is_gone_are_kept(site: World) -> None:
    with_cluster(site, Cluster(listings=[THREE], guests_there=[Guest(101, "other", "clovis")]))
    assert set(marks(site).values()) == {Mark.KEEP}


def test_law_3_a_guest_that_no_job_covers_loses_nothing(site: World) -> None:
    site.policy = replace(site.policy, jobs=(replace(JOB, guests=(101,)),))
    with_cluster(site, Cluster(listings=[THREE]))
    assert set(marks(site).values()) == {Mark.KEEP}


def test_law_3_an_archive_in_use_is_kept(site: World) -> None:
    with_cluster(site, Cluster(listings=[THREE]))
    site.catalog.archives.observe(THREE, scope=[], at=1)
    chosen_by_a_test(site, THREE[0])
    assert marks(site)[THREE[0].volid] is Mark.KEEP


def test_law_3_an_archive_that_was_protected_since_the_decision_is_kept(site: World) -> None:
    cluster = Cluster(listings=[THREE, [replace(item, protected=True) for item in THREE]])
    with_cluster(site, cluster)
    site.engine.drive_one(open_prune(site))
    assert cluster.deleted == []


def test_law_3_more_than_the_allowed_share_in_one_run_is_refused(site: World) -> None:
    site.policy = replace(site.policy, prune=PruneRules(max_share=0.5))
    with_cluster(site, Cluster(listings=[THREE]))
    with pytest.raises(LawRefused, match="more than 50%"):
        marks(site)


def test_a_removal_whose_answer_was_lost_is_given_time_and_not_asked_for_twice(site: World) -> None:
    cluster = Cluster(listings=[THREE, THREE, THREE, THREE[1:]])

    def delete(node: str, volid: str) -> None:
        cluster.deleted.append(volid)
        if len(cluster.deleted) == 1:
            raise PveUnreachable(
                "the connection broke off; whether it was carried out is not known"
            )

    cluster.storage.delete = delete
    with_cluster(site, cluster)
    done = prune_outcome(site.engine.drive_one(open_prune(site)))
    assert done["removed"] == [THREE[0].volid, THREE[1].volid] == cluster.deleted


def test_law_4_a_removal_that_failed_because_the_archive_had_gone_already_is_done(
    site: World,
) -> None:
    cluster = Cluster(
        listings=[THREE, THREE, THREE[1:], THREE[1:], THREE[2:]],
        result=ended("unable to remove: no such file"),
    )
    cluster.storage.delete = lambda node, volid: REMOVAL
    with_cluster(site, cluster)
    done = prune_outcome(site.engine.drive_one(open_prune(site)))
    assert (done["error"], done["removed"]) == (None, [THREE[0].volid, THREE[1].volid])


def test_a_removal_that_failed_while_the_archive_is_still_there_has_failed(site: World) -> None:
    cluster = Cluster(listings=[THREE], result=ended("can't lock file - got timeout"))
    cluster.storage.delete = lambda node, volid: REMOVAL
    with_cluster(site, cluster)
    done = prune_outcome(site.engine.drive_one(open_prune(site)))
    assert "got timeout" in done["error"]["message"] and done["removed"] == []


# --- between the decision and each removal the world goes on --------------------------------------


def pruned(site: World) -> dict[str, Any]:
    return prune_outcome(site.engine.drive_one(open_prune(site)))


def test_law_3_newer_archives_that_vanished_since_the_decision_stop_the_removal_of_older_ones(
    site: World,
) -> None:
    cluster = Cluster(listings=[THREE, THREE[:1]])
    with_cluster(site, cluster)
    done = pruned(site)
    assert cluster.deleted == []
    assert done["error"]["exit_code"] == 4 and "no longer listed" in done["error"]["message"]


def test_law_3_what_became_the_newest_proven_archive_since_the_decision_is_kept(
    site: World,
) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve
    operation = open_prune(site)
    assert operation and site.engine.executor.advance(operation.id).operation.step == "remove"
    with site.catalog._database.write() as connection:
        connection.execute(
            update(ARCHIVE)
            .where(ARCHIVE.c.volid == THREE[0].volid)
            .values(proven_at=1, rung="healthy")
        )
    done = prune_outcome(site.engine.drive_one(operation))
    assert cluster.deleted == done["removed"] == [THREE[1].volid]


def test_law_3_an_archive_that_a_test_has_chosen_since_the_decision_is_kept(site: World) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve
    operation = open_prune(site)
    assert operation and site.engine.executor.advance(operation.id).operation.step == "remove"
    chosen_by_a_test(site, THREE[0])
    done = prune_outcome(site.engine.drive_one(operation))
    assert cluster.deleted == done["removed"] == [THREE[1].volid]


def test_law_3_the_last_look_at_who_needs_an_archive_is_taken_in_the_transaction_that_bars_it(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test chooses it after prune has decided anew: only the transaction before the deletion
    can still see that.
    """
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve
    operation = open_prune(site)
    assert operation and site.engine.executor.advance(operation.id).operation.step == "remove"
    chosen_by_a_test(site, THREE[0])
    monkeypatch.setattr(deciding, "in_use", lambda service: set())
    done = prune_outcome(site.engine.drive_one(operation))
    assert cluster.deleted == done["removed"] == [THREE[1].volid]


def test_law_3_an_archive_that_is_being_removed_is_chosen_by_nobody(site: World) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve
    chosen: list[str | None] = []

    def delete(node: str, volid: str) -> None:
        test = site.engine.open("restore-test", 500 + len(chosen), RestoreTestMemory())
        assert test
        chosen.append(held.pin(site.catalog, node, volid, test.id, 1))
        cluster._delete(node, volid)

    cluster.storage.delete = delete
    operation = open_prune(site)
    assert operation
    assert prune_outcome(site.engine.drive_one(operation))["error"] is None
    assert chosen == [operation.id] * 2
    assert site.catalog.archive_pins.pinned() == set()


def test_law_3_a_node_that_cannot_be_asked_at_the_removal_is_not_taken_for_an_empty_one(
    site: World,
) -> None:
    there = {"clovis": THREE[:2], "lge-pve02": [replace(THREE[2], node="lge-pve02")]}
    cluster = with_cluster(site, Cluster()).pve
    asked: list[str] = []

    def archives(node: str, storage: str, vmid: int | None = None) -> list[Any]:
        asked.append(node)  # to decide twice, to compare twice, and then at the removal
        if node == "lge-pve02" and len(asked) > 4:
            raise PveUnreachable("lge-pve02 does not answer")
        return there[node]

    cluster.cluster.nodes = lambda max_age=0.0: [Node("clovis", True), Node("lge-pve02", True)]
    cluster.storage.seen = lambda: SeenStorages(
        tuple(Storage("local", node, "dir", frozenset({"backup"})) for node in there)
    )
    cluster.storage.archives = archives
    site.policy = replace(site.policy, jobs=(replace(JOB, keep="keep-last=1"),))
    assert "does not answer" in pruned(site)["error"]["message"]
    assert cluster.deleted == []


@pytest.fixture(scope="module")
def in_memory() -> Iterator[Catalog]:
    """A catalog for examples, each of which begins by emptying it."""
    with Catalog.open("sqlite://") as opened:
        yield opened


@settings(deadline=None, max_examples=60)
@given(data=st.data())
@pytest.mark.slow
def test_law_3_holds_whatever_happens_between_the_decision_and_each_removal(
    in_memory: Catalog, data: st.DataObject
) -> None:
    """A storage that changes at every call: archives vanish, come, are protected; proofs are
    recorded and withdrawn.
    """
    catalog = emptied(in_memory)
    site = with_policy(World(catalog))
    storage = {item.volid: item for item in (archive(108, second) for second in range(1, 7))}
    cluster = Cluster()

    def happens() -> None:
        deed = data.draw(
            st.sampled_from(["nothing", "nothing", "vanish", "come", "protect", "prove", "fail"])
        )
        chosen = data.draw(st.sampled_from(sorted(storage))) if storage else None
        if deed == "come":
            new = archive(108, 10 + len(storage) + len(cluster.deleted))
            storage[new.volid] = new
        elif deed == "vanish" and chosen:
            del storage[chosen]
        elif deed == "protect" and chosen:
            storage[chosen] = replace(storage[chosen], protected=True)
        elif chosen:
            value = {"prove": int(site.clock.now()), "fail": None}.get(deed, 0)
            if value != 0:
                with catalog._database.write() as connection:
                    connection.execute(
                        update(ARCHIVE).where(ARCHIVE.c.volid == chosen).values(proven_at=value)
                    )

    def archives(node: str, name: str, vmid: int | None = None) -> list[Any]:
        happens()
        return list(storage.values())

    def delete(node: str, volid: str) -> None:
        known = {item.volid: item for item in catalog.archives.find(vmid=108)}
        proven = [item for item in storage.values() if known[item.volid].proven_at]
        assert volid in storage and not storage[volid].protected
        assert set(storage) > {volid}, "the last archive"
        assert not proven or max(proven, key=lambda item: item.ctime).volid != volid, (
            "the newest proven archive"
        )
        del storage[volid]
        cluster.deleted.append(volid)

    cluster.storage.archives, cluster.storage.delete = archives, delete
    with_cluster(site, cluster)
    pruned(site)


# --- archives without any disk --------------------------------------------------------------------

WHOLE = "scsi0: local-lvm:vm-108-disk-0,size=64M\n#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\n"
STUB = "memory: 128\n"


def learnt(site: World, *configs: str | None) -> None:
    """Given what is known of each of THREE's configs (None: nothing), oldest first, remember it."""
    site.catalog.archives.observe(THREE, scope=[], at=1)
    for item, config in zip(THREE, configs, strict=True):
        if config is not None:
            site.catalog.archives.annotate(item.node, item.volid, config=config)


def test_law_3_a_dump_without_any_disk_is_never_counted_in_place_of_a_whole_archive(
    site: World,
) -> None:
    learnt(site, WHOLE, WHOLE, STUB)
    with_cluster(site, Cluster(listings=[THREE]))
    found = {item.archive.volid: item for item in preview(site)}
    assert [found[item.volid].mark for item in THREE] == [Mark.REMOVE, Mark.KEEP, Mark.KEEP]
    assert found[THREE[1].volid].reasons[0].startswith("keep-last 1/1")
    assert "holds no disk" in found[THREE[2].volid].reasons[0]


def test_law_3_an_archive_that_nobody_has_looked_into_and_that_is_too_small_for_a_disk_is_looked_into(
    site: World,
) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve
    held = {THREE[0].volid: WHOLE, THREE[1].volid: WHOLE, THREE[2].volid: STUB}
    cluster.storage.extract_config = lambda node, volid: held[volid]
    assert list(marks(site).values()) == [Mark.REMOVE, Mark.KEEP, Mark.KEEP]


def test_an_archive_too_small_for_a_disk_whose_config_cannot_be_read_is_judged_as_before(
    site: World,
) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve

    def unreadable(node: str, volid: str) -> str:
        raise PveError("unable to read the archive", status=500)

    cluster.storage.extract_config = unreadable
    assert list(marks(site).values()) == [Mark.REMOVE, Mark.REMOVE, Mark.KEEP]


def test_the_archives_of_a_machine_that_never_had_a_disk_rotate_as_any_others(site: World) -> None:
    learnt(site, STUB, STUB, STUB)
    with_cluster(site, Cluster(listings=[THREE]))
    assert list(marks(site).values()) == [Mark.REMOVE, Mark.REMOVE, Mark.KEEP]


def test_law_3_an_empty_file_is_not_counted_either(site: World) -> None:
    listing = [THREE[0], THREE[1], replace(THREE[2], size=0)]
    with_cluster(site, Cluster(listings=[listing]))
    assert list(marks(site).values()) == [Mark.REMOVE, Mark.KEEP, Mark.KEEP]


# --- what the catalog does not know ---------------------------------------------------------------

DAY = 86400
TWO_GUESTS = [Guest(108, "Debian-Server", "clovis"), Guest(109, "other", "clovis")]
OF_109 = [archive(109, second) for second in (1, 2, 3)]


def proven(site: World, item: Archive, ended: int, verdict: Verdict = Verdict.PROVEN) -> None:
    """Record that a restore test of an archive ended at a time."""
    assert item.vmid is not None
    proof = Proof(
        f"OP{ended}",
        item.vmid,
        item.volid,
        item.node,
        item.ctime,
        verdict,
        Rung.HEALTHY,
        ended - 60,
        ended,
    )
    assert site.catalog.proofs.record(proof)


def test_law_3_a_lost_catalog_prunes_nothing_of_a_guest_that_it_knows_nothing_of(
    site: World,
) -> None:
    cluster = with_lost_catalog(site, Cluster(listings=[THREE])).pve
    done = pruned(site)
    assert cluster.deleted == done["removed"] == []
    assert done["error"]["exit_code"] == 4
    assert (
        "nothing of guest 108 may be removed: catalog-young: 3 archives" in done["error"]["message"]
    )
    assert {item["mark"] for item in done["archives"]} == {"keep"}
    assert all(item["reasons"][-1].startswith("catalog-young: ") for item in done["archives"])
    assert foreseen(decision(site))["error"] == done["error"]


def test_law_3_a_young_guest_that_would_lose_nothing_refuses_nothing(site: World) -> None:
    with_lost_catalog(site, Cluster(listings=[THREE[2:]]))
    assert pruned(site)["error"] is None


def test_law_3_only_a_proof_since_the_catalog_first_looked_makes_the_guest_known(
    site: World,
) -> None:
    cluster = with_lost_catalog(site, Cluster(listings=[THREE])).pve
    now = int(site.clock.now())
    proven(site, THREE[2], now - 1)
    proven(site, THREE[2], now + 1, Verdict.FAILED)
    proven(site, THREE[2], now + 2, Verdict.SIMULATED)
    assert pruned(site)["error"]["exit_code"] == 4 and cluster.deleted == []
    proven(site, THREE[2], now + 5)
    assert pruned(site)["removed"] == [THREE[0].volid, THREE[1].volid]


@pytest.mark.slow
def test_law_3_the_guests_that_are_known_are_pruned_beside_a_young_one_and_the_run_names_that_one(
    site: World,
) -> None:
    cluster = with_cluster(site, Cluster(listings=[[*THREE, *OF_109]], guests_there=TWO_GUESTS)).pve
    done = pruned(site)
    assert cluster.deleted == done["removed"] == [THREE[0].volid, THREE[1].volid]
    assert (
        done["error"]["exit_code"] == 4
        and "nothing of guest 109 may be removed" in done["error"]["message"]
    )
    assert "108" not in done["error"]["message"]


def test_law_3_what_is_accepted_is_written_down_with_who_when_and_what(site: World) -> None:
    cluster = with_lost_catalog(
        site, Cluster(listings=[[*THREE, *OF_109]], guests_there=TWO_GUESTS)
    ).pve
    foreseen = accepting.sync(site, accept=True, vmid=108, dry_run=True)
    assert [one.vmid for one in foreseen.accepted] == [
        108
    ] and site.catalog.inspections.acceptances() == []
    found = accepting.sync(site, accept=True, vmid=108)
    (one,) = site.catalog.inspections.acceptances()
    assert (one,) == found.accepted and set(found.stopped) == {109}
    assert (one.vmid, one.at, one.who) == (108, int(site.clock.now()), person())
    assert set(one.archives) == {item.volid for item in THREE}
    assert pruned(site)["removed"] == cluster.deleted == [THREE[0].volid, THREE[1].volid]
    accepting.sync(site, accept=True)
    assert pruned(site)["removed"] == [OF_109[0].volid, OF_109[1].volid]
    assert accepting.sync(site, accept=True).accepted == ()


def test_law_3_an_acceptance_does_not_cover_a_storage_that_is_seen_for_the_first_time_later(
    site: World,
) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE[2:]])).pve
    assert pruned(site)["error"] is None
    site.clock.sleep(DAY)
    elsewhere = [
        replace(item, storage="usb", volid=item.volid.replace("local:", "usb:")) for item in THREE
    ]
    cluster.storage.seen = lambda: SeenStorages(
        tuple(Storage(name, "clovis", "dir", frozenset({"backup"})) for name in ("local", "usb"))
    )
    cluster.storage.archives = lambda node, storage, vmid=None: (
        elsewhere if storage == "usb" else THREE[2:]
    )
    assert pruned(site)["error"]["exit_code"] == 4 and cluster.deleted == []


def test_law_3_archives_that_come_after_the_first_look_are_known_and_pruned(site: World) -> None:
    cluster = with_lost_catalog(site, Cluster(listings=[[]])).pve
    preview(site)
    site.clock.sleep(60)
    cluster.listings = [THREE]
    assert pruned(site)["error"] is None
    assert cluster.deleted == [THREE[0].volid, THREE[1].volid]


def test_law_3_an_archive_named_by_a_clock_a_year_back_stops_the_prune_of_its_guest_alone(
    site: World,
) -> None:
    cluster = with_lost_catalog(site, Cluster(listings=[[]], guests_there=TWO_GUESTS)).pve
    preview(site)
    site.clock.sleep(60)
    tonight = replace(
        THREE[2], volid=THREE[2].volid.replace("2026", "2025"), ctime=THREE[2].ctime - 365 * DAY
    )
    cluster.listings = [[*THREE[:2], tonight, *OF_109]]
    done = pruned(site)
    assert cluster.deleted == done["removed"] == [OF_109[0].volid, OF_109[1].volid]
    assert done["error"]["exit_code"] == 4
    assert (
        f"nothing of guest 108 may be removed: misdated: {tonight.volid} on clovis"
        in done["error"]["message"]
    )
    site.clock.sleep(60)
    # it does not become right by being looked at again
    assert pruned(site)["error"]["exit_code"] == 4
    accepting.sync(site, accept=True)
    assert (
        pruned(site)["removed"] == [tonight.volid, THREE[0].volid] or pruned(site)["error"] is None
    )
    assert tonight.volid in cluster.deleted and THREE[1].volid not in cluster.deleted


def test_law_3_a_misdated_archive_that_comes_between_decision_and_removal_stops_the_removal(
    site: World,
) -> None:
    cluster = with_lost_catalog(site, Cluster(listings=[[]])).pve
    preview(site)
    site.clock.sleep(60)
    strange = archive(108, 9, ctime=THREE[0].ctime - 30 * DAY)
    cluster.listings = [THREE, [*THREE, strange]]
    done = pruned(site)
    assert cluster.deleted == [] and done["error"]["exit_code"] == 4
    assert "misdated" in done["error"]["message"]


def test_law_3_an_archive_whose_size_collapsed_does_not_rotate_a_whole_one_out() -> None:
    whole = [archive(108, second, size=1 << 30, proven_at=None) for second in (1, 2, 3)]
    small = archive(108, 4, size=1 << 20)
    policy = with_policy(World(None)).policy  # type: ignore[arg-type]
    guests = [Guest(108, "Debian-Server", "clovis")]
    marked = {
        one.archive.volid: one for one in prune_marks.decide_all([*whole, small], guests, policy)
    }
    assert (
        marked[small.volid].mark is Mark.KEEP
        and "counts for no keep rule" in marked[small.volid].reasons[0]
    )
    assert marked[whole[-1].volid].mark is Mark.KEEP and marked[whole[0].volid].mark is Mark.REMOVE
    proven = replace(small, proven_at=1, rung=Rung.HEALTHY)
    marked = {
        one.archive.volid: one for one in prune_marks.decide_all([*whole, proven], guests, policy)
    }
    assert marked[whole[-1].volid].mark is Mark.REMOVE and marked[small.volid].mark is Mark.KEEP


# --- compared with PVE's own dry run --------------------------------------------------------------


def test_law_3_a_guest_that_pves_own_dry_run_judges_otherwise_loses_nothing(site: World) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve
    cluster.storage.prune_marks = lambda node, storage, keep, vmid=None: {
        one.volid: "keep" for one in THREE
    }
    done = prune_outcome(site.engine.drive_one(open_prune(site)))
    assert done["removed"] == [] == cluster.deleted
    assert done["error"]["exit_code"] == 4
    assert "prune-differs" in done["error"]["message"] and "time zone" in done["error"]["hint"]
    assert all(one["mark"] == "keep" for one in done["archives"])


def test_law_3_the_other_guests_are_pruned_beside_one_that_pve_judges_otherwise(
    site: World,
) -> None:
    others = [archive(107, second) for second in (1, 2)]
    cluster = Cluster(listings=[[*THREE, *others]])
    cluster.guests_there.append(Guest(107, "other", "clovis"))
    site.catalog.inspections.accept(
        [Acceptance(107, int(site.clock.now()), "ada", "the tests begin", ())]
    )
    with_cluster(site, cluster)
    plain = cluster.storage.prune_marks
    cluster.storage.prune_marks = lambda node, storage, keep, vmid=None: (
        plain(node, storage, keep, vmid) | {THREE[0].volid: "keep"}
    )
    done = prune_outcome(site.engine.drive_one(open_prune(site)))
    assert done["removed"] == [others[0].volid] == cluster.deleted
    assert "guest 108" in done["error"]["message"] and "107" not in done["error"]["message"]


def test_law_3_a_dry_run_that_pve_refuses_stops_the_guests_that_would_lose_something(
    site: World,
) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE])).pve

    def refused(node: str, storage: str, keep: str, vmid: int | None = None) -> dict[str, str]:
        raise PveError("Permission check failed (/storage/local, Datastore.Audit)")

    cluster.storage.prune_marks = refused
    told = foreseen(decision(site))
    assert "could not be compared: Permission check failed" in told["error"]["message"]
    assert prune_exit_code(told) == 4


def test_a_prune_that_removes_nothing_does_not_ask_pve_to_count(site: World) -> None:
    cluster = with_cluster(site, Cluster(listings=[THREE[2:]])).pve
    cluster.storage.prune_marks = None  # whoever calls it fails
    assert prune_exit_code(foreseen(decision(site))) == 0


def test_the_explanation_says_of_each_archive_what_pve_says_and_why_we_differ(site: World) -> None:
    site.catalog.archives.observe(THREE, scope=[], at=int(site.clock.now()))
    proven(site, THREE[0], int(site.clock.now()))
    with_cluster(site, Cluster(listings=[THREE]))
    told = foreseen(decision(site, explain=True), explain=True)
    said = [one["explanation"] for one in told["archives"]]
    assert "law 3: newest proven archive" in said[0] and "says remove)" in said[0]
    assert said[1].endswith("(PVE's own dry run says remove, too)")
    assert said[2].startswith("it stays: keep-last 1/1") and said[2].endswith("says keep, too)")
    assert all("explanation" not in one for one in foreseen(decision(site))["archives"])


# --- copies ---------------------------------------------------------------------------------------


def test_law_3_the_archive_that_is_still_to_be_copied_stays_until_its_copy_is_verified(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_go(archives: Any, *_: object) -> list[Marked]:
        return [Marked(one, Mark.REMOVE, ("a rule of tomorrow",)) for one in archives]

    monkeypatch.setattr(prune_marks, "decide_all", all_go)
    monkeypatch.setattr(prune_compare, "questions", lambda *_, **__: ())
    site.catalog.archives.observe(THREE, scope=[], at=1)
    proven(site, THREE[0], int(site.clock.now()))
    with_cluster(site, Cluster(listings=[THREE]))
    site.policy = replace(
        site.policy,
        prune=PruneRules(max_share=1.0),
        copies=(CopyTarget("usb", Directory("/mnt/usb")),),
    )
    assert marks(site) == dict(
        zip([one.volid for one in THREE], (Mark.KEEP, Mark.REMOVE, Mark.KEEP), strict=True)
    )
    site.policy = replace(site.policy, copies=())
    assert list(marks(site).values()) == [Mark.KEEP, Mark.REMOVE, Mark.REMOVE]
