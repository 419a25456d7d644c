"""A night's readings of copies on virtual time: what is due is read after the archives, within what
these left of the night's bytes, and the night waits for it.

What is simulated: that a target answers, and the bytes. What is real: which are due, their turns,
what is recorded of them and what comes of the night.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from backupsvc.catalog.tables import COPY
from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.errors import BackupsvcError, RemoteUnreachable
from backupsvc.operations.copy_recheck import steps
from backupsvc.operations.copy_recheck.memory import CopyReading, CopyRecheckMemory, recall
from backupsvc.operations.job_run import rechecks
from backupsvc.operations.job_run.result import job_run_outcome, job_run_summary
from backupsvc.operations.services import Run
from policies.model import (
    Archive,
    ArchiveCopy,
    CopyRoute,
    CopyTarget,
    Directory,
    IntegrityRules,
    Job,
    Operation,
    OperationState,
    Policy,
)
from policies.outcomes import JobRunVerdict
from tests.unit.operations.farm import Site, at, policy, site

pytestmark = pytest.mark.slow
NIGHTLY = Job("nightly", "21:00", "local")
START, MORNING, LONG_AGO = at("2026-03-09 20:59"), at("2026-03-10 03:00"), at("2026-01-05 21:00")
USB = CopyTarget("usb", Directory("/mnt/usb"))
DUE = IntegrityRules(every=30 * 86_400, budget=1000)
ROTTEN = 103


@pytest.fixture
def silent() -> dict[str, BackupsvcError]:
    """The targets that do not answer, with why."""
    return {}


Nights = Callable[[Policy], AbstractContextManager[Site]]


@pytest.fixture
def night(
    tmp_path: Path, silent: dict[str, BackupsvcError], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Nights]:
    # no SSH leads to these nodes, and no way to that folder
    monkeypatch.setattr(rechecks, "readable", lambda service, archives: [])
    monkeypatch.setattr(
        rechecks,
        "out_of_reach",
        lambda service, targets, alive: {
            one.name: silent[one.name] for one in targets if one.name in silent
        },
    )
    yield lambda wanted: site(tmp_path, wanted, START)


def reading(run: Run[CopyRecheckMemory]) -> Wait | None:
    catalog, bad = run.service.catalog.copies, run.vmid == ROTTEN
    (copy,) = (
        one for one in catalog.find(run.vmid, damaged=True) if one.route.volid == run.memory.volid
    )
    catalog.record_checked(copy, run.now(), "torn" if bad else "", run.fence())
    run.memory = replace(run.memory, found=CopyReading("torn" if bad else "", "read"))
    return None


def prepare(found: Site, *vmids: int, made: int = LONG_AGO, size: int = 400) -> None:
    """Have a copy of an archive of each guest at the target, and none of tonight's is copied."""
    kinds = dict(found.world.engine.kinds)
    kinds["copy-recheck"] = replace(
        kinds["copy-recheck"], handlers={**steps.HANDLERS, "read": reading}
    )
    kinds["copy"] = replace(
        kinds["copy"], handlers=dict.fromkeys(kinds["copy"].handlers, lambda run: None)
    )
    found.world.engine = Engine(found.world, kinds, foreground=False)
    for vmid in vmids:
        route = CopyRoute("usb", "/mnt/usb", "copy target usb", "clovis", f"local:old-{vmid}", vmid)
        copy = ArchiveCopy(route, f"old-{vmid}", size, "ab", made + vmid, "read back", "01")
        _record(found, copy)


def _record(found: Site, copy: ArchiveCopy) -> None:
    """As its operation did, long ago."""
    route = copy.route
    with found.world.catalog.copies._database.write() as connection:
        connection.execute(
            COPY.insert().values(
                folder=route.folder,
                place=route.node,
                volid=route.volid,
                target=route.target,
                site=route.place,
                vmid=route.vmid,
                file=copy.file,
                size=copy.size,
                modified=1,
                sent=copy.size,
                sha256=copy.sha256,
                at=copy.verified_at,
                operation=copy.operation,
                verified_at=copy.verified_at,
                how=copy.how,
            )
        )


def readings(found: Site) -> list[Operation]:
    return found.world.catalog.operations.find(kind="copy-recheck")


def the_night(found: Site) -> Operation:
    return found.world.catalog.operations.find(kind="night")[0]


def wanted(rules: IntegrityRules | None = DUE) -> Policy:
    return replace(policy(NIGHTLY), integrity=rules, copies=(USB,))


def test_a_night_reads_the_copies_that_are_due_and_waits_for_them(night: Nights) -> None:
    with night(wanted()) as found:
        prepare(found, 101, 102)
        prepare(found, ROTTEN, made=START - 86_400)  # not due
        found.live(MORNING)
        assert found.nights() == [("03-09 21:00", "done")]
        assert {recall(one).volid for one in readings(found)} == {"local:old-101", "local:old-102"}
        assert {one.state for one in readings(found)} == {OperationState.DONE}
        assert "copies read anew: 2 of 2" in (job_run_summary(the_night(found)) or "")
        outcome = job_run_outcome(found.world.catalog, the_night(found))
        assert (outcome.reread, outcome.not_good) == (2, 0)


def test_law_5_a_damaged_copy_degrades_the_night(night: Nights) -> None:
    with night(wanted()) as found:
        prepare(found, 101, ROTTEN)
        found.live(MORNING)
        outcome = job_run_outcome(found.world.catalog, the_night(found))
        assert (outcome.verdict, outcome.reread, outcome.not_good) == (
            JobRunVerdict.DEGRADED,
            2,
            1,
        )
        said = job_run_summary(the_night(found)) or ""
        assert f"copies read anew: 1 of 2, trouble with those of {ROTTEN} at usb" in said


def test_the_copies_have_what_is_left_of_the_nights_bytes(night: Nights) -> None:
    with night(wanted()) as found:
        prepare(found, 101, 102, ROTTEN)
        found.live(MORNING)
        assert len(readings(found)) == 2, "three of 400 bytes are more than 1000"


def test_where_the_archives_took_it_all_one_copy_is_read(
    night: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_taken(*given: object, **more: object) -> tuple[Archive, ...]:
        return (Archive("local:x", "clovis", "local", 101, None, 1, 1000),)

    monkeypatch.setattr(rechecks, "due", all_taken)
    with night(wanted()) as found:
        prepare(found, 101, 102)
        found.live(MORNING)
        assert [recall(one).volid for one in readings(found)] == ["local:old-101"]


def test_law_4_a_target_that_does_not_answer_is_told_and_nothing_is_opened(
    night: Nights, silent: dict[str, BackupsvcError]
) -> None:
    silent["usb"] = RemoteUnreachable("usb does not answer", "is it up?")
    with night(wanted()) as found:
        prepare(found, 101)
        found.live(MORNING)
        assert readings(found) == [] and found.nights() == [("03-09 21:00", "done")]
        assert "none at usb (usb does not answer)" in (job_run_summary(the_night(found)) or "")


def test_a_policy_that_reads_nothing_anew_reads_no_copy(night: Nights) -> None:
    with night(wanted(None)) as found:
        prepare(found, 101)
        found.live(MORNING)
        assert readings(found) == []
