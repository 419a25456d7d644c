"""What only one open copy may be about: the file that it writes at its target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from backupsvc.catalog.tables import OPERATION
from backupsvc.engine.foreground import Engine
from backupsvc.errors import LeaseLost, Refused
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.copy.opening import lock_of, open_copy
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.restore_test.memory import RestoreTestMemory
from policies.copies_due import DueCopy
from policies.model import Archive, CopyTarget, Directory, Operation, OperationState
from tests.fakes.made import archive
from tests.unit.operations.farm import policy
from tests.unit.operations.worlds import World, operation_of, world

USB, NFS = (CopyTarget(name, Directory(f"/mnt/{name}")) for name in ("usb", "nfs"))
ARCHIVE = archive(108, 2)


@pytest.fixture(params=[True, False], ids=["by a command", "for workers"])
def site(request: pytest.FixtureRequest, sqlite_url: str) -> Iterator[World]:
    made = world(sqlite_url)
    made.policy = replace(policy(tiers={108: "gold"}), copies=(USB, NFS))
    made.engine = Engine(made, KINDS, foreground=request.param)
    yield made
    made.catalog.close()


def begin(site: World, of: Archive = ARCHIVE, target: CopyTarget = USB, **more: Any) -> Operation:
    made = open_copy(site, DueCopy(of, target), **more)
    assert made
    return made


def end(site: World, one: Operation) -> None:
    site.engine.abandon(one.id, "not now")
    assert operation_of(site, one.id).state is not OperationState.OPEN


def test_a_copy_waits_for_the_line_between_its_node_and_its_target_by_its_guests_tier(
    site: World,
) -> None:
    first, other = begin(site), begin(site, archive(109, 2))
    assert (first.kind, first.subject) == ("copy", 108)
    with site.catalog._database.read() as connection:
        locks = set(connection.execute(select(OPERATION.c.lock)).scalars())
    assert locks == {"copy clovis usb"} == {lock_of("clovis", "usb")}
    assert (first.rank, other.rank) == (0, 1)


def test_an_archive_that_is_being_copied_to_a_target_is_not_copied_there_twice(site: World) -> None:
    first = begin(site)
    with pytest.raises(Refused, match=f"to usb already has an operation at work: copy {first.id}"):
        begin(site)
    assert len(site.catalog.operations.find(kind="copy")) == 1


def test_it_is_copied_to_two_targets_at_a_time_and_so_are_two_archives_to_one(
    site: World,
) -> None:
    made = [begin(site), begin(site, target=NFS), begin(site, archive(108, 3))]
    assert {operation_of(site, one.id).state for one in made} == {OperationState.OPEN}
    assert len({one.id for one in made}) == 3


@pytest.mark.parametrize(
    "twin",
    [
        replace(ARCHIVE, node="lge-pve02"),
        replace(ARCHIVE, volid=ARCHIVE.volid.replace("local:", "nas:"), storage="nas"),
    ],
    ids=["as another node lists it", "in another storage"],
)
def test_an_archive_and_its_twin_would_write_one_file_and_are_not_copied_at_a_time(
    site: World, twin: Archive
) -> None:
    begin(site)
    with pytest.raises(Refused, match="already has an operation at work"):
        begin(site, twin)
    begin(site, twin, NFS)


def test_once_a_copy_has_ended_it_may_be_made_again(site: World) -> None:
    end(site, begin(site))
    begin(site)


@pytest.mark.parametrize(
    ("kind", "memory"), [("backup", BackupMemory("nightly")), ("restore-test", RestoreTestMemory())]
)
def test_its_guest_is_backed_up_and_tested_meanwhile_and_copied_meanwhile(
    site: World, kind: str, memory: Any
) -> None:
    begin(site)
    assert site.engine.open(kind, 108, memory)
    begin(site, target=NFS)
    with pytest.raises(Refused, match="guest 108 already has an operation at work"):
        site.engine.open(kind, 108, memory)


def test_law_9_an_occurrence_of_a_copy_is_opened_once(site: World) -> None:
    first = begin(site, occurrence="nightly@1#copy#108#usb")
    assert open_copy(site, DueCopy(ARCHIVE, USB), "nightly@1#copy#108#usb") is None
    end(site, first)
    assert open_copy(site, DueCopy(ARCHIVE, USB), "nightly@1#copy#108#usb") is None


def test_law_9_a_night_that_is_not_its_drivers_any_more_opens_no_copy(site: World) -> None:
    with pytest.raises(LeaseLost):
        begin(site, occurrence="nightly@1#copy#108#usb", parent=("01NIGHT", "another"))
    assert site.catalog.operations.find(kind="copy") == []
