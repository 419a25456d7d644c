"""The collector: one listing a storage, refusals become gaps, and the catalog's knowledge is joined
to what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog import Catalog
from backupsvc.catalog.operations import Driver, Kept, NewOperation, Note
from backupsvc.errors import PveError, PvePermissionDenied, PveUnreachable
from backupsvc.operations.backup import memory as backup
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.job_run import memory as job_run
from backupsvc.operations.job_run.memory import NightMemory
from backupsvc.operations.replace import memory as replace_memory
from backupsvc.operations.replace.memory import ReplaceMemory
from backupsvc.operations.restore import memory as restore
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore_test import memory as restore_test
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from backupsvc.pve.cluster import ClusterNode, ClusterStatus, PveJob, Version
from backupsvc.pve.guests import GuestStatus
from backupsvc.pve.tasks import TaskRow
from backupsvc.report.facts import collect
from policies import lineage, ownership
from policies.bookkeeping import Bookkeeping, StepError
from policies.compliance.evaluation import findings
from policies.compliance.facts import Gap, GuestFacts, How, JobRun, SiteFacts, Standing
from policies.compliance.objectives import assess
from policies.freezing import State, Thaw
from policies.model import Guest, GuestType, Node, OperationState, Rung
from policies.moved import Moved
from policies.restore_guard import Confirmation
from policies.restore_verdict import Health, Judgement
from tests.catalogs import new_catalog
from tests.fakes.clock import StoppedClock
from tests.unit.report.langeo import NAMES, NIGHTS, NOW, archive, guest, policy, proof, storage
from tests.unit.report.worlds import TOKEN, World, served

UUID = "11111111-1111-4111-8111-111111111111"
ASKED = backup.FORM.write(BackupMemory("nightly"))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(new_catalog(tmp_path)) as opened:
        yield opened


def seen(world: World, catalog: Catalog, **policy_changes: Any) -> SiteFacts:
    return collect(served(world), catalog, policy(**policy_changes), StoppedClock(NOW))


def one(facts: SiteFacts, vmid: int) -> GuestFacts:
    return next(item for item in facts.guests if item.vmid == vmid)


def test_the_reference_site_is_seen_as_it_is(catalog: Catalog) -> None:
    facts = seen(World(), catalog)
    assert facts.gaps == () and facts.cluster == "langeo" and facts.release == "9.2.11"
    assert [item.vmid for item in facts.guests] == list(NAMES)
    assert [item.vmid for item in facts.guests if item.agent is False] == [108]
    assert [item.vmid for item in facts.guests if item.ha_managed] == [108]
    assert facts.quorum is not None and (facts.quorum.clustered, facts.quorum.votes) == (True, 2)
    assert (
        facts.clocks.offsets == {"clovis": 0, "lge-pve02": 3644}
        and "time drift" in facts.clocks.drift_texts[0]
    )
    wanted = {
        "archives-on-guest-node",
        "job-pinned-to-node",
        "quorum-two-votes",
        "clock-drift",
        "guest-agent-missing",
        "never-proven",
    }
    assert {item.id for item in findings(facts, policy(), NOW)} == wanted | {"foreign-job"}


def test_each_storage_is_listed_once_and_a_shared_one_from_one_node_only(catalog: Catalog) -> None:
    world = World()
    world.storage_list += [
        storage("nfs", node, "backup", shared=True) for node in ("clovis", "lge-pve02")
    ]
    world.archive_list.append(archive(108, NIGHTS[-1], storage="nfs", shared=True))
    facts = seen(world, catalog)
    asked = [str(call[0]) for call in world.calls if str(call[0]).startswith("archives")]
    assert asked == ["archives clovis local", "archives clovis nfs", "archives lge-pve02 local"]
    assert len(one(facts, 108).archives) == 4
    assert sum(call[0] == "guests" for call in world.calls) == 1


def test_every_refusal_is_a_gap_with_pves_own_words_and_nothing_is_taken_for_fine(
    catalog: Catalog,
) -> None:
    world = World()
    denied = PvePermissionDenied("Permission check failed (/, Sys.Audit)")
    names = (
        "status",
        "jobs",
        "clock_offsets",
        "permissions",
        "bridges clovis",
        "bridges lge-pve02",
        "ha",
        "ha_resources",
        "config 108",
    )
    world.refuse = dict.fromkeys((*names, "archives lge-pve02 local"), denied)
    facts = seen(world, catalog)
    kinds = {"quorum", "jobs", "clocks", "permissions", "bridges", "ha", "config", "listing"}
    assert {gap.kind for gap in facts.gaps} == kinds
    assert {gap.reason for gap in facts.gaps} == {denied.message}
    assert (facts.quorum, facts.jobs, facts.permissions, facts.bridges, one(facts, 108).agent) == (
        None,
    ) * 5
    assert len(one(facts, 108).archives) == 3
    assert facts.cluster == "langeo"


def test_an_offline_node_is_a_gap_and_is_not_asked(catalog: Catalog) -> None:
    world = World()
    world.node_list[1] = Node("lge-pve02", False)
    del world.offsets["lge-pve02"]
    facts = seen(world, catalog)
    assert facts.gaps == (Gap("node", "lge-pve02", "the node is offline"),)
    assert not [call for call in world.calls if "lge-pve02" in str(call)]


@pytest.mark.slow
def test_the_guests_of_a_dead_node_are_not_asked_and_what_is_known_there_is_out_of_reach(
    catalog: Catalog,
) -> None:
    world = World()
    catalog.archives.observe(world.archive_list, scope=[], at=NOW)
    backed_up(catalog, State.FROZEN, NOW - 600)
    world.node_list[0] = Node("clovis", False)
    world.storage_list = [item for item in world.storage_list if item.node != "clovis"]
    del world.offsets["clovis"]
    facts = seen(world, catalog)
    assert not [
        call for call in world.calls if "clovis" in str(call) or str(call[0]).startswith("config")
    ]
    assert facts.gaps == (Gap("node", "clovis", "the node is offline"),)
    assert {len(item.unreachable) for item in facts.guests} == {len(NIGHTS)} and not any(
        item.archives for item in facts.guests
    )
    assert one(facts, 104).left_frozen is not None, "who cannot be asked is not thawed"
    found = findings(facts, policy(), NOW)
    assert found[0].id == "node-offline" and not [
        item for item in found if "backup run" in item.action
    ]


def test_a_node_that_is_called_online_and_answers_nothing_is_one_gap_and_is_not_asked_again(
    catalog: Catalog,
) -> None:
    world = World()
    world.mute = {"clovis"}
    silence = PveUnreachable("595 No route to host")
    world.refuse = {
        "archives clovis local": silence,
        **{f"config {vmid}": silence for vmid in NAMES},
    }
    facts = seen(world, catalog)
    asked = [str(call[0]) for call in world.calls]
    assert asked.count("answers clovis") == 1 and not [
        call for call in asked if call.startswith("config")
    ]
    assert facts.silent == {"clovis": "595 No route to host"}
    assert [gap for gap in facts.gaps if gap.subject == "clovis"] == [
        Gap("node", "clovis", "595 No route to host")
    ]
    assert findings(facts, policy(), NOW)[0].id == "node-offline"


def test_a_storage_that_hangs_does_not_make_its_node_silent(catalog: Catalog) -> None:
    world = World()
    catalog.archives.observe(world.archive_list, scope=[], at=NOW)
    world.refuse = {"archives clovis local": PveUnreachable("596 Connection timed out")}
    facts = seen(world, catalog)
    assert facts.silent == {} and [gap.kind for gap in facts.gaps] == ["listing"]
    assert one(facts, 108).agent is False and len(one(facts, 108).unreachable) == len(NIGHTS)
    ids = {item.id for item in findings(facts, policy(), NOW)}
    assert "node-offline" not in ids and {"guest-not-covered", "archives-on-guest-node"} <= ids


def test_a_node_of_unknown_status_that_answers_is_read_like_any_other(catalog: Catalog) -> None:
    world = World()
    world.node_list[0] = Node("clovis", True, unknown=True)
    world.guest_list = [replace(item, status="unknown", name="") for item in world.guest_list]
    facts = seen(world, catalog)
    assert facts.gaps == () and {len(item.archives) for item in facts.guests} == {len(NIGHTS)}
    assert [item.name for item in facts.guests] == list(NAMES.values())
    assert [
        item.id
        for item in findings(facts, policy(), NOW)
        if item.id in ("node-offline", "status-unknown")
    ] == ["status-unknown"]


def test_a_node_that_lists_no_storage_and_answers_nothing_is_silent_and_not_asked_again(
    catalog: Catalog,
) -> None:
    world = World()
    world.mute = {"clovis"}
    world.storage_list = [item for item in world.storage_list if item.node != "clovis"]
    facts = seen(world, catalog)
    assert facts.silent == {"clovis": "the node listed no storage"}
    assert not [
        call
        for call in world.calls
        if str(call[0]).startswith("config") or call[0] == "bridges clovis"
    ]


def test_a_node_that_lists_no_storage_is_a_gap(catalog: Catalog) -> None:
    world = World()
    world.storage_list = [item for item in world.storage_list if item.node != "lge-pve02"]
    assert seen(world, catalog).gaps == (Gap("listing", "lge-pve02", "the node listed no storage"),)


def test_a_node_whose_clock_does_not_answer_and_a_storage_that_is_not_active_are_gaps(
    catalog: Catalog,
) -> None:
    world = World()
    del world.offsets["lge-pve02"]
    world.storage_list[0] = replace(world.storage_list[0], active=False)
    gaps = seen(world, catalog).gaps
    assert {(gap.kind, gap.subject) for gap in gaps} == {
        ("clock", "lge-pve02"),
        ("listing", "local (clovis)"),
    }


def test_a_cluster_that_does_not_answer_at_all_is_an_error_and_no_report(catalog: Catalog) -> None:
    world = World()
    world.refuse = {"guests": PveUnreachable("no answer")}
    with pytest.raises(PveUnreachable):
        seen(world, catalog)


def test_a_single_node_without_cluster_has_no_quorum_to_lose(catalog: Catalog) -> None:
    world = World()
    world.node_list, world.offsets = [Node("pve", True)], {"pve": 0.0}
    world.status_answer = ClusterStatus("pve", None, (ClusterNode("pve", 0, "10.99.0.1", True),))
    facts = seen(world, catalog)
    assert facts.quorum is not None and not facts.quorum.clustered


def test_the_catalogs_knowledge_is_joined_unless_another_file_bears_the_name(
    catalog: Catalog,
) -> None:
    known = archive(108, NIGHTS[-1])
    catalog.archives.observe([known, archive(108, NIGHTS[0])], scope=[("clovis", "local")], at=NOW)
    catalog.proofs.record(proof(108, NIGHTS[-1]))
    world = World()
    held = {item.ctime: item for item in one(seen(world, catalog), 108).archives}
    assert (
        held[NIGHTS[-1]].rung is Rung.HEALTHY
        and held[NIGHTS[-1]].proven_at == proof(108, NIGHTS[-1]).ended
    )
    assert held[NIGHTS[0]].rung is Rung.RECORDED
    world.archive_list = [replace(known, ctime=known.ctime + 60)]
    assert one(seen(world, catalog), 108).archives[0].rung is Rung.RECORDED


def test_proofs_failed_backups_and_removed_archives_come_from_the_catalog(catalog: Catalog) -> None:
    gone = archive(108, NIGHTS[0] - 86400)
    catalog.archives.observe([gone], scope=[("clovis", "local")], at=NOW - 10)
    catalog.archives.observe([], scope=[("clovis", "local")], at=NOW - 5)
    catalog.proofs.record(proof(108, NIGHTS[-1]))
    for state, error in ((OperationState.FAILED, "job errors"), (OperationState.DONE, None)):
        driver = Driver("a", 600, NOW)
        operation = catalog.operations.open(
            NewOperation("backup", 108, "dump", ASKED), NOW - 60, driver
        )
        assert operation is not None
        catalog.operations.finish(
            operation.id, driver, state, kept=Kept(ASKED, operation.book), error=error, note=None
        )
    catalog.operations.open(NewOperation("backup", 108, "dump", ASKED), NOW)
    item = one(seen(World(), catalog), 108)
    assert [archive.volid for archive in item.removed] == [gone.volid]
    assert [(backup.succeeded, backup.detail) for backup in item.backups] == [
        (True, ""),
        (False, "job errors"),
    ]
    assert len(item.proofs) == 1


def test_archives_that_the_catalog_knows_and_the_storage_no_longer_lists_are_counted_as_lost(
    catalog: Catalog,
) -> None:
    known = [archive(108, NIGHTS[0] - 86400 * days) for days in (1, 2)]
    catalog.archives.observe(known, scope=[], at=NOW)
    facts = seen(World(), catalog)
    assert {(item.node, item.lost) for item in facts.listings} == {("clovis", 2), ("lge-pve02", 0)}
    assert "listing-blind" in {item.id for item in findings(facts, policy(), NOW)}


def test_law_4_a_guest_that_policy_or_job_names_is_there_even_when_the_cluster_does_not_list_it(
    catalog: Catalog,
) -> None:
    world = World()
    world.guest_list = [item for item in world.guest_list if item.vmid != 105]
    item = one(seen(world, catalog), 105)
    assert item.guest is None and item.name == "Kanboard-Server" and len(item.archives) == 3
    assert one(seen(world, catalog, guests={}), 105).guest is None


def test_scratch_copies_are_no_guests_of_the_site(catalog: Catalog) -> None:
    world = World()
    world.guest_list.append(guest(9000))
    assert 9000 not in {item.vmid for item in seen(world, catalog).guests}


def test_excluded_disks_are_read_from_the_config_and_cdroms_are_none(catalog: Catalog) -> None:
    world = World()
    world.configs[104] |= {
        "scsi1": "local-lvm:vm-104-disk-1,backup=0,size=8G",
        "ide2": "none,media=cdrom",
    }
    assert one(seen(world, catalog), 104).excluded == ("scsi1",)


def test_law_10_the_proofs_of_the_guest_that_had_the_vmid_before_are_none_of_the_one_that_has_it(
    catalog: Catalog,
) -> None:
    """The VMID was given to another guest today; its first backup comes tonight."""
    world = World()
    recorded = archive(108, NIGHTS[-1])
    catalog.archives.observe([recorded], scope=[("clovis", "local")], at=NOW)
    config = f"name: Debian-Server\nsmbios1: uuid={UUID}\n"
    catalog.archives.annotate(recorded.node, recorded.volid, config=config, uuid=UUID)
    catalog.proofs.record(proof(108, NIGHTS[-1]))
    facts = seen(world, catalog)
    assert [one.last_proven for one in assess(facts, policy(), NOW) if one.vmid == 108] == [
        NIGHTS[-1]
    ]
    world.configs[108]["smbios1"] = "uuid=22222222-2222-4222-8222-222222222222"
    facts = seen(world, catalog)
    assert one(facts, 108).machine == lineage.of(world.configs[108])
    (after,) = (item for item in assess(facts, policy(), NOW) if item.vmid == 108)
    assert (after.last_proven, after.last_good, after.proof_age) == (None, None, None)


def test_a_containers_config_is_a_gap_and_a_templates_is_not_asked(catalog: Catalog) -> None:
    world = World()
    world.guest_list = [Guest(200, "ct", "clovis", GuestType.LXC), guest(201, template=True)]
    facts = seen(world, catalog)
    assert [gap.subject for gap in facts.gaps] == ["200"]
    assert not [call for call in world.calls if str(call[0]).startswith("config")]


def test_a_guest_that_vanishes_while_it_is_read_is_a_gap(catalog: Catalog) -> None:
    world = World()
    del world.configs[110]
    assert [(gap.kind, gap.subject) for gap in seen(world, catalog).gaps] == [("config", "110")]


def test_a_job_of_a_pool_or_of_all_guests_covers_whom_pve_would_back_up(catalog: Catalog) -> None:
    world = World()
    world.guest_list[0] = guest(100, pool="edge")
    world.job_list = [
        PveJob("pool", True, "22:00", "local", pool="edge"),
        PveJob("all", True, "23:00", "local", all=True, exclude=(101,)),
    ]
    jobs = seen(world, catalog).jobs or ()
    assert jobs[0].guests == (100,)
    assert jobs[1].covers(102) and not jobs[1].covers(101)


def test_a_cluster_that_says_it_is_simulated_is_believed(catalog: Catalog) -> None:
    world = World()
    world.version_answer = Version("9.2", "9.2.11", simulated=True)
    assert seen(world, catalog).simulated


def test_an_error_of_one_storage_leaves_the_others_listed(catalog: Catalog) -> None:
    world = World()
    world.refuse = {
        "archives clovis local": PveError("storage 'local' is not available on node 'clovis'")
    }
    world.archive_list.append(archive(108, NIGHTS[-1], "lge-pve02"))
    facts = seen(world, catalog)
    assert [item.node for item in one(facts, 108).archives] == ["lge-pve02"]
    assert [gap.kind for gap in facts.gaps] == ["listing"]


def test_law_5_an_archive_of_another_size_than_recorded_is_told_as_changed_without_any_sync(
    catalog: Catalog,
) -> None:
    world = World()
    catalog.archives.observe(world.archive_list, scope=[], at=NOW)
    newest = archive(108, NIGHTS[-1])
    catalog.proofs.record(proof(108, NIGHTS[-1]))
    world.archive_list = [
        replace(item, size=7) if item == newest else item for item in world.archive_list
    ]
    facts = seen(world, catalog)
    held = {item.ctime: item for item in one(facts, 108).archives}
    assert (held[NIGHTS[-1]].rung, held[NIGHTS[-1]].proven_at) == (Rung.RECORDED, None)
    [item] = [item for item in findings(facts, policy(), NOW) if item.id == "archive-changed"]
    assert (item.vmid, item.severity) == (
        108,
        "critical",
    ) and f"size {newest.size} -> 7 bytes" in item.detail


def test_law_5_a_change_that_the_catalog_knows_of_stays_told(catalog: Catalog) -> None:
    world = World()
    catalog.archives.observe(world.archive_list, scope=[], at=NOW)
    catalog.archives.annotate("clovis", archive(108, NIGHTS[-1]).volid, sha256="aa")
    catalog.archives.annotate("clovis", archive(108, NIGHTS[-1]).volid, sha256="bb", at=NOW)
    assert [item.id for item in findings(seen(world, catalog), policy(), NOW)].count(
        "archive-changed"
    ) == 1


# --- nights ---------------------------------------------------------------------------------------


def test_a_nights_hour_is_its_own_word_and_else_when_it_was_opened(catalog: Catalog) -> None:
    for memory in (NightMemory("nightly", NOW - 60), NightMemory("weekly")):
        catalog.operations.open(
            NewOperation("night", None, "back-up", job_run.FORM.write(memory)), NOW
        )
    catalog.operations.record_missed(
        NewOperation("night", None, "back-up", job_run.FORM.write(NightMemory("nightly", 5))),
        NOW,
        "late",
    )
    runs = [
        JobRun("nightly", NOW - 60, False),
        JobRun("weekly", NOW, False),
        JobRun("nightly", 5, True),
    ]
    assert sorted(seen(World(), catalog).job_runs, key=lambda one: -one.at) == sorted(
        runs, key=lambda one: -one.at
    )


def test_an_operation_that_a_newer_version_wrote_is_a_gap_and_hides_nothing_else(
    catalog: Catalog,
) -> None:
    newer = {"version": 99}
    unread = {
        opened.id
        for kind, subject in (("night", None), ("backup", 108), ("restore-test", 108))
        if (opened := catalog.operations.open(NewOperation(kind, subject, "work", newer), NOW))
    }
    written = job_run.FORM.write(NightMemory("nightly", NOW - 60))
    catalog.operations.open(NewOperation("night", None, "back-up", written), NOW)
    facts = seen(World(), catalog)
    assert facts.job_runs == (JobRun("nightly", NOW - 60, False),)
    assert len(unread) == 3
    assert {(gap.kind, gap.subject) for gap in facts.gaps} == {("operation", id) for id in unread}
    assert all("newer version" in gap.reason for gap in facts.gaps)


# --- left frozen ----------------------------------------------------------------------------------


def backed_up(catalog: Catalog, state: State, at: int) -> None:
    """Remember a backup of 104 that found its guest so."""
    driver = Driver("a", 600, at)
    found = BackupMemory("nightly", thaw=Thaw(state, "its agent says so", at, tried=True))
    operation = catalog.operations.open(NewOperation("backup", 104, "dump", ASKED), at, driver)
    assert operation is not None
    kept = Kept(backup.FORM.write(found), operation.book)
    catalog.operations.finish(
        operation.id, driver, OperationState.DONE, kept=kept, error=None, note=None
    )


def agent_of(world: World, status: GuestStatus, answer: object) -> Any:
    """That site with an agent of 104 that gives this answer."""
    asked = served(world)

    def frozen(node: str, vmid: int) -> bool:
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    asked.agent = SimpleNamespace(state=lambda node, vmid: status, frozen=frozen)  # type: ignore[assignment]
    return asked


RUNS = GuestStatus("running", "running", True, None, 10_000)


@pytest.mark.parametrize(
    ("status", "answer", "left"),
    [
        (RUNS, True, True),
        (RUNS, False, False),  # somebody thawed it
        (RUNS, PveError("QEMU guest agent is not running"), True),
        (RUNS, PvePermissionDenied("no"), True),
        (RUNS, PveUnreachable("no answer"), True),
        (replace(RUNS, uptime=10), True, False),  # it has booted since
        (replace(RUNS, status="stopped"), True, False),
    ],
)
def test_a_guest_that_was_left_frozen_is_looked_at_again_and_stays_so_unless_it_is_seen_thawed(
    catalog: Catalog, status: GuestStatus, answer: object, left: bool
) -> None:
    backed_up(catalog, State.FROZEN, NOW - 600)
    facts = collect(agent_of(World(), status, answer), catalog, policy(), StoppedClock(NOW))
    assert (one(facts, 104).left_frozen is not None) is left
    assert one(facts, 105).left_frozen is None


def test_a_later_backup_that_found_the_guest_thawed_ends_it_and_nobody_is_asked(
    catalog: Catalog,
) -> None:
    backed_up(catalog, State.FROZEN, NOW - 600)
    backed_up(catalog, State.THAWED, NOW - 300)
    assert one(seen(World(), catalog), 104).left_frozen is None


RESTORE = f"UPID:clovis:0000A1B2:00097285:69AF0000:qmrestore:9000:{TOKEN}:"


@pytest.mark.parametrize("refused", [False, True])
def test_law_1_a_copy_is_called_ours_only_on_the_word_of_pves_tasks(
    catalog: Catalog, refused: bool
) -> None:
    world = World()
    world.guest_list.append(
        replace(guest(108), vmid=9000, name="restore-test-108", status="running")
    )
    world.configs[9000] = {"description": ownership.mark("01GONE", catalog.identity.get()) + "\n"}
    if refused:
        world.task_list.append(TaskRow(RESTORE, "OK", NOW, TOKEN))
        world.refuse["tasks clovis"] = PvePermissionDenied("no", "")
    (orphan,) = seen(world, catalog).orphans
    assert not orphan.ours and orphan.copy.operation == "01GONE"


def test_a_copy_that_the_catalog_forgot_and_one_that_was_moved_are_seen(catalog: Catalog) -> None:
    world = World()
    world.guest_list.append(
        replace(guest(108), vmid=9000, name="restore-test-108", status="running")
    )
    world.configs[9000] = {"description": ownership.mark("01GONE", catalog.identity.get()) + "\n"}
    world.task_list.append(TaskRow(RESTORE, "OK", NOW, TOKEN))
    catalog.operations.open(
        NewOperation("restore-test", 109, "choose", restore_test.FORM.write(RestoreTestMemory())),
        NOW,
    )
    test = restore_test.FORM.write(RestoreTestMemory(moved=Moved("clovis", "lge-pve02", NOW)))
    catalog.operations.open(NewOperation("restore-test", 108, "choose", test), NOW)
    facts = seen(world, catalog)
    (orphan,) = facts.orphans
    assert (orphan.copy.vmid, orphan.copy.node, orphan.copy.running, orphan.ours) == (
        9000,
        "clovis",
        True,
        True,
    )
    assert [(move.vmid, move.source, move.target) for move in facts.moves] == [
        (108, "clovis", "lge-pve02")
    ]
    assert 9000 not in [item.vmid for item in facts.guests]


def test_restores_onto_production_are_seen_once_they_have_ended_with_who_said_what(
    catalog: Catalog,
) -> None:
    given = Confirmation("marie on admin", NOW - 60, "108 is off", ())
    memory = RestoreMemory(
        archive(108, NIGHTS[-1]),
        "clovis",
        name="Debian-Server",
        confirmed=given,
        judged=Judgement(Health.RUNNING, ("1 of 1 checks passed",)),
    )
    kept = restore.FORM.write(memory)
    driver = Driver("me", 600, NOW)
    for vmid in (108, 105):
        book = Bookkeeping(asked_by="paul on admin", seconds={"restore": 60.0, "start": 2.5})
        opened = catalog.operations.open(
            NewOperation("restore", vmid, "choose", kept, book), NOW, driver
        )
        assert opened
        if vmid == 108:
            note = Note("settle", "finished")
            done = OperationState.DONE
            catalog.operations.finish(
                opened.id, driver, done, kept=Kept(kept, book), error=None, note=note
            )
    (one,) = seen(World(), catalog).restores
    assert (one.vmid, one.by, one.verdict, one.seconds) == (108, "paul on admin", "running", 62.5)
    assert (one.words, one.words_by, one.words_at) == ("108 is off", "marie on admin", NOW - 60)
    assert one.started and one.state is OperationState.DONE and one.said[0].startswith("1 of 1")


def test_replacements_and_their_undoing_are_seen_with_both_guests_and_who_typed_the_name(
    catalog: Catalog,
) -> None:
    memory = ReplaceMemory(
        archive(105, NIGHTS[-1]),
        "clovis",
        name="Kanboard-Server",
        original=105,
        old_node="lge-pve02",
        typed_by="marie on admin",
        begun=True,
        judged=Judgement(Health.RUNNING, ("1 of 1 checks passed",)),
    )

    def ended(kind: str, kept: ReplaceMemory, state: OperationState, **book: Any) -> str:
        driver, written = Driver("me", 600, NOW), replace_memory.FORM.write(kept)
        made = catalog.operations.open(
            NewOperation(kind, 205, "choose", written, Bookkeeping()), NOW, driver
        )
        assert made
        catalog.operations.finish(
            made.id,
            replace(driver, now=NOW + 90),
            state,
            kept=Kept(written, Bookkeeping(**book)),
            error=None,
            note=Note("settle", "finished"),
        )
        return made.id

    done, failed = OperationState.DONE, OperationState.FAILED
    id = ended("replace", memory, done)
    stuck = StepError("give-back", "PveUnreachable", "silent")
    lost = ended("replace", replace(memory, judged=None), failed, cleanup_error=stuck)
    back = replace(memory, undo_of=id, judged=None)
    for kept, state in ((replace(back, begun=False), failed), (back, done), (back, failed)):
        ended("replace-undo", kept, state)
    rows = {(one.how, one.operation): one for one in seen(World(), catalog).restores}
    one = rows[How.REPLACE, id]
    assert (one.vmid, one.original, one.by, one.seconds) == (205, 105, "marie on admin", 90.0)
    assert one.verdict == "running" and one.standing is None
    assert one.taken_back and one.taken_back.state is done and one.word == "undone"
    assert rows[How.REPLACE, lost].standing is Standing.NOT_KNOWN
    assert rows[How.REPLACE, lost].taken_back is None and rows[How.REPLACE, lost].word == "error"
    undone = [one for (how, _), one in rows.items() if how is How.UNDO]
    assert {(one.vmid, one.original, one.undoes) for one in undone} == {(105, 205, id)}
    assert [one.word for one in undone].count("back") == 1
    assert (one.node, {one.node for one in undone}) == ("clovis", {"lge-pve02"})
