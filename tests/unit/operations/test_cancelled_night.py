"""A night that is cancelled takes what it opened with it, whoever cancels it and wherever it
stood.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backupsvc.catalog.operations import Driver, NewOperation
from backupsvc.engine.foreground import Engine
from backupsvc.operations.backup.memory import FORM, BackupMemory
from backupsvc.operations.backup.opening import open_backup
from backupsvc.operations.job_run import steps as job_run_steps
from policies.model import Job, Operation, OperationState
from tests.unit.operations.farm import Site, at, policy, site

pytestmark = pytest.mark.slow
NIGHTLY = Job("nightly", "21:00", "local")
WHY = "an upgrade begins"


def pieces(found: Site) -> list[Operation]:
    return [one for one in found.world.catalog.operations.find() if one.kind != "night"]


def the_night(found: Site) -> Operation:
    return found.world.catalog.operations.find(kind="night")[0]


def test_workers_end_what_a_cancelled_night_opened_and_open_no_more(tmp_path: Path) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.live(at("2026-03-09 21:03"))
        dumped = len(found.farm.dumps)
        assert [one.state for one in pieces(found)] == [OperationState.OPEN] * 3
        found.world.catalog.operations.request_cancel(
            the_night(found).id, WHY, int(found.world.clock.now())
        )
        found.live(at("2026-03-09 21:20"))
        assert the_night(found).state is OperationState.CANCELLED
        assert {one.state for one in pieces(found)} == {OperationState.CANCELLED}
        assert {one.error for one in pieces(found)} == {f"its night was cancelled: {WHY}"}
        assert len(found.farm.dumps) == dumped


def test_a_person_who_cancels_a_night_that_nobody_drives_ends_its_pieces_too(
    tmp_path: Path,
) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.live(at("2026-03-09 21:03"))
        person = Engine(found.world, found.world.engine.kinds, foreground=True)
        person.cancel(the_night(found).id, WHY)
        assert {one.state for one in found.world.catalog.operations.find()} == {
            OperationState.CANCELLED
        }


def test_a_piece_that_its_night_had_not_yet_noted_when_its_driver_died_is_cancelled_too(
    tmp_path: Path,
) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        found.live(at("2026-03-09 21:00") + 1)
        night, now = the_night(found), int(found.world.clock.now())
        asked, key = FORM.write(BackupMemory("nightly")), f"{night.occurrence}#backup#104"
        lost = NewOperation("backup", 104, "locate", asked, occurrence=key)
        other = NewOperation("backup", 105, "locate", asked, occurrence="NIGHTLY" + key[7:])
        left, foreign = (found.world.catalog.operations.open(new, now) for new in (lost, other))
        assert left and foreign
        found.world.catalog.operations.postpone([left.id, foreign.id], now + 3600)
        found.world.catalog.operations.request_cancel(night.id, WHY, now)
        found.live(at("2026-03-09 21:02"))
        ended = [found.world.catalog.operations.get(one.id) for one in (left, foreign)]
        assert [one and one.cancel for one in ended] == [f"its night was cancelled: {WHY}", None]


@pytest.mark.parametrize("what", ["cancelled", "taken over"])
def test_law_9_a_night_that_is_cancelled_or_taken_over_between_deciding_and_opening_opens_nothing_more(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(tmp_path, policy(NIGHTLY), at("2026-03-09 20:59")) as found:
        catalog, opening, opened = found.world.catalog, open_backup, list[int]()

        def interleaved(
            service: Any, job: Job, item: Any, *rest: Any, **given: Any
        ) -> Operation | None:
            """After the first guest, before the second: the night's driver has decided by what it
            knew before.
            """
            if len(opened) == 1:
                happen()
            opened.append(item.vmid)
            return opening(service, job, item, *rest, **given)

        def happen() -> None:
            night, now = the_night(found), int(found.world.clock.now())
            if what == "cancelled":
                catalog.operations.request_cancel(night.id, WHY, now)
            else:
                catalog.operations.expire(night.id, str(night.lease_owner), now)
                assert catalog.operations.claim(night.id, Driver("another", 3600, now))

        monkeypatch.setattr(job_run_steps, "open_backup", interleaved)
        found.live(at("2026-03-09 21:20"))
        assert len(opened) == 2 and [one.subject for one in pieces(found)] == opened[:1]
        if what == "cancelled":
            assert the_night(found).state is OperationState.CANCELLED
            assert {one.state for one in pieces(found)} == {OperationState.CANCELLED}
        else:
            assert the_night(found).lease_owner == "another"
