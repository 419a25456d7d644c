"""Guards that stand behind one another: each is seen to hold by itself, so that none can be taken
out unnoticed.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.catalog.operations import Driver, Kept
from backupsvc.engine.context import Run
from backupsvc.engine.foreground import Engine
from backupsvc.errors import ArchiveError, LawRefused, LeaseLost
from backupsvc.operations.backup import steps as backup
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.restore import steps as restore
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore_test import proving
from backupsvc.operations.restore_test.memory import Judged, RestoreTestMemory, recall
from policies import ownership, whole
from policies.bookkeeping import Bookkeeping, StepError
from policies.error_kinds import ErrorKind
from policies.model import CheckResult, Guest, OperationState, Outcome, Rung
from tests.fakes.made import archive
from tests.unit.operations.test_restore_test import ARCHIVE, LIVED_ON, PLACE, Steps, site  # noqa: F401
from tests.unit.operations.worlds import World, operation_of

HARMLESS = {
    "name": "restore-test-x",
    "onboot": "0",
    "scsi0": "local-lvm:vm-9000-disk-0,size=64M",
    "smbios1": "uuid=1",
}
DONE = {"restore": 1.0, "isolate": 1.0}
PASSED = {"web": CheckResult("web", Outcome.PASSED, "200", 0.1, "http")}
GOOD: dict[str, Any] = {"booted": True, "settled": LIVED_ON, "checks": PASSED}


def with_copy(site: World, *, ha: bool = False, lacks: str = "", **config: str) -> Steps:
    """A restore test whose copy has that config, on a bridge that leads nowhere."""
    steps = Steps(site, scratch=PLACE)
    held = HARMLESS | {"description": ownership.marker(steps.id)} | config
    held.pop(lacks, None)
    managed = {"vm:9000": "started"} if ha else {}
    stripped: list[Any] = []
    steps.stripped = stripped  # type: ignore[attr-defined]
    site.pve = SimpleNamespace(
        guests=SimpleNamespace(config=lambda node, vmid: dict(held)),
        scratch=lambda scratch, holder: SimpleNamespace(
            require_bridge=lambda node, network: (), apply_strip=lambda *args: stripped.append(args)
        ),
        cluster=SimpleNamespace(ha_resources=lambda: managed),
    )
    return steps


# --- isolate --------------------------------------------------------------------------------------


def test_a_harmless_copy_passes_isolate(site: World) -> None:
    evidence = with_copy(site)("isolate").memory.isolation.asserted
    assert evidence and all(line.startswith("holds: ") for line in evidence)


@pytest.mark.parametrize(
    "wrong",
    [
        {"net0": "virtio=BC:24:11:00:00:08,bridge=vmbr0"},
        {"scsi0": "local-lvm:vm-108-disk-0,size=64M"},
        {"description": "no marker of ours"},
    ],
    ids=["a NIC on production", "a disk of production", "not our copy"],
)
def test_law_2_isolate_itself_refuses_a_copy_that_is_not_harmless(
    site: World, wrong: dict[str, Any]
) -> None:
    steps = with_copy(site, **wrong)
    with pytest.raises(LawRefused, match="must not start") as refused:
        steps("isolate")
    assert refused.value.law == 2
    left = operation_of(site, steps.id)
    assert any(line.startswith("DOES NOT HOLD: ") for line in recall(left).isolation.asserted)


def test_law_2_isolate_itself_refuses_a_copy_that_ha_would_start(site: World) -> None:
    with pytest.raises(LawRefused, match="must not start"):
        with_copy(site, ha=True)("isolate")


@pytest.mark.parametrize("key", ["args", "hookscript", "virtiofs0"])
def test_law_2_isolate_itself_refuses_what_it_may_not_strip(site: World, key: str) -> None:
    """Before it changes anything: what blocks is refused although other things could be
    stripped.
    """
    unstrippable: dict[str, Any] = {key: "local:snippets/x"}
    steps = with_copy(site, onboot="1", **unstrippable)
    with pytest.raises(LawRefused, match=f"must not start: {key}: ") as refused:
        steps("isolate")
    assert refused.value.law == 2
    assert steps.stripped == []  # type: ignore[attr-defined]


# --- what isolate saw is judged -------------------------------------------------------------------


def test_law_5_a_disk_that_the_copy_lacks_is_recorded(site: World) -> None:
    steps = with_copy(site, lacks="scsi0")
    assert steps("isolate").memory.missing_disks == ("scsi0",)


def test_law_5_a_test_in_which_all_is_green_proves(site: World) -> None:
    assert judged_with(site).verdict == "proven"


def test_law_5_a_missing_disk_outweighs_all_that_is_green(site: World) -> None:
    judged = judged_with(site, missing_disks=("scsi0",))
    assert (judged.verdict, judged.cause) == ("failed", "archive")
    assert "disk scsi0 is not in the archive" in judged.reasons


def judged_with(site: World, error: StepError | None = None, **changes: Any) -> Judged:
    """What the test comes to that saw only good things, but for these."""
    steps = Steps(site, **(GOOD | changes)).book(seconds=DONE, error=error)
    # made by an operation that the catalog knows: its own checksums count
    site.catalog.archives.annotate(ARCHIVE.node, ARCHIVE.volid, operation=steps.id)
    steps.enter("choose")
    judged = steps("judge").memory.proof
    assert judged
    return judged


@pytest.mark.parametrize("step", ["isolate", "start"])
def test_law_5_a_copy_that_was_not_let_start_has_not_booted_whatever_answered(
    site: World, step: str
) -> None:
    error, memory = (
        StepError(step, "the copy must not start", "", ErrorKind.LAW_REFUSED, 4),
        RestoreTestMemory(**GOOD),
    )
    assert proving.evidence(memory, Bookkeeping(seconds=DONE), ARCHIVE).isolation_ok
    assert not proving.evidence(
        memory, Bookkeeping(seconds=DONE, error=error), ARCHIVE
    ).isolation_ok
    judged = judged_with(site, error)
    assert (judged.verdict, judged.rung) == ("inconclusive", "restored")


def test_law_5_a_test_that_never_came_to_isolate_has_not_booted_either() -> None:
    memory = RestoreTestMemory(booted=True, checks=PASSED)
    assert not proving.evidence(memory, Bookkeeping(seconds={"restore": 1.0}), ARCHIVE).isolation_ok


# --- backup, restore ------------------------------------------------------------------------------


@pytest.mark.parametrize(("checksummed", "rung"), [(True, Rung.INTACT), (False, Rung.RECORDED)])
def test_law_5_a_backup_that_carries_no_checksum_is_not_called_intact(
    site: World,
    monkeypatch: pytest.MonkeyPatch,
    checksummed: bool,
    rung: Rung,
) -> None:
    found = {
        "intact": True,
        "checksummed": checksummed,
        "sha256": "ab" * 32,
        "size": ARCHIVE.size,
        "problems": [],
    }
    monkeypatch.setattr(
        backup, "verify_on_node", lambda service, node, volid, heartbeat: dict(found)
    )
    site.settings = SimpleNamespace(ssh=SimpleNamespace(nodes={"clovis": "clovis"}))
    engine = Engine(site, KINDS)
    operation = engine.open("backup", 108, BackupMemory("nightly", node="clovis", archive=ARCHIVE))
    assert operation
    backup.verify(Run(engine.executor, site, operation, KINDS["backup"].form))
    kept = site.catalog.archives.get("clovis", ARCHIVE.volid)
    assert kept and (kept.rung, kept.sha256) == (rung, "ab" * 32)


def test_law_3_a_backup_whose_archive_is_corrupt_is_recorded_so_that_no_good_one_goes_for_it(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        "intact": False,
        "checksummed": True,
        "sha256": "ab" * 32,
        "size": ARCHIVE.size,
        "problems": [{"text": "cluster 7 is torn", "offset": 9}],
    }
    monkeypatch.setattr(
        backup, "verify_on_node", lambda service, node, volid, heartbeat: dict(found)
    )
    site.settings = SimpleNamespace(ssh=SimpleNamespace(nodes={"clovis": "clovis"}))
    engine = Engine(site, KINDS)
    operation = engine.open("backup", 108, BackupMemory("nightly", node="clovis", archive=ARCHIVE))
    assert operation
    with pytest.raises(ArchiveError, match="is corrupt: cluster 7 is torn"):
        backup.verify(Run(engine.executor, site, operation, KINDS["backup"].form))
    kept = site.catalog.archives.get("clovis", ARCHIVE.volid)
    assert kept and (kept.damaged, kept.sha256) == ("cluster 7 is torn", None)
    older = replace(ARCHIVE, volid=f"{ARCHIVE.volid[:-8]}0.vma.zst", ctime=ARCHIVE.ctime - 86_400)
    assert whole.key(kept) in whole.hollow([older, kept])


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "hidden from this token"])
def test_law_1_a_restore_looks_once_more_before_it_begins_whether_the_vmid_is_free(
    site: World, listed: bool
) -> None:
    guests = [Guest(108, "Debian-Server", "clovis", status="stopped")] if listed else []
    site.pve = SimpleNamespace(
        cluster=SimpleNamespace(guests=lambda: guests, nodes=list, vmid_free=lambda vmid: False)
    )
    site.restore_pve = site.pve
    engine = Engine(site, KINDS)
    operation = engine.open("restore", 108, RestoreMemory(ARCHIVE, "clovis"))
    assert operation
    with pytest.raises(LawRefused) as refused:
        restore.choose(Run(engine.executor, site, operation, KINDS["restore"].form))
    assert refused.value.law == 1
    assert site.catalog.archive_pins.pinned() == set()


# --- the lease ------------------------------------------------------------------------------------


def test_law_9_whoever_lost_the_lease_writes_nothing_and_holds_nothing(site: World) -> None:
    """Each fenced write by itself: without its fence this fails, and does not wait for a lock that
    nobody leaves.
    """
    catalog = site.catalog
    item = archive(108, 1)
    mine = Driver("the one that slept", 60, 100)
    operation = Engine(site, KINDS).open("restore-test", 108, RestoreTestMemory())
    assert operation
    other = Driver("the one that took over", 60, 10_000_000_000)
    assert catalog.operations.claim(operation.id, other)
    fence = (operation.id, mine.owner)
    deeds: list[Any] = [
        lambda: catalog.operations.record(
            operation.id, mine, kept=Kept({"mine": True}, Bookkeeping())
        ),
        lambda: catalog.operations.finish(
            operation.id,
            mine,
            OperationState.DONE,
            kept=Kept({}, Bookkeeping()),
            error=None,
            note=None,
        ),
        lambda: catalog.leases.take(9000, 1, fence),
        lambda: catalog.leases.release(9000, operation.id, fence),
        lambda: catalog.locks.enter("restore clovis", 1, fence),
        lambda: catalog.locks.leave(1, fence),
        lambda: catalog.archive_pins.pin(item.node, item.volid, 1, fence),
        lambda: catalog.archive_pins.begin_removal(item.node, item.volid, 1, fence),
        lambda: catalog.archive_pins.unpin(item.node, item.volid, fence),
    ]
    for deed in deeds:
        with pytest.raises(LeaseLost):
            deed()
    assert (
        catalog.leases.holders() == {}
        and catalog.locks.holders() == {}
        and catalog.archive_pins.pinned() == set()
    )
    left = catalog.operations.get(operation.id)
    assert left and (left.state, left.lease_owner, "mine" in left.memory) == (
        OperationState.OPEN,
        other.owner,
        False,
    )
