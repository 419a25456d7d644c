"""A target's own keep rules, applied when a new copy is there: what goes from its folder, and what
stays whatever happens there meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.sources import LocalSource
from backupsvc.engine import worker_loop
from backupsvc.errors import TargetRefused
from backupsvc.operations.copy import keeping, steps
from backupsvc.operations.copy.memory import recall
from backupsvc.operations.copy.opening import open_copy
from backupsvc.operations.copy.result import outcome
from policies.copies_due import DueCopy
from policies.copies_keep import Kept
from policies.copy_manifest import manifest_name
from policies.model import (
    Archive,
    Guest,
    Node,
    Operation,
    OperationState,
    Proof,
    PruneRules,
    Rung,
    Verdict,
)
from tests.unit.operations.test_copy_steps import ARCHIVE, USB, Place, place  # noqa: F401

KEPT = replace(USB, keep="keep-last=2")


def name_of(day: int) -> str:
    return f"vzdump-qemu-108-2026_03_{day:02d}-21_00_02.vma.zst"


@pytest.fixture
def site(place: Place) -> Place:
    """The folders of a site whose target keeps two copies of each guest."""
    place.site.policy = replace(
        place.site.policy, copies=(KEPT,), prune=PruneRules(max_share=1.0), timezone="UTC"
    )
    place.site.pve.cluster = SimpleNamespace(
        guests=lambda: [Guest(108, "Debian-Server", "clovis")],
        nodes=lambda max_age=0.0: [Node("clovis", True)],
    )
    return place


def archive(place: Place, day: int) -> Archive:
    """An archive of that day of March, on its node's disk and in the catalog."""
    path = place.source.path.with_name(name_of(day))
    path.write_bytes(f"the disks of day {day}".encode() * 100)
    path.with_name(f"{path.name}.notes").write_text("by day", encoding="utf-8")
    place.source = LocalSource(path)
    made = replace(
        ARCHIVE,
        volid=f"local:backup/{path.name}",
        ctime=ARCHIVE.ctime + (day - 9) * 86400,
        size=path.stat().st_size,
    )
    place.site.catalog.archives.observe([made], scope=[], at=1000 + day)
    return made


def copied(place: Place, day: int) -> Operation:
    opened = open_copy(place.site, DueCopy(archive(place, day), KEPT))
    ended: Operation = place.site.engine.drive_one(opened)
    return ended


def there(place: Place) -> set[str]:
    return {path.name for path in place.target.iterdir()}


def known(place: Place) -> list[str]:
    return sorted(one.file for one in place.site.catalog.copies.find())


def files(*days: int) -> set[str]:
    """What lies at the target of the copies of those days."""
    names = [name_of(day) for day in days]
    return {end for name in names for end in (name, manifest_name(name), f"{name}.notes")}


def test_a_new_copy_lets_the_oldest_go_with_all_that_lay_beside_it(site: Place) -> None:
    for day in (1, 2):
        copied(site, day)
    (site.target / "somebody-elses.txt").write_text("not ours", encoding="utf-8")
    ended = copied(site, 3)
    assert (ended.state, recall(ended).removed) == (OperationState.DONE, (name_of(1),))
    assert there(site) == files(2, 3) | {"somebody-elses.txt"}
    assert known(site) == [name_of(2), name_of(3)]
    told = outcome(DueCopy(archive(site, 3), KEPT), ended)
    assert (told["removed"], told["nothing_removed"]) == ([name_of(1)], None)


def test_without_rules_of_its_own_a_target_keeps_everything(site: Place) -> None:
    site.site.policy = replace(site.site.policy, copies=(USB,))
    for day in (1, 2, 3, 4):
        ended = copied(site, day)
    assert there(site) == files(1, 2, 3, 4) and recall(ended).removed == ()


def test_what_would_go_is_said_beforehand_as_it_then_goes(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "open_target", vars(steps)["open_target"])
    for day in (1, 2):
        copied(site, day)
    due = DueCopy(archive(site, 3), KEPT)
    assert keeping.preview(site.site, due) == ([name_of(1)], "")
    assert there(site) == files(1, 2)
    assert recall(copied(site, 3)).removed == (name_of(1),)
    assert keeping.preview(site.site, replace(due, target=USB)) == ([], "")
    (site.target / name_of(2)).unlink()
    going, why = keeping.preview(site.site, DueCopy(archive(site, 4), KEPT))
    assert going == [] and "copy sync --to usb" in why


def test_law_3_the_newest_proven_copy_stays_though_its_archive_is_long_gone(site: Place) -> None:
    first = archive(site, 1)
    site.site.engine.drive_one(open_copy(site.site, DueCopy(first, KEPT)))
    prove(site, first)
    copied(site, 2)
    for day in (1, 2):
        volid = f"local:backup/{name_of(day)}"
        site.site.catalog.archives.mark_gone("clovis", volid, 2_000_000_000)
    for day in (3, 4):
        copied(site, day)
    assert there(site) == files(1, 3, 4)


def prove(place: Place, one: Archive) -> None:
    place.site.catalog.proofs.record(
        Proof("01", 108, one.volid, "clovis", one.ctime, Verdict.PROVEN, Rung.HEALTHY, 1, 2)
    )


Harm = Callable[[Path], object]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / name_of(2)).unlink(), "should be there and is not as verified"),
        (
            lambda folder: (folder / manifest_name(name_of(2))).unlink(),
            "should be there and is not as verified",
        ),
        (lambda folder: (folder / name_of(1)).write_bytes(b"x"), "is not as verified"),
        (
            lambda folder: (folder / manifest_name(name_of(1))).write_bytes(
                (folder / manifest_name(name_of(2))).read_bytes()
            ),
            "speaks of another copy than the catalog does",
        ),
        (
            lambda folder: (folder / manifest_name(name_of(1))).write_bytes(b"no manifest\n"),
            "speaks of another copy than the catalog does",
        ),
    ],
    ids=["another is gone", "its manifest is gone", "another file", "of another", "torn"],
)
def test_law_3_nothing_goes_while_what_lies_there_is_not_what_was_verified(
    site: Place, harm: Harm, said: str
) -> None:
    for day in (1, 2):
        copied(site, day)
    harm(site.target)
    before = there(site)
    ended = copied(site, 3)
    assert ended.state is OperationState.DONE, "the new copy is there all the same"
    # a manifest whose copy is gone goes by itself, as it did before
    gone = {manifest_name(name_of(2))} - {manifest_name(name) for name in before}
    assert there(site) == (before | files(3)) - gone and recall(ended).removed == ()
    assert said in recall(ended).kept_all


def test_law_3_a_copy_of_an_archive_that_somebody_restores_stays(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (1, 2):
        copied(site, day)
    pins = site.site.catalog.archive_pins
    pinned = pins.pinned
    monkeypatch.setattr(pins, "pinned", lambda: pinned() | {f"local:backup/{name_of(1)}"})
    copied(site, 3)
    assert there(site) == files(1, 2, 3)


def refusing(
    plain: Callable[[DirectoryTarget, str], None], *, after: int, asked: list[str] | None = None
) -> Callable[[DirectoryTarget, str], None]:
    """A removal that the target lets us do so many times, and then no more."""
    asked = [] if asked is None else asked

    def remove(self: DirectoryTarget, name: str) -> None:
        asked.append(name)
        if len(asked) > after:
            raise TargetRefused(f"copy target usb does not let us remove {name}", "look there")
        plain(self, name)

    return remove


@pytest.mark.parametrize("at", [0, 1, 2])
def test_law_9_a_removal_that_broke_off_is_ended_by_the_next_copy_and_is_no_copy_meanwhile(
    site: Place, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    for day in (1, 2):
        copied(site, day)
    plain, asked = DirectoryTarget.remove, list[str]()
    monkeypatch.setattr(DirectoryTarget, "remove", refusing(plain, after=at, asked=asked))
    ended = copied(site, 3)
    assert (ended.state, asked[0]) == (OperationState.FAILED, manifest_name(name_of(1)))
    assert known(site) == [name_of(2), name_of(3)], "what is half removed is no copy"
    monkeypatch.setattr(DirectoryTarget, "remove", plain)
    again = copied(site, 4)
    assert again.state is OperationState.DONE
    assert set(recall(again).removed) == {name_of(1), name_of(2)}
    assert there(site) == files(3, 4)
    assert site.site.catalog.copies.being_removed("/mnt/usb") == []


def test_what_took_the_place_of_a_half_removed_copy_is_left_alone(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (1, 2):
        copied(site, day)
    plain = DirectoryTarget.remove
    monkeypatch.setattr(DirectoryTarget, "remove", refusing(plain, after=1))
    copied(site, 3)
    monkeypatch.setattr(DirectoryTarget, "remove", plain)
    (site.target / name_of(1)).write_bytes(b"somebody else's")
    assert recall(copied(site, 4)).removed == (name_of(2),)
    assert (site.target / name_of(1)).read_bytes() == b"somebody else's"
    assert known(site) == [name_of(3), name_of(4)]


def test_a_worker_that_takes_over_in_the_middle_removes_no_more_than_the_rules_say(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (1, 2, 3):
        site.site.policy = replace(site.site.policy, copies=(USB,))
        copied(site, day)
    site.site.policy = replace(site.site.policy, copies=(KEPT,))
    opened = open_copy(site.site, DueCopy(archive(site, 4), KEPT))
    assert opened
    for _ in range(20):
        worker_loop.work(site.site.engine.executor, opened.id, long=True)
        worker_loop.work(site.site.engine.executor, opened.id, long=False)
    assert there(site) == files(3, 4)


def test_of_a_guest_that_cannot_be_asked_what_it_is_every_copy_stays(site: Place) -> None:
    for day in (1, 2):
        copied(site, day)
    site.site.pve.cluster = SimpleNamespace(
        guests=lambda: [Guest(108, "", "clovis")],
        nodes=lambda max_age=0.0: [Node("clovis", False)],
    )
    copied(site, 3)
    assert there(site) == files(1, 2, 3)


def test_a_half_removed_copy_that_was_brought_anew_is_a_copy_again(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = archive(site, 1)
    site.site.engine.drive_one(open_copy(site.site, DueCopy(first, KEPT)))
    copied(site, 2)
    plain = DirectoryTarget.remove
    monkeypatch.setattr(DirectoryTarget, "remove", refusing(plain, after=1))
    copied(site, 3)
    copies = site.site.catalog.copies
    (half,) = copies.being_removed("/mnt/usb")
    monkeypatch.setattr(copies, "being_removed", lambda folder: [half])
    monkeypatch.setattr(copies, "find", lambda folder, damaged: [half])
    monkeypatch.setattr(DirectoryTarget, "remove", plain)
    monkeypatch.setattr(keeping, "keep", lambda *given: Kept(()))
    assert recall(copied(site, 4)).removed == ()
    assert name_of(1) in there(site), "it is the other route's copy"


def test_a_copy_that_was_verified_anew_since_it_was_looked_for_is_not_forgotten(
    site: Place,
) -> None:
    copied(site, 1)
    (seen,) = site.site.catalog.copies.find()
    site.site.catalog.copies.forget_lost([replace(seen, verified_at=seen.verified_at - 1)])
    assert known(site) == [name_of(1)]
    site.site.catalog.copies.forget_lost([seen])
    assert known(site) == []
