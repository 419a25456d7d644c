"""Reading an archive anew: what is found is recorded of it, and what is damaged is never passed for
good.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from backupsvc.errors import Refused, RemoteUnreachable
from backupsvc.inventory.listing import as_dict
from backupsvc.operations import build_engine
from backupsvc.operations.recheck.opening import open_recheck, readable
from backupsvc.operations.recheck.result import outcome, planned
from backupsvc.settings import Settings, SshSettings
from policies.model import Archive, Job, Node, Operation, OperationState, Policy, Rung, Scratch
from tests.fakes.made import archive
from tests.unit.archives.build import CLUSTER, Vma, pattern, zst
from tests.unit.operations.cluster import Cluster
from tests.unit.operations.worlds import World, world

PLAIN = Vma({"drive-scsi0": pattern(3 * CLUSTER)}).bytes()
GOOD, BARE = zst(PLAIN), zst(PLAIN, checksum=False)
MIDDLE = len(GOOD) // 2
BAD = GOOD[:MIDDLE] + bytes([GOOD[MIDDLE] ^ 1]) + GOOD[MIDDLE + 1 :]


@dataclass
class Disk:
    """What lies on the node's disk, and how often it was read."""

    content: bytes = GOOD
    opened: list[str] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)

    @contextmanager
    def open(self, ssh: Any, node: str, path: str) -> Iterator[io.BytesIO]:
        self.opened.append(path)
        if self.broken:
            raise self.broken.pop()
        yield io.BytesIO(self.content)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr("backupsvc.remote.nodes.open_archive", found.open)
    return found


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    nothing: Any = MappingProxyType({})
    jobs = (Job("nightly", "21:00", "local", keep="keep-last=1"),)
    made.policy = Policy("s", "UTC", "en", jobs, nothing, nothing, Scratch(9000, 9009), "standard")
    made.settings = Settings(state_dir=tmp_path, ssh=SshSettings(nodes={"clovis": "clovis:22"}))
    made.pve = Cluster()
    made.pve.storage.volume_path = lambda node, volid: f"/dump/{volid.rpartition('/')[2]}"
    made.engine = build_engine(made)
    yield made
    made.catalog.close()


ITEM = replace(archive(108, 1), size=len(GOOD))
HASH = hashlib.sha256(GOOD).hexdigest()


def known(site: World) -> Archive:
    found = site.catalog.archives.get(ITEM.node, ITEM.volid)
    assert found
    return found


def reread(site: World, **recorded: Any) -> Operation:
    site.catalog.archives.observe([ITEM], scope=[], at=1)
    if recorded:
        site.catalog.archives.annotate(ITEM.node, ITEM.volid, **recorded)
    opened = open_recheck(site, known(site))
    assert opened
    done: Operation = site.engine.drive_one(opened)
    assert site.catalog.archive_pins.pinned() == set()
    return done


def test_an_archive_whose_checksums_hold_is_good_and_its_hash_is_recorded(
    site: World, disk: Disk
) -> None:
    done = reread(site)
    assert done.state is OperationState.DONE
    assert (known(site).rung, known(site).sha256, known(site).damaged) == (Rung.INTACT, HASH, "")
    assert known(site).checked_at is not None
    told = outcome(ITEM, done)
    assert (told["state"], told["sha256"], told["reason"]) == ("intact", HASH, None)


def test_law_5_an_archive_that_rotted_is_damaged_unproven_and_counts_for_nothing(
    site: World, disk: Disk
) -> None:
    site.catalog.archives.observe([ITEM], scope=[], at=1)
    site.catalog.archives.raise_rung(ITEM.node, ITEM.volid, Rung.HEALTHY, 2)
    disk.content = BAD
    done = reread(site)
    assert done.state is OperationState.FAILED and site.engine.kinds["recheck"].exit_code(
        site.catalog, done
    )
    now = known(site)
    assert now.damaged and (now.rung, now.sha256) == (Rung.RECORDED, None)
    told = outcome(ITEM, done)
    assert told["state"] == "damaged" and "no longer good" in told["reason"]
    assert "back it up with `backupsvc backup run --vmid 108`" in told["reason"]
    assert site.catalog.operations.find(kind="backup") == []  # nobody would take it up


def test_law_5_other_bytes_than_those_recorded_are_a_change_though_they_are_whole(
    site: World, disk: Disk
) -> None:
    done = reread(site, sha256="0" * 64)
    assert done.state is OperationState.FAILED
    assert known(site).changed.startswith("SHA-256") and known(site).sha256 == "0" * 64
    assert known(site).rung is Rung.RECORDED


def test_law_5_what_carries_no_checksum_is_complete_and_no_more(site: World, disk: Disk) -> None:
    disk.content = BARE
    bare = replace(ITEM, size=len(BARE))
    site.catalog.archives.observe([bare], scope=[], at=1)
    opened = open_recheck(site, bare)
    assert opened
    done = site.engine.drive_one(opened)
    assert done.state is OperationState.DONE and outcome(bare, done)["state"] == "complete"
    assert (known(site).rung, known(site).sha256) == (Rung.RECORDED, None)
    assert as_dict(known(site))["integrity"]["state"] == "complete"
    assert known(site).checked_at is not None  # its turn comes again as any other's


def test_a_damaged_archive_that_is_read_whole_again_is_good_again(site: World, disk: Disk) -> None:
    site.catalog.archives.observe([ITEM], scope=[], at=1)
    site.catalog.archives.record_damaged(ITEM.node, ITEM.volid, "torn", 2)
    assert reread(site).state is OperationState.DONE
    assert (known(site).damaged, known(site).rung) == ("", Rung.INTACT)


def test_a_worker_queues_a_fresh_backup_of_the_guest_once(site: World, disk: Disk) -> None:
    disk.content = BAD
    site.engine = build_engine(site, foreground=False)
    site.catalog.archives.observe([ITEM], scope=[], at=1)
    opened = open_recheck(site, known(site))
    assert opened
    for _ in range(12):
        site.engine.executor.advance(opened.id)
        site.clock.sleep(60)
    done = site.catalog.operations.get(opened.id)
    assert done and done.state is OperationState.FAILED
    (fresh,) = site.catalog.operations.find(kind="backup")
    assert fresh.subject == 108 and f"a fresh backup was begun: {fresh.id}" in str(done.error)


def test_a_guest_with_a_good_archive_of_the_last_day_needs_no_fresh_backup(
    site: World, disk: Disk
) -> None:
    disk.content = BAD
    site.engine = build_engine(site, foreground=False)
    recent = replace(archive(108, 9), ctime=int(site.clock.now()) - 3600)
    site.catalog.archives.observe([ITEM, recent], scope=[], at=1)
    site.catalog.archives.record_intact(recent.node, recent.volid, 2)
    opened = open_recheck(site, known(site))
    assert opened
    for _ in range(12):
        site.engine.executor.advance(opened.id)
        site.clock.sleep(60)
    done = site.catalog.operations.get(opened.id)
    assert done and f"its archive {recent.volid} of the last day is good" in str(done.error)
    assert site.catalog.operations.find(kind="backup") == []


def test_a_node_that_cannot_be_reached_says_nothing_against_the_archive(
    site: World, disk: Disk
) -> None:
    disk.broken = [RemoteUnreachable("clovis does not answer") for _ in range(20)]
    done = reread(site)
    assert done.state is OperationState.FAILED
    assert (known(site).damaged, known(site).checked_at) == ("", None)
    assert outcome(ITEM, done)["state"] == "unread"


def test_an_archive_is_read_by_one_operation_at_a_time(site: World, disk: Disk) -> None:
    site.engine = build_engine(site, foreground=False)
    site.catalog.archives.observe([ITEM], scope=[], at=1)
    assert open_recheck(site, ITEM)
    with pytest.raises(Refused, match="operation"):
        open_recheck(site, ITEM)


def test_only_what_a_node_that_is_up_has_can_be_read(site: World) -> None:
    elsewhere = replace(ITEM, node="lge-pve02")
    packed = replace(ITEM, volid=ITEM.volid.replace(".zst", ".lzo"))
    assert readable(site, [ITEM, elsewhere, packed]) == [ITEM]
    site.pve.cluster.nodes = lambda max_age=0.0: [Node("clovis", False)]
    assert readable(site, [ITEM]) == []


def test_what_would_be_read_is_told_with_when_it_was_read_last() -> None:
    told = planned(replace(ITEM, checked_at=0))
    assert (told["state"], told["checked_at"], told["bytes"]) == ("planned", None, len(GOOD))
    assert planned(replace(ITEM, checked_at=60))["checked_at"] == "1970-01-01T00:01:00Z"
