"""A backup is believed when its archive is seen, and only then (law 4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from backupsvc.operations import backup, build_engine
from backupsvc.settings import Settings
from policies.model import Guest, Job, OperationState, Policy, Scratch
from tests.unit.operations.cluster import Cluster, archive, ended
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
