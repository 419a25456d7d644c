"""A copy from its opening to its end: what is brought, what is recorded, and what PVE lists
then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.send import send
from backupsvc.copies.sources import LocalSource
from backupsvc.engine.foreground import Engine
from backupsvc.errors import Refused
from backupsvc.operations.copy import steps
from backupsvc.operations.copy.memory import recall
from backupsvc.operations.copy.opening import open_copy
from backupsvc.operations.copy.result import listed, outcome, planned, refused, skipped
from backupsvc.operations.kinds import KINDS
from policies.compliance.facts import GuestFacts
from policies.compliance.facts import place as place_of
from policies.copies_due import DueCopy, due, route_of
from policies.model import Archive, CopyTarget, Directory, Operation, OperationState, Rung
from policies.model import PveStorage as Storage
from tests.fakes.made import CONFIG
from tests.fakes.made import archive as archive_at
from tests.unit.copies import scene
from tests.unit.operations.farm import policy
from tests.unit.operations.worlds import World, operation_of, world

USB = CopyTarget("usb", Directory("/mnt/usb"))
LGE = CopyTarget("lge", Storage("lge-pve02", "local", "/var/lib/vz/dump"))
ARCHIVE = archive_at(108, 2)
assert ARCHIVE.volid == scene.VOLID


@dataclass
class Place:
    """Two folders: of the archive and of the target. ``shown`` is what PVE lists at the target
    besides its archives there.
    """

    site: World
    source: LocalSource
    target: Path
    listing: list[Archive]

    def copy(self, target: CopyTarget = USB) -> Operation:
        opened = open_copy(self.site, self.due(target))
        ended: Operation = self.site.engine.drive_one(opened)
        return ended

    def due(self, target: CopyTarget = USB, skip: str | None = None) -> DueCopy:
        found = self.site.catalog.archives.get("clovis", ARCHIVE.volid)
        assert found
        return DueCopy(found, target, skip)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source.path.read_bytes()).hexdigest()


@pytest.fixture
def place(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    site = world(sqlite_url)
    found = Place(site, scene.write_archive(tmp_path / "here"), tmp_path / "there", [])
    found.target.mkdir()

    @contextmanager
    def opened(target: CopyTarget, *rest: Any) -> Iterator[DirectoryTarget]:
        folder = DirectoryTarget(target.name, Directory(str(found.target)))
        yield folder
        folder.close()

    monkeypatch.setattr(steps, "open_target", opened)
    monkeypatch.setattr(steps, "NodeSource", lambda nodes, node, path: LocalSource(Path(path)))
    site.policy = replace(policy(), copies=(USB, LGE))
    site.settings = SimpleNamespace(ssh=None)
    site.pve = SimpleNamespace(
        storage=SimpleNamespace(
            volume_path=lambda node, volid: str(found.source.path),
            archives=lambda node, storage, vmid: [
                one for one in found.listing if (one.node, one.storage) == (node, storage)
            ],
        )
    )
    site.engine = Engine(site, KINDS)
    size = found.source.path.stat().st_size
    held = replace(ARCHIVE, size=size)
    site.catalog.archives.observe([held], scope=[], at=1000)
    yield found
    site.catalog.close()


def there(place: Place, **more: Any) -> Archive:
    """What PVE lists of the copy at the target."""
    size = place.source.path.stat().st_size
    return replace(ARCHIVE, node="lge-pve02", size=size, **more)


def error_of(ended: Operation) -> str:
    assert ended.state is OperationState.FAILED and ended.book.error
    return ended.book.error.message


# --- to a folder ----------------------------------------------------------------------------------


def test_a_copy_is_verified_recorded_and_remembered(place: Place) -> None:
    ended = place.copy()
    assert ended.state is OperationState.DONE
    assert {file.name for file in place.target.iterdir()} == scene.WHOLE
    (copy,) = place.site.catalog.copies.find()
    assert copy.route == route_of(place.due().archive, USB)
    assert (copy.file, copy.sha256, copy.operation) == (scene.NAME, place.sha256, ended.id)
    verified = recall(ended).verified
    assert verified and (verified.sha256, verified.moved) == (place.sha256, copy.size)
    assert place.site.catalog.copies.progress(copy.route) is None
    assert place.site.catalog.archive_pins.pinned() == set(), "prune may have it again"
    assert KINDS["copy"].result(ended) == f"{ARCHIVE.volid} at usb"


def test_a_copy_that_is_there_is_recorded_again_and_nothing_travels(place: Place) -> None:
    first, second = place.copy(), place.copy()
    (copy,) = place.site.catalog.copies.find()
    assert (second.state, copy.operation) == (OperationState.DONE, second.id)
    verified = recall(second).verified
    assert first.id != second.id and verified and verified.moved == 0


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_law_5_a_recorded_copy_that_is_not_at_its_target_is_forgotten_before_it_is_made_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    place.copy()
    if harm == "gone":
        for file in place.target.iterdir():
            file.unlink()
    else:
        (place.target / scene.NAME).write_bytes(b"cut")
    known: list[int] = []

    def seen(*given: Any) -> Any:
        known.append(len(place.site.catalog.copies.find()))
        return send(*given)

    monkeypatch.setattr(steps, "send", seen)
    again = place.copy()
    assert known == [0]
    if harm == "gone":
        assert again.state is OperationState.DONE
        assert len(place.site.catalog.copies.find()) == 1
    else:
        assert "3 bytes, not" in error_of(again)
        assert place.site.catalog.copies.find() == []
        assert (place.target / scene.NAME).read_bytes() == b"cut"


def test_an_archive_that_is_not_what_was_recorded_of_its_bytes_is_not_copied(place: Place) -> None:
    place.site.catalog.archives.annotate("clovis", ARCHIVE.volid, sha256="00" * 32)
    assert "is not what was recorded of it: its SHA-256" in error_of(place.copy())
    assert scene.listed(place.target) == set()
    assert place.site.catalog.copies.find() == []


def test_law_10_an_archive_that_was_changed_since_it_was_recorded_is_not_copied(
    place: Place,
) -> None:
    annotate = place.site.catalog.archives.annotate
    for sha256 in ("00" * 32, "11" * 32):
        annotate("clovis", ARCHIVE.volid, sha256=sha256)
    assert "was changed since it was recorded" in error_of(place.copy())
    assert list(place.target.iterdir()) == []


def test_an_archive_or_a_target_that_nobody_knows_any_more_ends_the_copy(place: Place) -> None:
    due = place.due()
    gone = DueCopy(replace(due.archive, volid=ARCHIVE.volid.replace("108", "109")), USB)
    ended = place.site.engine.drive_one(open_copy(place.site, gone))
    assert "is not in the catalog" in error_of(ended)
    place.site.policy = policy()
    assert "copy target usb is no longer in the policy" in error_of(place.copy())


# --- to a storage of PVE --------------------------------------------------------------------------


def test_a_copy_that_pve_lists_is_an_archive_there_with_what_is_known_of_its_bytes(
    place: Place,
) -> None:
    catalog = place.site.catalog.archives
    catalog.annotate(
        "clovis",
        ARCHIVE.volid,
        name="web",
        config=CONFIG,
        uuid="11111111-2222-4333-8444-555555555555",
        sha256=place.sha256,
        consistency="frozen",
        excluded=["scsi1"],
        operation="01BACKUP",
    )
    catalog.raise_rung("clovis", ARCHIVE.volid, Rung.INTACT, 1000)
    place.listing = [there(place)]
    ended = place.copy(LGE)
    assert ended.state is OperationState.DONE
    made = catalog.get("lge-pve02", ARCHIVE.volid)
    assert made and (made.name, made.sha256, made.rung) == ("web", place.sha256, Rung.INTACT)
    assert (made.operation, made.holds_disk) == (ended.id, True)
    original, copied = (catalog.facts(node, ARCHIVE.volid) for node in ("clovis", "lge-pve02"))
    for key in ("config", "uuid", "consistency", "excluded"):
        assert copied[key] == original[key]
    assert [one.route.place for one in place.site.catalog.copies.find()] == ["lge-pve02"]
    catalog.observe([], scope=[("lge-pve02", "local")], at=2_000_000_000)
    assert place.site.catalog.copies.find() == [], "PVE lists it no more"


def test_a_copy_that_turns_out_to_lie_on_a_shared_storage_is_one_place_and_not_its_node_too(
    place: Place,
) -> None:
    nas = CopyTarget("nas", Storage("lge-pve02", "nas", "/mnt/pve/nas/dump"))
    place.site.policy = replace(policy(), copies=(nas,))
    volid = ARCHIVE.volid.replace("local:", "nas:")
    place.listing = [there(place, storage="nas", volid=volid, shared=True)]
    assert place.copy(nas).state is OperationState.DONE
    (copy,) = place.site.catalog.copies.find()
    held = place.site.catalog.archives.find(vmid=108)
    assert copy.route.place in {place_of(one) for one in held} == {"clovis", "storage nas"}
    guest = GuestFacts(108, "web", None, copies=(copy,))
    assert list(guest.places(held).values()) == [{"clovis", "storage nas"}]
    assert [one.skip is None for one in due(place.site.policy, held, [copy])] == [False]


@pytest.mark.slow
def test_law_5_a_copy_is_proven_no_further_than_intact_whatever_its_archive_is(
    place: Place,
) -> None:
    catalog = place.site.catalog.archives
    catalog.annotate("clovis", ARCHIVE.volid, sha256=place.sha256)
    catalog.raise_rung("clovis", ARCHIVE.volid, Rung.HEALTHY, 1000)
    place.listing = [there(place)]
    place.copy(LGE)
    made = catalog.get("lge-pve02", ARCHIVE.volid)
    assert made and (made.rung, made.proven_at) == (Rung.INTACT, None)


@pytest.mark.parametrize("known", [True, False])
def test_law_5_a_copy_of_what_was_never_read_whole_is_recorded_alone(
    place: Place, known: bool
) -> None:
    catalog = place.site.catalog.archives
    if known:
        catalog.annotate("clovis", ARCHIVE.volid, sha256=place.sha256)
    else:
        catalog.raise_rung("clovis", ARCHIVE.volid, Rung.INTACT, 1000)
    place.listing = [there(place)]
    place.copy(LGE)
    made = catalog.get("lge-pve02", ARCHIVE.volid)
    assert made and made.rung is Rung.RECORDED


@pytest.mark.parametrize("wrong", ["nothing", "another size", "another name", "another storage"])
def test_a_copy_that_pve_does_not_list_fails_and_says_which_folder_is_meant(
    place: Place, wrong: str
) -> None:
    place.listing = {
        "nothing": [],
        "another size": [replace(there(place), size=5)],
        "another name": [there(place, volid=ARCHIVE.volid.replace("108", "109"))],
        "another storage": [there(place, storage="big")],
    }[wrong]
    ended = place.copy(LGE)
    assert "PVE does not list it in the storage local there" in error_of(ended)
    assert ended.book.error and "dump folder" in ended.book.error.hint
    assert place.site.catalog.archives.get("lge-pve02", ARCHIVE.volid) is None


# --- what the commands say of it ------------------------------------------------------------------


def test_what_came_of_a_copy_is_told_with_what_travelled(place: Place) -> None:
    ended = place.copy()
    told = outcome(place.due(), ended)
    assert (told["state"], told["sha256"], told["operation"]) == (
        "verified",
        place.sha256,
        ended.id,
    )
    assert told["bytes"] == told["moved"] == place.source.path.stat().st_size
    assert told["target"] == {"name": "usb", "node": None, "path": "/mnt/usb"}
    assert told["source"] == {"node": "clovis", "storage": "local"}


def test_a_copy_that_failed_or_ended_otherwise_is_told_with_its_reason(place: Place) -> None:
    place.listing = []
    told = outcome(place.due(LGE), place.copy(LGE))
    assert (told["state"], told["bytes"], told["sha256"]) == ("failed", 0, None)
    assert "PVE does not list it" in told["reason"] and told["hint"]
    assert told["target"]["node"] == "lge-pve02"
    opened = open_copy(place.site, place.due(LGE))
    assert opened
    place.site.engine.abandon(opened.id, "not now")
    assert outcome(place.due(LGE), operation_of(place.site, opened.id))["state"] == "failed"


def test_what_is_not_copied_is_told_with_why_and_what_would_be_with_its_size(place: Place) -> None:
    told = skipped(place.due(skip="a verified copy is there already"))
    assert (told["state"], told["reason"]) == ("skipped", "a verified copy is there already")
    would = planned(place.due())
    assert (would["state"], would["bytes"]) == ("planned", place.source.path.stat().st_size)
    said = refused(place.due(), Refused("it is at work", "wait"))
    assert (said["state"], said["reason"], said["hint"]) == ("failed", "it is at work", "wait")
    assert said["exit_code"] == Refused.exit_code


def test_a_recorded_copy_is_listed_with_its_age_also_when_the_policy_names_its_target_no_more(
    place: Place,
) -> None:
    place.copy()
    (copy,) = place.site.catalog.copies.find()
    told, left = (listed(copy, target, copy.verified_at + 61.5) for target in (USB, None))
    assert (told["age"], told["state"], told["reason"]) == (61, "verified", copy.how)
    assert left["reason"] == f"{copy.how}; the policy names this target no more"
    assert listed(copy, USB, copy.verified_at - 5)["age"] == 0
