"""An archive that restores an empty machine is never chosen by itself, and never restored under a
production VMID.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backupsvc.cli.restore import lines
from backupsvc.errors import LawRefused, PveError, PveNotFound, Refused
from backupsvc.operations import build_engine, choosing
from backupsvc.operations.restore.choice import Wanted
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore.planning import Wish, look_ahead, open_restore, plan_restore
from backupsvc.operations.restore.result import restore_outcome
from backupsvc.operations.restore_test import proving
from backupsvc.operations.restore_test.opening import open_test
from backupsvc.settings import Settings
from policies.model import Guest, Job, Policy, Scratch, Verdict
from tests.fakes.made import CONFIG, archive
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.worlds import World, world

STUB = "memory: 128\n"
GOOD, EMPTY, BARE = archive(108, 1), archive(108, 2), archive(108, 3)
HELD = {GOOD.volid: CONFIG, EMPTY.volid: STUB, BARE.volid: ""}


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    nothing: Any = MappingProxyType({})
    jobs = (Job("nightly", "21:00", "local"),)
    made.policy = Policy(
        "s", "Europe/Paris", "en", jobs, nothing, nothing, Scratch(9000, 9009), "standard"
    )
    made.settings = Settings(state_dir=tmp_path)
    yield made
    made.catalog.close()


def listing(site: World, *archives: Any, held: dict[str, str] | None = None) -> Cluster:
    """Given what the storages list, put it there; guest 108 itself is lost."""
    cluster = Cluster(guests_there=[Guest(101, "other", "clovis")], listings=[list(archives)])
    cluster.storage.extract_config = lambda node, volid: (held or HELD)[volid]
    site.pve = site.restore_pve = cluster
    site.engine = build_engine(site)
    return cluster


def plan(site: World, volid: str | None = None) -> RestoreMemory:
    return plan_restore(site, 108, at=None, volid=volid, node=None, storage=None)


def shown(site: World, **wanted: Any) -> list[str]:
    """The lines that a plan is told in."""
    return lines(look_ahead(site, 108, Wish(Wanted(**wanted))))


def test_an_archive_without_a_disk_is_passed_over_for_the_next_older_one_and_that_is_said(
    site: World,
) -> None:
    listing(site, GOOD, EMPTY, BARE)
    said: list[str] = []
    assert choosing.choose(site, 108, say=said.append).volid == GOOD.volid
    assert said == [
        f"{volid} holds no disk, so it was passed over" for volid in (BARE.volid, EMPTY.volid)
    ]


def test_what_the_catalog_knows_is_not_asked_again(site: World) -> None:
    cluster = listing(site, GOOD, EMPTY)
    site.catalog.archives.observe([GOOD, EMPTY], scope=[], at=1)
    for item in (GOOD, EMPTY):
        site.catalog.archives.annotate(item.node, item.volid, config=HELD[item.volid])
    cluster.storage.extract_config = None
    assert choosing.choose(site, 108).volid == GOOD.volid


def test_a_guest_of_whom_no_archive_holds_a_disk_has_none_to_choose(site: World) -> None:
    listing(site, EMPTY, BARE)
    with pytest.raises(PveNotFound, match="no archive of guest 108 that holds a disk") as none:
        choosing.choose(site, 108)
    assert EMPTY.volid in none.value.hint


def test_an_archive_whose_config_cannot_be_read_is_chosen_as_before_so_that_its_test_fails(
    site: World,
) -> None:
    cluster = listing(site, GOOD, EMPTY)

    def unreadable(node: str, volid: str) -> str:
        raise PveError("unable to read the archive", status=500)

    cluster.storage.extract_config = unreadable
    assert choosing.choose(site, 108).volid == EMPTY.volid


def test_a_restore_takes_the_newest_archive_that_holds_a_disk_and_says_what_it_passed_over(
    site: World,
) -> None:
    listing(site, GOOD, EMPTY)
    planned = plan(site)
    assert planned.archive.volid == GOOD.volid
    assert planned.passed_over == (f"{EMPTY.volid} holds no disk, so it was passed over",)


def test_law_5_a_restore_passes_over_a_damaged_archive_and_takes_it_only_by_name(
    site: World,
) -> None:
    newer = archive(108, 9, size=GOOD.size)
    listing(site, GOOD, newer, held=HELD | {newer.volid: HELD[GOOD.volid]})
    site.catalog.archives.observe([newer], scope=[], at=1)
    site.catalog.archives.record_damaged(newer.node, newer.volid, "cluster 7 is torn", 2)
    planned = plan(site)
    assert planned.archive.volid == GOOD.volid
    assert planned.passed_over == (
        f"{newer.volid} is damaged (cluster 7 is torn), so it was passed over",
    )
    assert plan(site, newer.volid).archive.volid == newer.volid


@pytest.mark.parametrize("named", [EMPTY.volid, BARE.volid])
def test_a_restore_of_an_archive_without_a_disk_is_refused_also_by_name(
    site: World, named: str
) -> None:
    listing(site, GOOD, EMPTY, BARE)
    with pytest.raises(Refused, match="0 disks") as refused:
        plan(site, named)
    assert refused.value.exit_code == 4
    assert "leave --archive out" in refused.value.hint


@pytest.mark.parametrize("named", [EMPTY.volid, BARE.volid])
def test_a_test_of_an_archive_without_a_disk_that_was_named_has_failed_and_restores_nothing(
    site: World, named: str
) -> None:
    listing(site, GOOD, EMPTY, BARE).cluster.version = lambda: SimpleNamespace(simulated=False)
    opened = open_test(site, 108, volid=named)
    found = proving.outcome(site.engine.drive_one(opened))
    assert found["verdict"] == Verdict.FAILED
    assert "holds no disk" in found["error"]["message"]
    assert found["scratch"]["vmid"] is None


def test_a_test_keeps_in_its_history_what_it_passed_over(site: World) -> None:
    listing(site, GOOD, EMPTY).cluster.version = lambda: SimpleNamespace(simulated=True)
    opened = open_test(site, 108)
    assert opened is not None
    site.engine.executor.advance(opened.id)
    history = [str(line.detail) for line in site.catalog.operations.transitions(opened.id)]
    assert any(
        f"{GOOD.volid}; {EMPTY.volid} holds no disk, so it was passed over" in line
        for line in history
    )


def test_law_1_the_rest_of_a_failed_restore_is_named_with_the_command_and_left_alone(
    site: World,
) -> None:
    cluster = listing(site, GOOD)
    cluster.guests_there = [Guest(108, "VM 108", "clovis")]
    site.catalog.archives.observe([GOOD], scope=[], at=1)
    cluster.guests = SimpleNamespace(config=lambda node, vmid: {"memory": "128", "digest": "d"})
    cluster.stubs = lambda: SimpleNamespace(why_not=lambda node, vmid, upid: "no restore left it")  # type: ignore[attr-defined]
    with pytest.raises(
        LawRefused, match="only the rest of a restore, without any disk, and is left alone"
    ) as refused:
        plan(site)
    assert "qm destroy 108" in refused.value.hint
    assert GOOD.volid in refused.value.message


def test_law_1_a_guest_without_a_name_that_has_a_disk_is_a_guest_like_any_other(
    site: World,
) -> None:
    cluster = listing(site, GOOD)
    cluster.guests_there = [Guest(108, "VM 108", "clovis", status="stopped")]
    cluster.guests = SimpleNamespace(
        config=lambda node, vmid: {"memory": "128", "scsi0": "local:x"}
    )
    with pytest.raises(LawRefused, match="an existing guest is never overwritten"):
        plan(site)


def test_a_date_before_the_oldest_archive_is_answered_with_that_archive_and_no_word_of_rights(
    site: World,
) -> None:
    listing(site, GOOD, EMPTY)
    with pytest.raises(PveNotFound, match="no archive until 2020-01-01 of guest 108") as none:
        choosing.choose(site, 108, at="2020-01-01")
    hint = none.value.hint
    began = datetime.fromtimestamp(GOOD.ctime, ZoneInfo("Europe/Paris"))
    assert f"its oldest archive is {GOOD.volid}, begun on {began:%Y-%m-%d} at {began:%H:%M}" in hint
    assert f"--at {began:%Y-%m-%d} or later" in hint and "VM.Backup" not in hint
    assert choosing.choose(site, 108, at=f"{began:%Y-%m-%d}").volid == GOOD.volid


def test_rights_are_named_where_nothing_is_listed(site: World) -> None:
    listing(site)
    with pytest.raises(PveNotFound) as none:
        choosing.choose(site, 108, at="2020-01-01")
    assert "VM.Backup on /vms/108" in none.value.hint


TWO_DISKS = (
    "name: web\nscsi0: local-lvm:vm-108-disk-0,size=8G\nscsi1: "
    "local-lvm:vm-108-disk-1,backup=0,size=64G\n"
    "sata0: local-lvm:vm-108-disk-2,size=1G\n#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\n"
)


def test_a_restore_names_the_disks_that_the_archive_does_not_hold_and_why(site: World) -> None:
    listing(site, GOOD, held={GOOD.volid: TWO_DISKS})
    planned = plan(site)
    assert sorted(planned.missing_disks) == ["sata0", "scsi1"]
    told = "\n".join(sorted(planned.left_out))
    assert "disk scsi1 is not in the archive (excluded from the backup: backup=0)" in told
    assert "disk sata0 is not in the archive (it was not dumped)" in told
    operation = open_restore(site, 108, replace(planned, start=False))
    assert operation is not None
    result = restore_outcome(operation)
    assert (result["missing_disks"], result["left_out"]) == (
        list(planned.missing_disks),
        list(planned.left_out),
    )
    assert len([line for line in shown(site) if "disk scsi1" in line]) == 1


def test_a_restore_of_a_whole_archive_has_no_such_warning(site: World) -> None:
    listing(site, GOOD)
    assert plan(site).left_out == ()
