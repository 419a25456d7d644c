"""A night's copies on virtual time: each that is due is opened once, nothing waits for them but the
night's end.

What is simulated of a copy: the bytes, which take their time. What is real: its turn, its pin, what
the catalog records of it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from backupsvc.catalog import Catalog
from backupsvc.catalog.operations import NewOperation
from backupsvc.copies import snapshots
from backupsvc.copies.bundle_opening import open_bundle
from backupsvc.copies.config_sets import read as read_config
from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.errors import NoRoom
from backupsvc.operations.copy import steps as copy_steps
from backupsvc.operations.copy.memory import ArchiveCopyMemory
from backupsvc.operations.copy.memory import recall as recall_copy
from backupsvc.operations.copy.opening import open_copy
from backupsvc.operations.job_run import copies as job_run_copies
from backupsvc.operations.job_run.result import job_run_outcome, job_run_summary
from backupsvc.operations.services import Run
from backupsvc.settings import CatalogSettings
from policies.copies_due import DueCopy, route_of
from policies.model import (
    ArchiveCopy,
    CopyTarget,
    Directory,
    Job,
    Operation,
    OperationState,
    Policy,
)
from policies.outcomes import JobRunVerdict
from tests.catalogs import new_catalog
from tests.unit.operations.farm import Site, at, policy, site

pytestmark = pytest.mark.slow
NIGHTLY = Job("nightly", "21:00", "local")
USB, NFS = (CopyTarget(name, Directory(f"/mnt/{name}")) for name in ("usb", "nfs"))
START, MORNING = at("2026-03-09 20:59"), at("2026-03-10 01:00")
REST = "retention: done; restore tests: 3 proven"


def copied_to(*targets: CopyTarget, **wanted: Any) -> Policy:
    return replace(policy(NIGHTLY, **wanted), copies=targets)


@dataclass
class Lines:
    """The lines to the targets. A copy takes ``seconds`` and has no room there for ``full``
    guests; ``carried`` is when each began and ended, by its operation.
    """

    seconds: int = 300
    full: set[int] = field(default_factory=set)
    carried: dict[str, tuple[int, int]] = field(default_factory=dict)
    locks: dict[str, tuple[str, str]] = field(default_factory=dict)

    def bring(self, run: Run[ArchiveCopyMemory]) -> Wait | None:
        memory = run.memory
        began, _ = self.carried.get(run.id, (run.now(), 0))
        self.carried[run.id] = began, run.now()
        self.locks[run.id] = memory.node, memory.target
        if run.vmid in self.full:
            raise NoRoom("copy target has no room", "give it more")
        if run.now() < began + self.seconds:
            return Wait("copying", most=300.0, least=60.0)
        archive = run.service.catalog.archives.get(memory.node, memory.volid)
        assert archive
        target = next(one for one in run.service.policy.copies if one.name == memory.target)
        route = route_of(archive, target)
        made = ArchiveCopy(route, "f", archive.size, "ab", run.now(), "read back", run.id)
        run.service.catalog.copies.record_verified(made, archive.ctime, run.fence())
        return None


def with_lines(found: Site, lines: Lines) -> None:
    """Let the site's workers copy over those lines."""
    kinds = dict(found.world.engine.kinds)
    handlers = {**copy_steps.HANDLERS, "bring": lines.bring, "enlist": lambda run: None}
    kinds["copy"] = replace(kinds["copy"], handlers=handlers)
    found.world.engine = Engine(found.world, kinds, foreground=False)


def copies(found: Site) -> list[Operation]:
    return found.world.catalog.operations.find(kind="copy")


def to(found: Site) -> Counter[tuple[int | None, str]]:
    return Counter((one.subject, recall_copy(one).target) for one in copies(found))


def the_night(found: Site) -> Operation:
    return found.world.catalog.operations.find(kind="night")[0]


def summary(found: Site) -> str | None:
    """What the night says, without where its catalog was saved: the targets of these are no
    folders.
    """
    return (job_run_summary(the_night(found)) or "").partition("; catalog: ")[0] or None


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def night(tmp_path: Path) -> Callable[..., AbstractContextManager[Site]]:
    """A minute before a night of that policy."""

    def made(wanted: Policy) -> AbstractContextManager[Site]:
        return site(tmp_path, wanted, START)

    return made


Nights = Callable[[Policy], AbstractContextManager[Site]]


def test_a_night_copies_each_guests_archive_once_to_each_target_and_says_so(
    night: Nights, lines: Lines
) -> None:
    with night(copied_to(USB, NFS)) as found:
        with_lines(found, lines)
        found.live(MORNING)
        assert found.nights() == [("03-09 21:00", "done")]
        assert to(found) == {(vmid, name): 1 for vmid in (101, 102, 103) for name in ("usb", "nfs")}
        assert {one.state for one in copies(found)} == {OperationState.DONE}
        assert summary(found) == f"backups: 3 of 3 done; copies: 6 of 6 verified; {REST}"
        outcome = job_run_outcome(found.world.catalog, the_night(found))
        assert (outcome.verdict, outcome.copies, outcome.not_copied) == (JobRunVerdict.GOOD, 6, 0)
        tonight = {one.volid for one in found.farm.there()}
        assert {recall_copy(one).volid for one in copies(found)} == tonight
        assert len(found.world.catalog.copies.find()) == 6


def test_between_a_node_and_a_target_one_copy_goes_after_the_other(
    night: Nights, lines: Lines
) -> None:
    with night(copied_to(USB, NFS)) as found:
        with_lines(found, lines)
        found.live(MORNING)
        times: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for id, span in lines.carried.items():
            times.setdefault(lines.locks[id], []).append(span)
        assert {key: len(spans) for key, spans in times.items()} == {
            ("clovis", "usb"): 2,
            ("clovis", "nfs"): 2,
            ("lge-pve02", "usb"): 1,
            ("lge-pve02", "nfs"): 1,
        }
        for spans in times.values():
            spans.sort()
            for (_, end), (begin, _) in pairwise(spans):
                assert end <= begin <= end + 60, "the next one begins when the last has ended"


def test_retention_and_restore_tests_go_on_while_copies_run_and_the_night_waits_at_its_end(
    night: Nights, lines: Lines
) -> None:
    lines.seconds = 5400
    with night(copied_to(USB)) as found:
        with_lines(found, lines)
        found.live(at("2026-03-09 22:00"))
        (prune,) = found.world.catalog.operations.find(kind="prune")
        assert prune.state is OperationState.DONE
        assert sorted(vmid for _, vmid in found.tests) == [101, 102, 103]
        assert {one.state for one in copies(found)} == {OperationState.OPEN}
        assert (the_night(found).state, the_night(found).step) == (OperationState.OPEN, "copied")
        assert summary(found) == f"backups: 3 of 3 done; {REST}"
        found.live(MORNING)
        assert the_night(found).state is OperationState.DONE
        assert the_night(found).finished >= max(end for _, end in lines.carried.values())  # type: ignore[operator]
        assert "copies: 3 of 3 verified" in str(summary(found))


def test_law_3_an_archive_that_waits_for_its_turn_is_kept_from_prune(
    night: Nights, lines: Lines
) -> None:
    lines.seconds = 1800
    with night(copied_to(USB)) as found:
        with_lines(found, lines)
        found.live(at("2026-03-09 21:30"))
        assert len(lines.carried) == 2, "one of clovis waits for the other"
        pinned = found.world.catalog.archive_pins.pinned()
        assert pinned >= {one.volid for one in found.farm.there()}
        found.live(MORNING)
        assert found.world.catalog.archive_pins.pinned() == set()
        assert found.world.catalog.locks.holders() == {}


def test_law_8_the_catalog_is_saved_at_each_target_when_the_rest_of_the_night_is_done(
    night: Nights, lines: Lines, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    disk = CopyTarget("disk", Directory(str(tmp_path / "disk")))
    left = tmp_path / "snapshot-of-one-that-was-killed"
    left.mkdir()
    with night(copied_to(disk, USB)) as found:
        found.world.settings = found.world.settings.model_copy(
            update={"catalog": CatalogSettings(url=f"sqlite:///{tmp_path}/catalog.db")}
        )
        with_lines(found, lines)
        found.live(MORNING)
        said = job_run_summary(the_night(found)) or ""
        assert "; catalog: saved at 1 of 2 targets, not at usb (" in said
        assert the_night(found).state is OperationState.DONE
        assert job_run_outcome(found.world.catalog, the_night(found)).good
    assert list(tmp_path.glob("snapshot-*")) == []
    (file,) = (tmp_path / "disk").glob("backupsvc-catalog-*")
    plain = tmp_path / "restored.db"
    plain.write_bytes(zstd.decompress(file.read_bytes()))
    with Catalog.open(f"sqlite:///{plain}") as saved:
        # it knows the copies of that night, and that the night itself was at its last step
        assert len(saved.copies.find()) == 6
        assert saved.operations.find(kind="night")[0].step == "copied"


def test_law_8_a_night_ends_with_a_bundle_at_each_target_from_which_a_service_can_be_made(
    night: Nights, lines: Lines, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    disk = CopyTarget("disk", Directory(str(tmp_path / "disk")))
    with night(copied_to(disk, USB)) as found:
        found.world.settings = found.world.settings.model_copy(
            update={"catalog": CatalogSettings(url=f"sqlite:///{tmp_path}/catalog.db")}
        )
        with_lines(found, lines)
        found.live(MORNING)
        said = job_run_summary(the_night(found)) or ""
        assert "; break-glass bundle: not at usb (" in said and "not at disk" not in said
        # and it was brought back from where it could be
        told = found.world.catalog.operations.transitions(the_night(found).id)
        back = [(one.event, one.detail.get("state")) for one in told if "rehearsed" in one.event]
        assert back == [("rehearsed", "compared"), ("rehearsed", "compared"), ("unrehearsed", None)]
        assert "brought back" not in said
        assert job_run_outcome(found.world.catalog, the_night(found)).good
    (bundle,) = (tmp_path / "disk").glob("backupsvc-break-glass-*")
    opened = open_bundle(bundle, tmp_path / "new", None)
    assert opened.dump is None
    (page,) = (tmp_path / "new" / "guests").glob("102*")
    assert "qmrestore" in page.read_text(encoding="utf-8")
    with Catalog.open(f"sqlite:///{tmp_path}/new/catalog.db") as saved:
        # what the night did is in it, to its last step
        assert len(saved.copies.find()) == 6
        assert saved.operations.find(kind="night")[0].step == "copied"


def test_a_bundle_that_cannot_be_made_is_said_and_fails_no_night(
    night: Nights, lines: Lines, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    disk = CopyTarget("disk", Directory(str(tmp_path / "disk")))
    # what a stranger laid there is newer than all that is ours, and read each night
    (tmp_path / "strange").mkdir()
    with Catalog.open(new_catalog(tmp_path / "strange")) as strange:
        assert strange.operations.open(NewOperation("backup", 108, "locate", {}), 12)
    with closing(sqlite3.connect(tmp_path / "strange" / "catalog.db")) as known:
        known.execute("UPDATE operation SET data = 'x'")
        known.commit()
    name = snapshots.name_at(MORNING + 86400, "sqlite")
    laid = zstd.compress((tmp_path / "strange" / "catalog.db").read_bytes())
    (tmp_path / "disk" / name).write_bytes(laid)
    with night(copied_to(disk)) as found:
        gone = CatalogSettings(url=f"sqlite:///{tmp_path}/nowhere/catalog.db")
        found.world.settings = found.world.settings.model_copy(update={"catalog": gone})
        with_lines(found, lines)
        found.live(MORNING)
        said = job_run_summary(the_night(found)) or ""
        assert "; break-glass bundle: none (" in said
        assert "brought back and not good: catalog at disk unreadable" in said
        assert job_run_outcome(found.world.catalog, the_night(found)).good


def test_a_night_keeps_the_clusters_configuration_beside_the_catalog_and_at_each_target(
    night: Nights, lines: Lines, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    disk = CopyTarget("disk", Directory(str(tmp_path / "disk")))
    with night(copied_to(disk, USB)) as found:
        with_lines(found, lines)
        found.live(MORNING)
        said = job_run_summary(the_night(found)) or ""
        assert "; cluster configuration: not kept at usb (" in said and "disk (" not in said
        assert the_night(found).state is OperationState.DONE
        assert job_run_outcome(found.world.catalog, the_night(found)).good
    (there,) = (tmp_path / "disk").glob("backupsvc-config-*")
    (here,) = (tmp_path / "config").iterdir()
    assert here.name == there.name and here.read_bytes() == there.read_bytes()
    assert (here.stat().st_mode & 0o777, here.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    kept = read_config(here)
    assert {f"guests/qemu-{vmid}.conf" for vmid in (101, 102, 103)} <= set(kept.files)
    assert kept.not_read["datacenter.cfg"] == "this Proxmox VE has no such call"


def test_a_night_without_targets_keeps_the_configuration_too_and_says_so_in_its_history(
    night: Nights, lines: Lines, tmp_path: Path
) -> None:
    with night(policy(NIGHTLY)) as found:
        found.live(MORNING)
        assert job_run_summary(the_night(found)) == f"backups: 3 of 3 done; {REST}"
        told = found.world.catalog.operations.transitions(the_night(found).id)
        said = [str(one.detail.get("said")) for one in told if one.event == "config"]
        assert len(said) == 1 and said[0].startswith("cluster configuration: kept at 1 of 1 places")
    assert len(list((tmp_path / "config").iterdir())) == 1


def test_a_configuration_that_cannot_be_kept_is_said_and_fails_no_night(
    night: Nights, lines: Lines, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("no folder")
    with night(policy(NIGHTLY)) as found:
        found.live(MORNING)
        said = str(job_run_summary(the_night(found)))
        assert "; cluster configuration: not kept at state directory (" in said
        assert job_run_outcome(found.world.catalog, the_night(found)).good


def test_the_strictest_tier_is_copied_first(night: Nights, lines: Lines) -> None:
    with night(copied_to(USB, tiers={102: "gold"})) as found:
        with_lines(found, lines)
        found.live(MORNING)
        began = {one.subject: lines.carried[one.id][0] for one in copies(found)}
        assert began[102] < began[101]


def test_a_copy_that_was_not_made_is_named_and_degrades_the_night_and_no_other(
    night: Nights, lines: Lines
) -> None:
    lines.full = {102}
    with night(copied_to(USB, NFS)) as found:
        with_lines(found, lines)
        found.live(MORNING)
        said = "copies: 4 of 6 verified, not those of 102 to usb, 102 to nfs"
        assert summary(found) == f"backups: 3 of 3 done; {said}; {REST}"
        assert the_night(found).state is OperationState.DONE
        outcome = job_run_outcome(found.world.catalog, the_night(found))
        assert (outcome.verdict, outcome.not_copied) == (JobRunVerdict.DEGRADED, 2)
        assert outcome.reason.endswith("2 of 6 copies were not made")


def test_without_targets_no_copy_is_opened_and_no_word_is_said_of_any(
    night: Nights, lines: Lines
) -> None:
    with night(policy(NIGHTLY)) as found:
        with_lines(found, lines)
        found.live(MORNING)
        assert copies(found) == []
        assert summary(found) == f"backups: 3 of 3 done; {REST}"
        assert job_run_outcome(found.world.catalog, the_night(found)).copies == 0


def test_a_copy_that_somebody_makes_by_hand_meanwhile_does_not_stop_the_night(
    night: Nights, lines: Lines
) -> None:
    """101's backup fails, so that its archive of yesterday, which is being copied, is its
    newest.
    """
    lines.seconds = 12 * 3600
    with night(copied_to(USB)) as found:
        with_lines(found, lines)
        found.farm.sick = {101}
        old = found.farm.leave(101, at("2026-03-08 21:00"))
        found.world.catalog.archives.observe([old], scope=[], at=START)
        by_hand = open_copy(found.world, DueCopy(old, USB))
        assert by_hand
        found.waiting.append(by_hand.id)
        found.live(at("2026-03-09 21:30"))
        assert len(copies(found)) == 3
        lines.seconds = 300
        found.live(MORNING)
        assert found.nights() == [("03-09 21:00", "done")]
        assert to(found) == {(101, "usb"): 1, (102, "usb"): 1, (103, "usb"): 1}
        assert "; copies: 2 of 2 verified; " in str(summary(found))
        (told,) = (one for one in copies(found) if one.id == by_hand.id)
        assert told.state is OperationState.DONE, "it goes its own way"


def test_a_guest_whose_backup_failed_and_whose_last_archive_is_copied_is_left_alone(
    night: Nights, lines: Lines
) -> None:
    with night(copied_to(USB)) as found:
        with_lines(found, lines)
        found.live(MORNING)
        found.farm.sick = {101}
        found.live(at("2026-03-11 01:00"))
        assert to(found) == {(101, "usb"): 1, (102, "usb"): 2, (103, "usb"): 2}
        second = found.world.catalog.operations.find(kind="night")
        assert any("copies: 2 of 2 verified" in str(job_run_summary(one)) for one in second)


def test_guests_of_other_jobs_are_not_copied_by_this_night(night: Nights, lines: Lines) -> None:
    wanted = replace(copied_to(USB), jobs=(replace(NIGHTLY, guests=(101, 103)),))
    with night(wanted) as found:
        with_lines(found, lines)
        old = found.farm.leave(102, at("2026-03-08 21:00"))
        found.world.catalog.archives.observe([old], scope=[], at=START)
        found.live(MORNING)
        assert to(found) == {(101, "usb"): 1, (103, "usb"): 1}


def test_law_9_a_night_that_died_between_two_openings_opens_each_copy_once(
    night: Nights, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int | None] = []

    def dies(service: Any, due: DueCopy, *rest: Any, **given: Any) -> Operation | None:
        made = open_copy(service, due, *rest, **given)
        opened.append(due.archive.vmid)
        if len(opened) == 2:
            raise KeyboardInterrupt
        return made

    monkeypatch.setattr(job_run_copies, "open_copy", dies)
    with night(copied_to(USB)) as found:
        with_lines(found, lines)
        with pytest.raises(KeyboardInterrupt):
            found.live(MORNING)
        assert len(copies(found)) == 2
        found.live(MORNING)
        assert len(opened) >= 4, "those that the night had not noted were asked for once more"
        assert to(found) == {(101, "usb"): 1, (102, "usb"): 1, (103, "usb"): 1}
        assert "copies: 3 of 3 verified" in str(summary(found))


def test_a_cancelled_night_takes_its_copies_with_it(night: Nights, lines: Lines) -> None:
    lines.seconds = 12 * 3600
    with night(copied_to(USB)) as found:
        with_lines(found, lines)
        found.live(at("2026-03-09 21:20"))
        now = int(found.world.clock.now())
        found.world.catalog.operations.request_cancel(the_night(found).id, "an upgrade", now)
        found.live(at("2026-03-09 21:40"))
        assert the_night(found).state is OperationState.CANCELLED
        assert {one.state for one in copies(found)} == {OperationState.CANCELLED}
        assert found.world.catalog.copies.find() == []
        assert found.world.catalog.archive_pins.pinned() == set()
