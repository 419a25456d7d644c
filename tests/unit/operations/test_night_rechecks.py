"""A night's readings on virtual time: what is due is read when the restore tests are over, and the
night waits for it.

What is simulated of a reading: the bytes, which take their time. What is real: which are due, their
turns at their nodes, their pins, what comes of the night.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.operations.job_run import rechecks
from backupsvc.operations.job_run.result import job_run_outcome, job_run_summary
from backupsvc.operations.recheck import steps
from backupsvc.operations.recheck.memory import Reading, RecheckMemory, recall
from backupsvc.operations.services import Run
from policies import recheck_due
from policies.model import Archive, IntegrityRules, Job, Operation, OperationState, Policy
from policies.outcomes import JobRunVerdict
from tests.unit.operations.farm import Site, at, policy, site

pytestmark = pytest.mark.slow
NIGHTLY = Job("nightly", "21:00", "local")
START, MORNING = at("2026-03-09 20:59"), at("2026-03-10 03:00")
OLD = at("2026-01-05 21:00")
DUE = IntegrityRules(every=30 * 86_400, budget=10**9)


@dataclass
class Disks:
    """The nodes' disks. A reading takes ``seconds``; the archives of ``rotten`` guests are damaged.
    ``read`` is when each reading began and ended, by volid.
    """

    seconds: int = 600
    rotten: set[int] = field(default_factory=set)
    read: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    def reading(self, run: Run[RecheckMemory]) -> Wait | None:
        node, volid = run.memory.node, run.memory.volid
        began = self.read.get(volid, (node, run.now(), 0))[1]
        self.read[volid] = node, began, run.now()
        if run.now() < began + self.seconds:
            return Wait("reading", most=300.0, least=60.0)
        bad = run.vmid in self.rotten
        catalog = run.service.catalog.archives
        if bad:
            catalog.record_damaged(node, volid, "torn", run.now())
        else:
            catalog.record_intact(node, volid, run.now())
        problem = "torn" if bad else ""
        run.memory = replace(run.memory, found=Reading("ab", 1000, not bad, problem))
        return None


@pytest.fixture
def disks() -> Disks:
    return Disks()


Nights = Callable[[Policy], AbstractContextManager[Site]]


@pytest.fixture
def night(tmp_path: Path, disks: Disks, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nights]:
    # no SSH leads to these nodes
    monkeypatch.setattr(rechecks, "readable", lambda service, archives: list(archives))

    def made(wanted: Policy) -> AbstractContextManager[Site]:
        return site(tmp_path, wanted, START)

    yield made


def with_disks(found: Site, disks: Disks) -> None:
    kinds = dict(found.world.engine.kinds)
    kinds["recheck"] = replace(kinds["recheck"], handlers={**steps.HANDLERS, "read": disks.reading})
    found.world.engine = Engine(found.world, kinds, foreground=False)


def left(found: Site, vmid: int, ctime: int) -> Archive:
    made = found.farm.leave(vmid, ctime)
    found.world.catalog.archives.observe([made], scope=[], at=ctime)
    return made


def the_night(found: Site) -> Operation:
    return found.world.catalog.operations.find(kind="night")[0]


def readings(found: Site) -> list[Operation]:
    return found.world.catalog.operations.find(kind="recheck")


def test_a_night_reads_what_is_due_once_after_its_tests_and_waits_for_it(
    night: Nights, disks: Disks
) -> None:
    with night(replace(policy(NIGHTLY), integrity=DUE)) as found:
        with_disks(found, disks)
        old = [left(found, vmid, OLD) for vmid in (101, 103)]
        fresh = left(found, 102, OLD + 60)
        found.world.catalog.archives.record_intact(fresh.node, fresh.volid, START - 86_400)
        found.live(MORNING)
        assert found.nights() == [("03-09 21:00", "done")]
        asked = [recall(one).volid for one in readings(found)]
        tonight = [one.volid for one in found.farm.there() if one.ctime >= START]
        assert sorted(asked) == sorted([*(one.volid for one in old), *tonight])
        assert {one.state for one in readings(found)} == {OperationState.DONE}
        assert "read anew: 5 of 5 archives" in (job_run_summary(the_night(found)) or "")
        outcome = job_run_outcome(found.world.catalog, the_night(found))
        assert (outcome.verdict, outcome.reread, outcome.not_good) == (JobRunVerdict.GOOD, 5, 0)
        assert found.world.catalog.archive_pins.pinned() == set()


def test_a_nodes_archives_are_read_one_after_the_other(night: Nights, disks: Disks) -> None:
    with night(replace(policy(NIGHTLY), integrity=DUE)) as found:
        with_disks(found, disks)
        for number in range(3):
            left(found, 101, OLD + number)
        found.live(MORNING)
        spans = sorted(
            (began, ended) for node, began, ended in disks.read.values() if node == "clovis"
        )
        assert len(spans) == 5  # three old ones, and tonight's of 101 and 102
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_law_5_a_damaged_archive_degrades_the_night_and_has_a_backup_queued_unless_one_is_good(
    night: Nights, disks: Disks
) -> None:
    disks.rotten = {101}
    with night(replace(policy(NIGHTLY), integrity=DUE)) as found:
        with_disks(found, disks)
        left(found, 101, OLD)
        found.live(MORNING)
        outcome = job_run_outcome(found.world.catalog, the_night(found))
        assert (outcome.verdict, outcome.not_good) == (JobRunVerdict.DEGRADED, 2)
        said = job_run_summary(the_night(found)) or ""
        assert "read anew: 2 of 4 archives, trouble with those of guests 101" in said
        assert len(found.world.catalog.operations.find(kind="backup", subject=101)) == 2


def test_the_budget_and_never_are_kept(night: Nights, disks: Disks) -> None:
    for rules, count in ((IntegrityRules(budget=1000), 1), (None, 0)):
        disks.read.clear()
        with night(replace(policy(NIGHTLY), integrity=rules)) as found:
            with_disks(found, disks)
            before = len(readings(found))
            found.world.catalog.archives.observe([], scope=[], at=1)
            left(found, 101, OLD)
            found.live(MORNING)
            assert len(readings(found)) - before == count
        (found.world.settings.state_dir / "catalog.db").unlink()


def test_an_archive_that_went_since_it_was_chosen_is_not_read(
    night: Nights, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = recheck_due.due

    def chosen(archives: list[Archive], *args: object, **more: object) -> tuple[Archive, ...]:
        wanted = real(archives, *args, **more)  # type: ignore[arg-type]
        found.world.catalog.archives.mark_gone(gone.node, gone.volid, int(found.world.clock.now()))
        return wanted

    monkeypatch.setattr(rechecks, "due", chosen)
    with night(replace(policy(NIGHTLY), integrity=DUE)) as found:
        with_disks(found, disks)
        gone = left(found, 101, OLD)
        found.live(MORNING)
        assert gone.volid not in disks.read and len(disks.read) == 3
        assert found.nights() == [("03-09 21:00", "done")]
        assert "read anew: 3 of 3" in (job_run_summary(the_night(found)) or "")
