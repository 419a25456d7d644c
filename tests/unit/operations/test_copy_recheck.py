"""A copy's reading from its opening to its end: what is recorded, what it means from then on, and
how the copy is made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from backupsvc.copies.directory import DirectoryTarget
from backupsvc.engine.context import Wait
from backupsvc.engine.foreground import Engine
from backupsvc.errors import Refused, RemoteUnreachable
from backupsvc.operations.copy.opening import lock_of
from backupsvc.operations.copy.result import listed
from backupsvc.operations.copy_recheck import opening, steps
from backupsvc.operations.copy_recheck.memory import CopyRecheckMemory, recall
from backupsvc.operations.copy_recheck.opening import open_copy_recheck, out_of_reach
from backupsvc.operations.copy_recheck.result import outcome, planned, refused
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.services import Run
from policies.copies_due import due
from policies.model import ArchiveCopy, CopyTarget, Directory, Operation, OperationState
from tests.unit.copies import encrypted, scene
from tests.unit.copies.test_reread import flip
from tests.unit.operations.test_copy_steps import ARCHIVE, USB, Place, place  # noqa: F401


@pytest.fixture
def site(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A site with one copy, and the same way to its folder for readings."""

    @contextmanager
    def opened(target: CopyTarget, *rest: Any) -> Iterator[DirectoryTarget]:
        folder = DirectoryTarget(target.name, Directory(str(place.target)))
        yield folder
        folder.close()

    for module in (steps, opening):
        monkeypatch.setattr(module, "open_target", opened)
    place.copy()
    return place


def the_copy(site: Place) -> ArchiveCopy:
    (copy,) = site.site.catalog.copies.find(damaged=True)
    return copy


def recheck(site: Place) -> Operation:
    opened = open_copy_recheck(site.site, the_copy(site), USB)
    ended: Operation = site.site.engine.drive_one(opened)
    return ended


def test_a_good_copy_is_recorded_as_read(site: Place) -> None:
    before = the_copy(site)
    ended = recheck(site)
    assert ended.state is OperationState.DONE and before.checked_at is None
    copy = the_copy(site)
    assert copy.checked_at is not None and copy.damaged == ""
    found = recall(ended).found
    assert found and found.how == "read back after its cache was dropped"
    told = outcome(copy, ended)
    assert (told["state"], told["reason"], told["operation"]) == ("intact", None, ended.id)
    assert KINDS["copy-recheck"].result(ended) == f"{ARCHIVE.volid} at usb: good"
    assert planned(copy)["state"] == "planned"


def test_law_3_and_5_a_damaged_copy_is_no_copy_until_it_is_made_anew(site: Place) -> None:
    flip(site.target / scene.NAME)
    ended = recheck(site)
    catalog, policy = site.site.catalog, site.site.policy
    assert ended.state is OperationState.FAILED and ended.book.error
    assert KINDS["copy-recheck"].exit_code(catalog, ended) == 1
    assert "is no longer what was verified" in ended.book.error.message
    assert KINDS["copy-recheck"].result(ended).endswith(": damaged")
    bad = the_copy(site)
    assert outcome(bad, ended)["state"] == "damaged" and scene.NAME in bad.damaged
    assert catalog.copies.find() == [], "it counts as none"
    shown = listed(bad, USB, 2000)
    assert (shown["state"], shown["reason"]) == ("damaged", bad.damaged)
    known = catalog.copies.find(damaged=True)
    (wanted,) = due(policy, [site.due().archive], known, targets=["usb"])
    assert wanted.skip is None, "prune keeps the archive until it is copied again"

    assert site.copy().state is OperationState.DONE
    assert (site.target / scene.NAME).read_bytes() == site.source.path.read_bytes()
    assert {one.name for one in site.target.iterdir()} == scene.WHOLE
    assert the_copy(site).damaged == "" and the_copy(site).checked_at is None
    assert catalog.copies.damaged(the_copy(site).route) is None
    assert recheck(site).state is OperationState.DONE


@pytest.mark.parametrize("harm", ["gone", "short"])
def test_a_copy_that_is_gone_or_short_is_damaged_and_made_anew(site: Place, harm: str) -> None:
    file = site.target / scene.NAME
    file.unlink() if harm == "gone" else file.write_bytes(b"half")
    assert recheck(site).state is OperationState.FAILED
    assert the_copy(site).damaged
    assert site.copy().state is OperationState.DONE
    assert file.read_bytes() == site.source.path.read_bytes() and not the_copy(site).damaged


def test_a_damaged_copy_is_made_anew_as_the_policy_says_now(site: Place) -> None:
    flip(site.target / scene.NAME)
    recheck(site)
    sealed = replace(USB, recipients=encrypted.RECIPIENTS)
    site.site.policy = replace(site.site.policy, copies=(sealed,))
    assert site.copy(sealed).state is OperationState.DONE
    assert the_copy(site).encrypted and not the_copy(site).damaged


def test_a_copy_that_is_read_as_good_again_counts_again(site: Place) -> None:
    flip(site.target / scene.NAME)
    recheck(site)
    flip(site.target / scene.NAME)  # the bit is back
    assert recheck(site).state is OperationState.DONE
    assert site.site.catalog.copies.find() == [the_copy(site)]
    assert site.site.catalog.copies.damaged(the_copy(site).route) is None


def test_law_4_a_target_out_of_reach_is_no_damage(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def down(target: CopyTarget, *rest: Any) -> Iterator[DirectoryTarget]:
        raise RemoteUnreachable("usb does not answer", "is it up?")
        yield DirectoryTarget("usb", Directory("/"))

    copy = the_copy(site)
    opened = open_copy_recheck(site.site, copy, USB)
    for module in (steps, opening):
        monkeypatch.setattr(module, "open_target", down)
    site.site.nodes = None
    assert list(out_of_reach(site.site, [USB, USB])) == ["usb"]
    ended = site.site.engine.drive_one(opened)
    assert ended.state is OperationState.FAILED
    assert KINDS["copy-recheck"].exit_code(site.site.catalog, ended) == 3
    assert the_copy(site) == copy, "nothing was recorded"
    assert outcome(copy, ended)["state"] == "unread"
    told = refused(copy, RemoteUnreachable("down", "up?"))
    assert (told["state"], told["reason"]) == ("unread", "down")


def test_law_4_an_empty_folder_is_no_damage(site: Place) -> None:
    for file in site.target.iterdir():
        file.unlink()
    copy = the_copy(site)
    assert KINDS["copy-recheck"].exit_code(site.site.catalog, recheck(site)) == 3
    assert the_copy(site) == copy


def test_one_reading_of_a_copy_at_a_time(site: Place) -> None:
    open_copy_recheck(site.site, the_copy(site), USB)
    with pytest.raises(Refused):
        open_copy_recheck(site.site, the_copy(site), USB)


@pytest.mark.slow
def test_it_waits_for_the_copies_of_that_node_to_its_target(site: Place) -> None:
    reading = open_copy_recheck(site.site, the_copy(site), USB)
    assert reading
    locks = site.site.catalog.locks
    assert lock_of("clovis", "usb") == "copy clovis usb"
    seen: list[str] = []

    def told(run: Run[CopyRecheckMemory]) -> Wait | None:
        seen.extend(locks.holders())
        return None

    kinds = dict(KINDS)
    kinds["copy-recheck"] = replace(
        KINDS["copy-recheck"], handlers={**steps.HANDLERS, "read": told}
    )
    site.site.engine = Engine(site.site, kinds)
    assert site.site.engine.drive_one(reading).state is OperationState.DONE
    assert seen == ["copy clovis usb"]


def test_what_was_forgotten_meanwhile_is_not_read_and_nothing_is_recorded(site: Place) -> None:
    copy = the_copy(site)
    opened = open_copy_recheck(site.site, copy, USB)
    site.site.catalog.copies.forget_lost([copy])
    ended = site.site.engine.drive_one(opened)
    assert ended.state is OperationState.DONE and recall(ended).found is None
    assert "no copy any more" in outcome(copy, ended)["reason"]
    assert site.site.catalog.copies.find(damaged=True) == []


def test_a_target_that_left_the_policy_is_not_read(site: Place) -> None:
    opened = open_copy_recheck(site.site, the_copy(site), USB)
    site.site.policy = replace(site.site.policy, copies=())
    ended = site.site.engine.drive_one(opened)
    assert ended.book.error and "no longer in the policy" in ended.book.error.message
