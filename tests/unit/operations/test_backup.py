"""A backup is believed when its archive is seen, and only then (law 4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog.operations import Note
from backupsvc.operations import backup, build_engine
from backupsvc.settings import Settings
from policies.model import Archive, Guest, Job, OperationState, Policy, Rung, Scratch
from tests.unit.operations.cluster import CONFIG, Cluster, archive, ended
from tests.unit.operations.worlds import World, world

JOB = Job("nightly", "21:00", "local", keep="keep-last=3")


@pytest.fixture
def site(tmp_path: Path, catalog_url: str) -> Iterator[World]:
    made = world(catalog_url)
    nothing: Any = MappingProxyType({})
    made.policy = Policy("s", "Europe/Paris", "en", (JOB,), nothing, nothing, Scratch(9000, 9009), "standard")
    made.settings = Settings(state_dir=tmp_path)
    yield made
    made.catalog.close()


def run(site: World, cluster: Cluster, only: list[int] | None = None) -> list[dict[str, Any]]:
    """Given a cluster by script, run the job and return its lines."""
    site.pve = cluster
    site.engine = build_engine(site)  # type: ignore[arg-type]
    opened = backup.open_job(site, JOB, only or [])  # type: ignore[arg-type]
    return [backup.outcome(operation) for operation in site.engine.drive([operation.id for operation in opened])]


def test_law_4_a_task_that_says_ok_without_an_archive_is_a_failure(site: World) -> None:
    found = run(site, Cluster(listings=[[]], result=ended("OK", "INFO: Backup job finished successfully", "TASK OK")))
    assert found[0]["status"] == "failed"
    assert "left no archive on local: OK" in found[0]["error"]


def test_law_4_an_archive_that_was_there_before_does_not_count(site: World) -> None:
    assert run(site, Cluster(listings=[[archive(108, 1)], [archive(108, 1)]]))[0]["status"] == "failed"


def test_law_4_an_empty_archive_does_not_count(site: World) -> None:
    assert run(site, Cluster(listings=[[], [archive(108, 1, size=0)]]))[0]["status"] == "failed"


def test_law_4_an_archive_whose_config_cannot_be_read_does_not_count(site: World) -> None:
    found = run(site, Cluster(listings=[[], [archive(108, 1)]], config=""))
    assert found[0]["status"] == "failed"
    assert "holds no config" in found[0]["error"]


def test_law_4_a_failed_task_with_a_good_archive_is_a_backup_with_a_warning(site: World) -> None:
    found = run(site, Cluster(listings=[[], [archive(108, 1)]], result=ended("job errors", "ERROR: pruning failed")))
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
    [("keep-all=1", False), ("", False), ("keep-last=3", True), ("keep-last=0", False), ("keep-daily=7,keep-last=3", True)],
)
def test_a_storage_that_prunes_by_itself_is_overruled_and_only_that_one(site: World, retention: str, overruled: bool) -> None:
    cluster = Cluster(listings=[[], [archive(108, 1)]], defaults={"prune-backups": retention})
    run(site, cluster)
    assert cluster.started[0]["keep_all"] is overruled


def test_the_notes_say_which_operation_made_the_archive(site: World) -> None:
    cluster = Cluster(listings=[[], [archive(108, 1)]])
    found = run(site, cluster)
    assert cluster.started[0]["notes"] == f"Debian-Server on clovis, backupsvc {found[0]['operation']}"


def test_a_guest_is_dumped_where_it_is_now_and_not_where_it_was(site: World) -> None:
    cluster = Cluster(listings=[[], [archive(108, 1)]])
    site.pve = cluster
    site.engine = build_engine(site)  # type: ignore[arg-type]
    opened = backup.open_job(site, JOB)  # type: ignore[arg-type]
    cluster.guests_there = [Guest(108, "Debian-Server", "lge-pve02")]
    site.engine.drive([operation.id for operation in opened])
    assert cluster.started[0]["node"] == "lge-pve02"


def test_one_guest_a_node_is_dumped_at_a_time_in_order(site: World) -> None:
    guests = [Guest(vmid, f"g{vmid}", "clovis") for vmid in (103, 101, 102)]
    listing = [archive(vmid, vmid - 100) for vmid in (101, 102, 103)]
    cluster = Cluster(guests_there=guests, listings=[[], [listing[0]], [], [listing[1]], [], [listing[2]]])
    found = run(site, cluster)
    assert [line["status"] for line in found] == ["ok"] * 3
    assert [asked["vmid"] for asked in cluster.started] == [101, 102, 103]


def test_what_was_learnt_of_the_archive_is_remembered(site: World) -> None:
    log = ["INFO: Starting Backup of VM 108 (qemu)", "INFO: exclude disk 'scsi1' 'x' (backup=no)", "INFO: backup mode: snapshot"]
    run(site, Cluster(listings=[[], [archive(108, 1)]], result=ended("OK", *log)))
    facts = site.catalog.archive_facts("clovis", archive(108, 1).volid)
    assert (facts["name"], facts["consistency"], list(facts["excluded"])) == ("Debian-Server", "crash-consistent", ["scsi1"])
    assert facts["uuid"] == "11111111-2222-4333-8444-555555555555"
    ended_operation = site.catalog.operations(kind="backup")[0]
    assert ended_operation.state is OperationState.DONE


# --- judged against what the guest had ------------------------------------------------------------------------------------

STUB = "memory: 128\n"


def remembered(site: World, *archives: Archive, config: str = CONFIG, uuid: str | None = None) -> None:
    """Given archives of earlier nights, remember them with what was in them."""
    site.catalog.observe(archives, scope=[], at=1)
    for item in archives:
        site.catalog.annotate(item.node, item.volid, config=config, uuid=uuid)


def test_law_4_a_dump_without_any_disk_of_a_guest_that_had_some_is_a_failure_and_is_remembered_as_such(site: World) -> None:
    before, after = archive(108, 1), archive(108, 2, size=161)
    remembered(site, before)
    found = run(site, Cluster(listings=[[before], [before, after]], config=STUB))[0]
    assert (found["status"], found["exit_code"]) == ("failed", 1)
    assert f"{after.volid} of guest 108 holds no disk, but {before.volid}" in found["error"]
    assert found["archive"]["volid"] == after.volid
    assert found["verified"] is None
    known = site.catalog.archive("clovis", after.volid)
    assert known is not None and known.holds_disk is False and known.rung is Rung.RECORDED


def test_law_4_a_dump_without_any_disk_is_compared_with_an_archive_that_nobody_has_looked_into_yet(site: World) -> None:
    before, after = archive(108, 1), archive(108, 2, size=161)
    cluster = Cluster(listings=[[before], [before, after]])
    cluster.storage.extract_config = lambda node, volid: STUB if volid == after.volid else CONFIG
    assert "holds no disk, but" in run(site, cluster)[0]["error"]


def test_law_4_a_dump_that_lacks_every_disk_that_its_own_config_names_is_a_failure(site: World) -> None:
    named = CONFIG.replace("#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:", "")
    found = run(site, Cluster(listings=[[], [archive(108, 1)]], config=named))[0]
    assert found["status"] == "failed"
    assert "holds no disk, but its own config names scsi0" in found["error"]


def test_a_machine_that_never_had_a_disk_is_backed_up_as_before(site: World) -> None:
    assert (
        run(site, Cluster(listings=[[], [archive(108, 1)]], config="name: pxe\nnet0: virtio,bridge=vmbr0\n"))[0]["status"] == "ok"
    )


def test_an_archive_of_another_machine_under_the_vmid_is_a_failure_once(site: World) -> None:
    first, second, third = (archive(108, second) for second in (1, 2, 3))
    remembered(site, first, uuid="99999999-2222-4333-8444-555555555555")
    found = run(site, Cluster(listings=[[first], [first, second]]))[0]
    assert found["status"] == "failed"
    assert "is of another machine" in found["error"] and "99999999-" in found["error"]
    assert run(site, Cluster(listings=[[first, second], [first, second, third]]))[0]["status"] == "ok"


def test_law_10_another_guests_archive_under_the_name_of_this_ones_says_nothing_of_its_next_backup(site: World) -> None:
    own, swapped, fresh = (archive(108, second) for second in (1, 2, 3))
    remembered(site, own)
    site.catalog.annotate(own.node, own.volid, operation="OP")
    remembered(site, swapped, uuid="99999999-2222-4333-8444-555555555555")
    assert run(site, Cluster(listings=[[own, swapped], [own, swapped, fresh]]))[0]["status"] == "ok"


def test_a_uuid_that_is_written_in_other_letters_is_the_same_machine(site: World) -> None:
    first, second = archive(108, 1), archive(108, 2)
    remembered(site, first, uuid="11111111-2222-4333-8444-555555555555".upper())
    assert run(site, Cluster(listings=[[first], [first, second]]))[0]["status"] == "ok"


def test_an_archive_far_smaller_than_those_before_it_is_told_at_once(site: World) -> None:
    before, after = [archive(108, second, size=1 << 30) for second in (1, 2, 3)], archive(108, 4, size=1 << 20)
    remembered(site, *before)
    found = run(site, Cluster(listings=[before, [*before, after]]))[0]
    assert found["status"] == "warnings"
    assert found["warnings"] == ["the archive is 1.0 MB, where the 3 before it were around 1.1 GB: data may be missing from it"]


def test_a_disk_that_the_archive_before_held_is_missed_at_once(site: World) -> None:
    before, after = archive(108, 1), archive(108, 2)
    remembered(site, before, config=CONFIG + "\n#qmdump#map:scsi1:drive-scsi1:local-lvm:raw:\n")
    found = run(site, Cluster(listings=[[before], [before, after]]))[0]
    assert found["status"] == "warnings"
    assert found["warnings"] == [f"scsi1, which {before.volid} held, is not in the archive"]


# --- the rest of a failed restore -------------------------------------------------------------------------------------------


def lying_there(config: dict[str, str], *listing: Archive, name: str = "VM 108") -> Cluster:
    """A cluster on which guest 108 has no name and that config, and whose storage lists these archives."""
    cluster = Cluster(guests_there=[Guest(108, name, "clovis")], listings=[list(listing)], config=STUB)
    cluster.guests = SimpleNamespace(config=lambda node, vmid: config)  # type: ignore[attr-defined]
    return cluster


@pytest.mark.parametrize("name", ["VM 108", ""])
def test_the_rest_of_a_failed_restore_is_never_backed_up_over_earlier_archives(site: World, name: str) -> None:
    cluster = lying_there({"memory": "128", "digest": "d"}, archive(108, 1, size=1 << 30), name=name)
    found = run(site, cluster)[0]
    assert (found["status"], found["exit_code"]) == ("failed", 4)
    assert "only the rest of a restore" in found["error"]
    assert "backupsvc restore 108" in found["hint"] and "qm destroy 108" in found["hint"]
    assert cluster.started == []


def test_the_rest_of_our_own_failed_restore_is_not_backed_up_though_no_archive_is_listed(site: World) -> None:
    site.engine = build_engine(site)  # type: ignore[arg-type]
    ours = site.engine.open("restore", 108, {"archive": {"volid": "x"}})
    assert ours is not None and site.catalog.claim(ours.id, site.engine.driver())
    line = Note("restore", "failed", None, {})
    site.catalog.finish(ours.id, site.engine.driver(), OperationState.FAILED, data={}, note=line, error="no space left")
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
    cluster.config, cluster.listings = CONFIG, [[archive(108, 1)], [archive(108, 1), archive(108, 2)]]
    assert run(site, cluster)[0]["status"] == "ok"
