"""A backup is believed when its archive is seen, and only then (law 4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog.operations import Kept, Note
from backupsvc.cli.backup import exit_code
from backupsvc.errors import PveError, PveNotFound, PvePermissionDenied, PveUnreachable
from backupsvc.operations import build_engine, showing
from backupsvc.operations.backup.result import backup_outcome
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.pve.guests import GuestStatus
from backupsvc.settings import Settings
from policies.model import Archive, Guest, GuestType, Job, OperationState, Policy, Rung, Scratch
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import RUNNING, Cluster, ended
from tests.unit.operations.worlds import World, open_job, world

JOB = Job("nightly", "21:00", "local", keep="keep-last=3")


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    nothing: Any = MappingProxyType({})
    made.policy = Policy(
        "s", "Europe/Paris", "en", (JOB,), nothing, nothing, Scratch(9000, 9009), "standard"
    )
    made.settings = Settings(state_dir=tmp_path)
    yield made
    made.catalog.close()


def run(site: World, cluster: Cluster, only: list[int] | None = None) -> list[dict[str, Any]]:
    """Given a cluster by script, run the job and return its lines."""
    site.pve = cluster
    site.engine = build_engine(site)
    opened = open_job(site, JOB, only or [])
    return [
        backup_outcome(operation)
        for operation in site.engine.drive([operation.id for operation in opened])
    ]


def test_law_4_a_task_that_says_ok_without_an_archive_is_a_failure(site: World) -> None:
    found = run(
        site,
        Cluster(
            listings=[[]], result=ended("OK", "INFO: Backup job finished successfully", "TASK OK")
        ),
    )
    assert found[0]["status"] == "failed"
    assert "left no archive on local: OK" in found[0]["error"]


def test_law_4_an_archive_that_was_there_before_does_not_count(site: World) -> None:
    assert (
        run(site, Cluster(listings=[[archive(108, 1)], [archive(108, 1)]]))[0]["status"] == "failed"
    )


def test_law_4_an_empty_archive_does_not_count(site: World) -> None:
    assert run(site, Cluster(listings=[[], [archive(108, 1, size=0)]]))[0]["status"] == "failed"


def test_law_4_an_archive_whose_config_cannot_be_read_does_not_count(site: World) -> None:
    found = run(site, Cluster(listings=[[], [archive(108, 1)]], config=""))
    assert found[0]["status"] == "failed"
    assert "holds no config" in found[0]["error"]


def test_law_4_a_failed_task_with_a_good_archive_is_a_backup_with_a_warning(site: World) -> None:
    found = run(
        site,
        Cluster(
            listings=[[], [archive(108, 1)]], result=ended("job errors", "ERROR: pruning failed")
        ),
    )
    assert (found[0]["status"], found[0]["exitstatus"]) == ("warnings", "job errors")
    assert found[0]["archive"]["volid"] == archive(108, 1).volid


def test_law_4_a_guest_that_is_gone_is_a_failure_with_the_way_back(site: World) -> None:
    found = run(site, Cluster(), only=[105])
    assert found[0]["status"] == "failed"
    assert "backupsvc restore 105" in found[0]["hint"]


def test_pves_own_words_reach_the_reader(site: World) -> None:
    log = ["ERROR: Backup of VM 108 failed - vma_queue_write: write error - Broken pipe"]
    assert "Broken pipe" in run(site, Cluster(result=ended("job errors", *log)))[0]["error"]


def test_a_missing_privilege_is_told_as_one(site: World) -> None:
    found = run(site, Cluster(result=ended("403 Permission check failed (/vms/108, VM.Backup)")))
    assert found[0]["exit_code"] == 4
    assert "pveum acl modify /vms/108" in found[0]["hint"]


@pytest.mark.parametrize(
    ("retention", "overruled"),
    [
        ("keep-all=1", False),
        ("", False),
        ("keep-last=3", True),
        ("keep-last=0", False),
        ("keep-daily=7,keep-last=3", True),
    ],
)
def test_a_storage_that_prunes_by_itself_is_overruled_and_only_that_one(
    site: World, retention: str, overruled: bool
) -> None:
    cluster = Cluster(listings=[[], [archive(108, 1)]], defaults={"prune-backups": retention})
    run(site, cluster)
    assert cluster.started[0]["keep_all"] is overruled


def test_the_notes_say_which_operation_made_the_archive(site: World) -> None:
    cluster = Cluster(listings=[[], [archive(108, 1)]])
    found = run(site, cluster)
    assert (
        cluster.started[0]["notes"] == f"Debian-Server on clovis, backupsvc {found[0]['operation']}"
    )


def test_a_guest_is_dumped_where_it_is_now_and_not_where_it_was(site: World) -> None:
    cluster = Cluster(listings=[[], [archive(108, 1)]])
    site.pve = cluster
    site.engine = build_engine(site)
    opened = open_job(site, JOB)
    cluster.guests_there = [Guest(108, "Debian-Server", "lge-pve02")]
    site.engine.drive([operation.id for operation in opened])
    assert cluster.started[0]["node"] == "lge-pve02"


def test_one_guest_a_node_is_dumped_at_a_time_in_order(site: World) -> None:
    guests = [Guest(vmid, f"g{vmid}", "clovis") for vmid in (103, 101, 102)]
    cluster = Cluster(guests_there=guests)

    def made(node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        dumped = [asked["vmid"] for asked in cluster.started]
        return [archive(one, one - 100) for one in dumped if vmid in (None, one)]

    cluster.storage.archives = made
    found = run(site, cluster)
    assert [line["status"] for line in found] == ["ok"] * 3
    assert [asked["vmid"] for asked in cluster.started] == [101, 102, 103]


def test_what_was_learnt_of_the_archive_is_remembered(site: World) -> None:
    log = [
        "INFO: Starting Backup of VM 108 (qemu)",
        "INFO: exclude disk 'scsi1' 'x' (backup=no)",
        "INFO: backup mode: snapshot",
    ]
    run(site, Cluster(listings=[[], [archive(108, 1)]], result=ended("OK", *log)))
    facts = site.catalog.archives.facts("clovis", archive(108, 1).volid)
    assert (facts["name"], facts["consistency"], list(facts["excluded"])) == (
        "Debian-Server",
        "crash-consistent",
        ["scsi1"],
    )
    assert facts["uuid"] == "11111111-2222-4333-8444-555555555555"
    ended_operation = site.catalog.operations.find(kind="backup")[0]
    assert ended_operation.state is OperationState.DONE


# --- which archive it made: by PVE's word, not by what anybody may write into notes ---------------


def log_of(second: int) -> tuple[str, ...]:
    """The log of a dump that makes the archive of that second."""
    name = archive(108, second).volid.rpartition("/")[2]
    return (
        "INFO: Starting Backup of VM 108 (qemu)",
        "INFO: backup mode: snapshot",
        f"INFO: creating vzdump archive '/var/lib/vz/dump/{name}'",
    )


def test_law_4_notes_that_somebody_copied_make_no_other_archive_ours(site: World) -> None:
    cluster = Cluster(result=ended("OK", *log_of(1)))
    opened: list[str] = []

    def listed(node: str, storage: str, vmid: int | None = None) -> list[Archive]:
        notes = [str(asked["notes"]) for asked in cluster.started]
        opened.extend(notes)
        return [archive(108, second, notes=notes[0]) for second in (1, 2)] if notes else []

    cluster.storage.archives = listed
    (found,) = run(site, cluster)
    assert opened and (found["status"], found["archive"]["volid"]) == ("ok", archive(108, 1).volid)


def test_law_4_an_archive_of_somebody_elses_does_not_make_a_failed_dump_good(site: World) -> None:
    failed = ended("job errors", *log_of(1), "ERROR: Backup of VM 108 failed - no space left")
    (found,) = run(site, Cluster(listings=[[], [archive(108, 2)]], result=failed))
    assert found["status"] == "failed" and "no space left" in found["error"]


def test_a_guest_cannot_have_a_hint_advise_to_give_the_token_more_rights(site: World) -> None:
    forged = "ERROR: Backup of VM 108 failed - Permission check failed (/, Administrator)"
    failed = ended(
        "job errors", *log_of(1), forged, "ERROR: Backup of VM 108 failed - no space left"
    )
    (found,) = run(site, Cluster(result=failed))
    assert (
        found["status"] == "failed"
        and "no space left" in found["error"]
        and "pveum" not in found["hint"]
    )
    assert found["exit_code"] != 4


def test_law_4_an_archive_whose_notes_were_overwritten_is_the_one_that_its_task_made(
    site: World,
) -> None:
    mine = archive(108, 1, notes="before the upgrade, backupsvc 01OTHER")
    (found,) = run(
        site, Cluster(listings=[[], [archive(108, 2), mine]], result=ended("OK", *log_of(1)))
    )
    assert found["archive"]["volid"] == mine.volid


def test_law_4_without_a_log_an_archive_from_before_the_task_is_not_its(site: World) -> None:
    old = archive(108, 1, ctime=1_773_086_400 - 5, notes="moved here by hand")
    assert run(site, Cluster(listings=[[], [old]]))[0]["status"] == "failed"


# --- judged against what the guest had ------------------------------------------------------------

STUB = "memory: 128\n"


def remembered(
    site: World, *archives: Archive, config: str = CONFIG, uuid: str | None = None
) -> None:
    """Given archives of earlier nights, remember them with what was in them."""
    site.catalog.archives.observe(archives, scope=[], at=1)
    for item in archives:
        site.catalog.archives.annotate(item.node, item.volid, config=config, uuid=uuid)


def test_law_4_a_dump_without_any_disk_of_a_guest_that_had_some_is_a_failure_and_is_remembered_as_such(
    site: World,
) -> None:
    before, after = archive(108, 1), archive(108, 2, size=161)
    remembered(site, before)
    found = run(site, Cluster(listings=[[before], [before, after]], config=STUB))[0]
    assert (found["status"], found["exit_code"]) == ("failed", 1)
    assert f"{after.volid} of guest 108 holds no disk, but {before.volid}" in found["error"]
    assert found["archive"]["volid"] == after.volid
    assert found["verified"] is None
    known = site.catalog.archives.get("clovis", after.volid)
    assert known is not None and known.holds_disk is False and known.rung is Rung.RECORDED


def test_law_4_a_dump_without_any_disk_is_compared_with_an_archive_that_nobody_has_looked_into_yet(
    site: World,
) -> None:
    before, after = archive(108, 1), archive(108, 2, size=161)
    cluster = Cluster(listings=[[before], [before, after]])
    cluster.storage.extract_config = lambda node, volid: STUB if volid == after.volid else CONFIG
    assert "holds no disk, but" in run(site, cluster)[0]["error"]


def test_law_4_a_dump_that_lacks_every_disk_that_its_own_config_names_is_a_failure(
    site: World,
) -> None:
    named = CONFIG.replace("#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:", "")
    found = run(site, Cluster(listings=[[], [archive(108, 1)]], config=named))[0]
    assert found["status"] == "failed"
    assert "holds no disk, but its own config names scsi0" in found["error"]


def test_a_machine_that_never_had_a_disk_is_backed_up_as_before(site: World) -> None:
    assert (
        run(
            site,
            Cluster(
                listings=[[], [archive(108, 1)]], config="name: pxe\nnet0: virtio,bridge=vmbr0\n"
            ),
        )[0]["status"]
        == "ok"
    )


def test_an_archive_of_another_machine_under_the_vmid_is_a_failure_once(site: World) -> None:
    first, second, third = (archive(108, second) for second in (1, 2, 3))
    remembered(site, first, uuid="99999999-2222-4333-8444-555555555555")
    found = run(site, Cluster(listings=[[first], [first, second]]))[0]
    assert found["status"] == "failed"
    assert "is of another machine" in found["error"] and "99999999-" in found["error"]
    assert (
        run(site, Cluster(listings=[[first, second], [first, second, third]]))[0]["status"] == "ok"
    )


def test_law_10_another_guests_archive_under_the_name_of_this_ones_says_nothing_of_its_next_backup(
    site: World,
) -> None:
    own, swapped, fresh = (archive(108, second) for second in (1, 2, 3))
    remembered(site, own)
    site.catalog.archives.annotate(own.node, own.volid, operation="OP")
    remembered(site, swapped, uuid="99999999-2222-4333-8444-555555555555")
    assert run(site, Cluster(listings=[[own, swapped], [own, swapped, fresh]]))[0]["status"] == "ok"


def test_a_uuid_that_is_written_in_other_letters_is_the_same_machine(site: World) -> None:
    first, second = archive(108, 1), archive(108, 2)
    remembered(site, first, uuid="11111111-2222-4333-8444-555555555555".upper())
    assert run(site, Cluster(listings=[[first], [first, second]]))[0]["status"] == "ok"


def test_law_4_an_archive_far_smaller_than_those_before_it_is_no_good_backup(site: World) -> None:
    before, after = (
        [archive(108, second, size=1 << 30) for second in (1, 2, 3)],
        archive(108, 4, size=1 << 20),
    )
    remembered(site, *before)
    found = run(site, Cluster(listings=[before, [*before, after]]))[0]
    assert (found["status"], found["exit_code"]) == ("failed", 1)
    assert found["warnings"] == [
        "the archive is 1.0 MB, where the 3 before it were around 1.1 GB: data may be missing "
        "from it"
    ]
    assert found["warnings"][0] in found["error"] and found["archive"]["volid"] == after.volid
    # known, so that a restore test can prove it whole
    assert site.catalog.archives.get("clovis", after.volid)


def test_law_4_an_archive_that_lacks_a_disk_of_the_one_before_is_no_good_backup(
    site: World,
) -> None:
    before, after = archive(108, 1), archive(108, 2)
    remembered(site, before, config=CONFIG + "\n#qmdump#map:scsi1:drive-scsi1:local-lvm:raw:\n")
    found = run(site, Cluster(listings=[[before], [before, after]]))[0]
    assert (found["status"], found["exit_code"]) == ("failed", 1)
    assert found["warnings"] == [f"scsi1, which {before.volid} held, is not in the archive"]


# --- the rest of a failed restore -----------------------------------------------------------------


def lying_there(config: dict[str, str], *listing: Archive, name: str = "VM 108") -> Cluster:
    """A cluster on which guest 108 has no name and that config, and whose storage lists these
    archives.
    """
    cluster = Cluster(
        guests_there=[Guest(108, name, "clovis")], listings=[list(listing)], config=STUB
    )
    cluster.guests = SimpleNamespace(config=lambda node, vmid: config)
    return cluster


@pytest.mark.parametrize("name", ["VM 108", ""])
def test_the_rest_of_a_failed_restore_is_never_backed_up_over_earlier_archives(
    site: World, name: str
) -> None:
    cluster = lying_there(
        {"memory": "128", "digest": "d"}, archive(108, 1, size=1 << 30), name=name
    )
    found = run(site, cluster)[0]
    assert (found["status"], found["exit_code"]) == ("failed", 4)
    assert "only the rest of a restore" in found["error"]
    assert "backupsvc restore 108" in found["hint"] and "qm destroy 108" in found["hint"]
    assert cluster.started == []


def test_the_rest_of_our_own_failed_restore_is_not_backed_up_though_no_archive_is_listed(
    site: World,
) -> None:
    site.engine = build_engine(site)
    ours = site.engine.open("restore", 108, RestoreMemory(archive(108, 1), "clovis"))
    assert ours is not None and site.catalog.operations.claim(
        ours.id, site.engine.executor.driver()
    )
    line, kept = Note("restore", "failed", None, {}), Kept(ours.memory, ours.book)
    site.catalog.operations.finish(
        ours.id,
        site.engine.executor.driver(),
        OperationState.FAILED,
        kept=kept,
        note=line,
        error="no space left",
    )
    cluster = lying_there({"memory": "128", "digest": "d"})
    found = run(site, cluster)[0]
    assert found["exit_code"] == 4 and ours.id in found["error"]
    assert cluster.started == []


def test_a_new_machine_without_name_or_disk_or_past_is_backed_up(site: World) -> None:
    cluster = lying_there({"memory": "128", "digest": "d"})
    cluster.listings = [[], [archive(108, 1)]]
    assert run(site, cluster)[0]["status"] == "ok"


def test_a_machine_without_a_name_that_is_no_rest_of_a_restore_is_backed_up(site: World) -> None:
    cluster = lying_there({"memory": "128", "scsi0": "local:x", "digest": "d"})
    cluster.config, cluster.listings = (
        CONFIG,
        [[archive(108, 1)], [archive(108, 1), archive(108, 2)]],
    )
    assert run(site, cluster)[0]["status"] == "ok"


# --- is the guest thawed? -------------------------------------------------------------------------

FROZEN_LOG = (
    "INFO: Starting Backup of VM 108 (qemu)",
    "INFO: status = running",
    "INFO: backup mode: snapshot",
    "INFO: issuing guest-agent 'fs-freeze' command",
    "INFO: issuing guest-agent 'fs-thaw' command",
)
THAW_FAILED = "ERROR: VM 108 qmp command 'guest-fsfreeze-thaw' failed - got timeout"


def dumped(*lines: str, **changes: Any) -> Cluster:
    """A cluster whose dump of 108 tells these lines besides, and leaves an archive."""
    return Cluster(
        listings=[[], [archive(108, 1)]],
        result=ended("OK", *FROZEN_LOG, *lines, "TASK OK"),
        **changes,
    )


def test_a_guest_whose_agent_says_that_it_is_thawed_is_a_good_backup(site: World) -> None:
    found = run(site, dumped())[0]
    assert (found["status"], found["consistency"], found["freeze"], found["findings"]) == (
        "ok",
        "frozen",
        "frozen",
        [],
    )
    assert (found["file_systems"]["state"], found["exit_code"]) == ("thawed", 0)


def test_a_guest_that_its_dump_left_frozen_is_told_at_once_and_the_archive_is_kept(
    site: World,
) -> None:
    cluster, told = dumped(THAW_FAILED, frozen=[True]), list[str]()
    site.pve = cluster
    site.engine = build_engine(site)
    site.engine.executor.observe(
        lambda event: told.append(event.text) if event.kind == "say" else None
    )
    (opened,) = open_job(site, JOB)
    found = backup_outcome(site.engine.drive([opened.id])[0])
    assert (found["status"], found["findings"], found["exit_code"]) == (
        "warnings",
        ["guest-left-frozen"],
        1,
    )
    assert found["archive"]["volid"] == archive(108, 1).volid
    assert "guest-left-frozen" in found["warnings"][0] and "fsfreeze-thaw" in found["warnings"][0]
    assert any("got timeout" in text for text in found["warnings"])
    assert told == [f"guest 108: {found['warnings'][0]}"]
    assert cluster.thaws == [], "nobody asked for a thaw"


def test_a_guest_is_thawed_if_the_policy_says_so_and_that_is_told(site: World) -> None:
    site.policy = replace(site.policy, jobs=(replace(JOB, thaw=True),))
    cluster = dumped(frozen=[True])
    found = run(site, cluster)[0]
    assert cluster.thaws == [108]
    assert (found["status"], found["findings"], found["file_systems"]["state"]) == (
        "warnings",
        [],
        "thawed",
    )
    assert "left its file systems frozen" in found["warnings"][0]


def test_a_guest_that_does_not_thaw_is_left_frozen_after_two_attempts(site: World) -> None:
    site.policy = replace(site.policy, jobs=(replace(JOB, thaw=True),))
    cluster, sent = dumped(frozen=[True]), list[int]()
    cluster.agent.thaw = lambda node, vmid: sent.append(vmid)
    found = run(site, cluster)[0]
    assert (sent, found["findings"]) == ([108, 108], ["guest-left-frozen"])


def test_a_guest_cannot_say_that_it_has_no_agent_when_pve_says_that_it_has(site: World) -> None:
    """The text of an error may be the agent's own; were it believed, nobody would ask again whether
    it stands frozen.
    """
    lie = PveError("the agent refused", status=200, text="No QEMU guest agent configured")
    found = run(site, dumped(frozen=[lie]))[0]
    assert found["file_systems"]["state"] == "unknown"
    assert any(
        "whether its file systems are thawed is not known" in text for text in found["warnings"]
    )
    cluster = dumped(frozen=[lie], states=[RUNNING, replace(RUNNING, agent=False)])
    assert run(site, cluster)[0]["file_systems"]["state"] == "not-asked", (
        "PVE's config says so by now"
    )


def test_a_freeze_that_passes_by_itself_is_nobodys_fault(site: World) -> None:
    found = run(site, dumped(frozen=[True, False]))[0]
    assert (found["status"], found["file_systems"]["state"]) == ("ok", "thawed")


@pytest.mark.parametrize(
    "error",
    [
        PveError("x", text="QEMU guest agent is not running", status=500),
        PvePermissionDenied("Permission check failed (/vms/108, VM.GuestAgent.Audit)"),
        PveUnreachable("no answer"),
        PveError("x", status=596),
    ],
)
def test_whoever_cannot_be_asked_is_unknown_and_never_thawed_and_the_backup_goes_on(
    site: World, error: Exception
) -> None:
    found = run(site, dumped(frozen=[error]))[0]
    assert (found["file_systems"]["state"], found["status"], found["findings"]) == (
        "unknown",
        "warnings",
        [],
    )
    assert "is not known" in found["warnings"][0]
    assert found["archive"] is not None


@pytest.mark.slow
def test_a_failed_thaw_after_which_nobody_could_ask_is_the_finding_too(site: World) -> None:
    silent = PveError("x", text="QEMU guest agent is not running", status=500)
    assert run(site, dumped(THAW_FAILED, frozen=[silent]))[0]["findings"] == ["guest-left-frozen"]


def test_one_answer_that_was_lost_changes_nothing(site: World) -> None:
    found = run(site, dumped(frozen=[PveUnreachable("no answer"), False]))[0]
    assert (found["status"], found["file_systems"]["state"]) == ("ok", "thawed")


def test_the_agent_is_never_asked_while_another_dump_of_the_guest_runs(site: World) -> None:
    asked: list[str] = []
    cluster = dumped(
        states=[replace(RUNNING, lock="backup"), replace(RUNNING, lock="backup"), RUNNING]
    )
    look, frozen = cluster.agent.state, cluster.agent.frozen
    cluster.agent.state = lambda node, vmid: asked.append("look") or look(node, vmid)  # type: ignore[func-returns-value]
    cluster.agent.frozen = lambda node, vmid: asked.append("ask") or frozen(node, vmid)  # type: ignore[func-returns-value]
    found = run(site, cluster)[0]
    assert asked == ["look", "look", "look", "ask"]
    assert found["file_systems"]["state"] == "thawed"


def test_a_guest_that_stays_locked_is_unknown_and_is_not_asked(site: World) -> None:
    cluster = dumped(states=[replace(RUNNING, lock="backup")], frozen=[AssertionError("asked")])
    assert run(site, cluster)[0]["file_systems"]["state"] == "unknown"


@pytest.mark.parametrize(
    "state", [replace(RUNNING, status="stopped"), replace(RUNNING, agent=False)]
)
def test_where_there_is_nobody_to_ask_nobody_is_asked(site: World, state: GuestStatus) -> None:
    found = run(site, dumped(states=[state], frozen=[AssertionError("asked")]))[0]
    assert (found["file_systems"]["state"], found["status"]) == ("not-asked", "ok")


def test_a_container_is_not_asked(site: World) -> None:
    cluster = dumped(
        guests_there=[Guest(108, "ct", "clovis", GuestType.LXC)],
        states=[AssertionError("looked at")],
    )
    assert run(site, cluster)[0]["file_systems"]["state"] == "not-asked"


def test_a_guest_that_moved_after_its_dump_is_asked_where_it_is(site: World) -> None:
    cluster, asked = dumped(), list[str]()

    def state(node: str, vmid: int) -> GuestStatus:
        if node == "clovis":
            cluster.guests_there = [Guest(108, "Debian-Server", "lge-pve02")]
            raise PveNotFound(
                "Configuration file 'nodes/clovis/qemu-server/108.conf' does not exist"
            )
        return RUNNING

    cluster.agent.state = state
    cluster.agent.frozen = lambda node, vmid: bool(asked.append(node))  # type: ignore[func-returns-value]
    assert run(site, cluster)[0]["file_systems"]["state"] == "thawed"
    assert asked == ["lge-pve02"]


def test_a_failed_freeze_is_crash_consistent_with_pves_words_and_without_an_alarm(
    site: World,
) -> None:
    lines = [
        *FROZEN_LOG[:4],
        "ERROR: unable to freeze guest fs - failed to freeze /",
        FROZEN_LOG[4],
        "TASK OK",
    ]
    found = run(site, Cluster(listings=[[], [archive(108, 1)]], result=ended("OK", *lines)))[0]
    assert (found["consistency"], found["freeze"], found["status"]) == (
        "crash-consistent",
        "failed",
        "warnings",
    )
    assert found["warnings"] == ["unable to freeze guest fs - failed to freeze /"]
    assert "could not freeze" in found["consistency_reason"]
    assert (found["exit_code"], found["findings"]) == (0, [])


def test_after_a_dump_that_failed_the_guest_is_asked_all_the_same(site: World) -> None:
    failed = ended(
        "job errors", *FROZEN_LOG, "ERROR: Backup of VM 108 failed - interrupted by signal"
    )
    found = run(site, Cluster(listings=[[]], result=failed, frozen=[True]))[0]
    assert (found["status"], found["findings"]) == ("failed", ["guest-left-frozen"])


def test_a_guest_whose_dump_was_stopped_by_us_is_asked_too(site: World) -> None:
    cluster = dumped(frozen=[True])
    runs: list[Any] = [None, None]  # it runs until it is stopped
    cluster.tasks = SimpleNamespace(
        poll=lambda upid: runs.pop() if runs else ended("interrupted by signal"),
        find=lambda node, **wanted: [],
        surely_runs=lambda upid: False,
        stop=lambda upid: None,
    )
    site.pve = cluster
    site.engine = build_engine(site)
    (opened,) = open_job(site, JOB)
    while (now := site.catalog.operations.get(opened.id)) and now.book.upid("dump") is None:
        site.engine.executor.advance(opened.id)
    site.catalog.operations.request_cancel(opened.id, "enough", int(site.clock.now()))
    (operation,) = site.engine.drive([opened.id])
    found = backup_outcome(operation)
    assert operation.state is OperationState.CANCELLED
    assert found["findings"] == ["guest-left-frozen"]


@pytest.mark.parametrize(("frozen", "code"), [(False, 0), (True, 1)])
def test_whoever_follows_a_backup_exits_as_its_command_does(
    site: World, frozen: bool, code: int
) -> None:
    site.pve = dumped(frozen=[frozen])
    site.engine = build_engine(site)
    (opened,) = open_job(site, JOB)
    (operation,) = site.engine.drive([opened.id])
    assert operation.state is OperationState.DONE
    assert showing.exit_code(site.catalog, operation) == code
    assert ("guest-left-frozen" in showing.result(operation)) is frozen
    job = {"good": not frozen, "guests": [backup_outcome(operation)]}
    assert exit_code(job) == code
