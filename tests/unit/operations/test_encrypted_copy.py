"""A copy to a target that encrypts: what is recorded, what its keep rules remove, and the rehearsal
with a person's key.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from backupsvc.copies import age
from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.removal import not_as_verified, remove
from backupsvc.copies.sources import LocalSource
from backupsvc.errors import ArchiveError, CopyError, NoRoom, PveNotFound, UsageError
from backupsvc.inventory.listing import Survey
from backupsvc.operations import choosing
from backupsvc.operations.copy import keeping, rehearsing, steps, work_folder
from backupsvc.operations.copy.memory import recall
from backupsvc.operations.copy.opening import open_copy
from backupsvc.operations.copy.rehearsing import choose, rehearse
from backupsvc.operations.copy.result import kit as kit_of
from backupsvc.operations.copy.result import listed, rehearsed
from policies.age_keys import fingerprint
from policies.copies_due import DueCopy, due
from policies.model import (
    ArchiveCopy,
    CopyTarget,
    Directory,
    Guest,
    Node,
    Operation,
    OperationState,
    PruneRules,
    Rung,
)
from policies.pve.volid import file_of
from policies.segments import manifest_name, segment_name
from tests.unit.copies import encrypted, scene
from tests.unit.copies.encrypted import KEY, RECIPIENTS, SAFE, STRANGER, kit
from tests.unit.operations.test_copy_keep import archive, there
from tests.unit.operations.test_copy_steps import ARCHIVE, USB, Place, place  # noqa: F401

SAMPLES = Path(__file__).parents[2] / "golden" / "vma_samples"
SEALED = replace(USB, recipients=RECIPIENTS)


@pytest.fixture
def site(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The folders of a site whose target encrypts."""
    place.site.policy = replace(
        place.site.policy, copies=(SEALED,), prune=PruneRules(max_share=1.0), timezone="UTC"
    )
    place.site.pve.cluster = SimpleNamespace(
        guests=lambda: [Guest(108, "Debian-Server", "clovis")],
        nodes=lambda max_age=0.0: [Node("clovis", True)],
    )
    place.site.settings = SimpleNamespace(ssh=None, state_dir=tmp_path / "state")
    for module in (keeping, rehearsing):
        monkeypatch.setattr(module, "open_target", vars(steps)["open_target"])
    return place


def copied(site: Place, target: CopyTarget = SEALED) -> Operation:
    site.site.policy = replace(site.site.policy, copies=(target,))
    return site.copy(target)


def known(site: Place) -> ArchiveCopy:
    (copy,) = site.site.catalog.copies.find()
    return copy


def test_an_encrypted_copy_is_recorded_with_its_recipients_and_the_rung_that_it_left_with(
    site: Place,
) -> None:
    ended = copied(site)
    assert ended.state is OperationState.DONE
    assert there(site) == encrypted.WHOLE - set(encrypted.SEGMENTS[1:])
    copy = known(site)
    assert (copy.file, copy.size, copy.sha256) == (scene.NAME, 3_000_000, site.sha256)
    assert (copy.recipients, copy.rung, copy.encrypted) == (RECIPIENTS, "recorded", True)
    size = (site.target / encrypted.SEGMENTS[0]).stat().st_size
    assert copy.segments == str(size)
    shown = listed(copy, SEALED, copy.verified_at + 5)
    assert (shown["state"], shown["rung"], shown["encrypted"]) == (
        "verified",
        "recorded (encrypted)",
        True,
    )
    assert site.site.catalog.copies.progress(copy.route) is None
    (again,) = due(site.site.policy, [site.due().archive], [copy])
    assert again.skip == "a verified copy is there already"


def test_law_5_an_archive_that_was_read_whole_leaves_as_intact_and_no_more(site: Place) -> None:
    archives = site.site.catalog.archives
    archives.annotate("clovis", ARCHIVE.volid, sha256=site.sha256)
    archives.record_intact("clovis", ARCHIVE.volid, 1000)
    copied(site)
    assert known(site).rung == Rung.INTACT
    shown = listed(known(site), SEALED, 0)
    assert shown["rung"] == "intact (encrypted)"


def test_an_encrypted_copy_that_lost_a_segment_is_forgotten_and_made_anew(site: Place) -> None:
    copied(site)
    (site.target / encrypted.SEGMENTS[0]).unlink()
    ended = copied(site)
    verified = recall(ended).verified
    assert verified and verified.moved > 3_000_000 and encrypted.SEGMENTS[0] in there(site)


@pytest.mark.parametrize(("first", "then"), [(USB, SEALED), (SEALED, USB)])
def test_a_verified_copy_from_before_encrypt_was_changed_stays_the_one_that_counts(
    site: Place, first: CopyTarget, then: CopyTarget
) -> None:
    copied(site, first)
    before, files = known(site), there(site)
    ended = copied(site, then)
    verified = recall(ended).verified
    assert ended.state is OperationState.DONE and verified and verified.moved == 0
    assert "it is from before the target's `encrypt` was changed" in verified.how
    assert ("NOT encrypted" in verified.how) is (first is USB)
    assert known(site) == before and there(site) == files


def test_a_target_lets_the_oldest_encrypted_copy_go_with_all_its_files(site: Place) -> None:
    target = replace(SEALED, keep="keep-last=2")
    site.site.policy = replace(site.site.policy, copies=(target,))
    for day in (1, 2):
        site.site.engine.drive_one(open_copy(site.site, DueCopy(archive(site, day), target)))
    (site.target / "somebody-elses.txt").write_text("not ours", encoding="utf-8")
    third = DueCopy(archive(site, 3), target)
    (oldest,) = keeping.preview(site.site, third)[0]
    ended: Operation = site.site.engine.drive_one(open_copy(site.site, third))
    assert recall(ended).removed == (oldest,)
    assert not [name for name in there(site) if name.startswith(oldest)]
    assert len(there(site)) == 2 * 3 + 1 and len(site.site.catalog.copies.find()) == 2


def test_law_3_what_is_not_as_it_was_verified_is_not_removed(site: Place) -> None:
    copied(site)
    copy, folder = known(site), DirectoryTarget("usb", Directory(str(site.target)))
    assert not_as_verified(folder, copy, folder.files()) is None
    manifest = site.target / encrypted.MANIFEST
    text = manifest.read_bytes()
    for other in (text.replace(site.sha256.encode(), b"ab" * 32), b"no manifest\n"):
        manifest.write_bytes(other)
        assert "speaks of another copy" in str(not_as_verified(folder, copy, folder.files()))
    manifest.write_bytes(text)
    segment = site.target / encrypted.SEGMENTS[0]
    data = segment.read_bytes()
    segment.write_bytes(data[:-1])
    assert "is not there as it was verified" in str(not_as_verified(folder, copy, folder.files()))
    assert f"{len(data) - 1} bytes by now" in str(remove(folder, copy)) and manifest.exists()
    segment.write_bytes(data)
    assert remove(folder, copy) is None and there(site) == set()
    assert remove(folder, copy) is None, "what is gone already is removed"
    folder.close()


def test_law_9_a_removal_that_broke_off_after_the_manifest_leaves_no_copy_and_is_ended(
    site: Place,
) -> None:
    copied(site)
    copy, folder = known(site), DirectoryTarget("usb", Directory(str(site.target)))
    steps_seen: list[str] = []

    def step(said: str) -> None:
        if said.startswith("remove"):
            steps_seen.append(said)
            if len(steps_seen) == 2:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        remove(scene.Watched(folder, step), copy)
    assert steps_seen[0] == f"remove {encrypted.MANIFEST}" and len(there(site)) == 4
    assert remove(folder, copy) is None and there(site) == set()
    folder.close()


# --- not a source of restores ---------------------------------------------------------------------


def test_a_restore_says_what_is_to_be_done_with_an_encrypted_copy(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(site)
    monkeypatch.setattr(choosing, "survey", lambda *_: Survey((), frozenset(), (), {}, {}))
    for volid in (None, ARCHIVE.volid, f"local:backup/{encrypted.MANIFEST}"):
        with pytest.raises(PveNotFound) as told:
            choosing.choose(site.site, 108, volid=volid)
        assert f"archive decrypt FOLDER/{scene.NAME}" in told.value.hint
        assert "An encrypted copy of" in told.value.hint
    for vmid, volid in ((109, None), (108, "local:backup/another")):
        with pytest.raises(PveNotFound) as told:
            choosing.choose(site.site, vmid, volid=volid)
        assert "decrypt" not in told.value.hint


# --- the rehearsal --------------------------------------------------------------------------------


def brought(site: Place) -> ArchiveCopy:
    """An encrypted copy of an archive that is one, and not noise."""
    made = archive(site, 10)
    data = (SAMPLES / "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst").read_bytes()
    made = replace(made, volid=made.volid.replace("_10-", "_11-"), size=len(data))
    path = site.source.path.with_name(file_of(made.volid))
    path.write_bytes(data)
    site.source = LocalSource(path)
    site.site.catalog.archives.observe([made], scope=[], at=2000)
    ended = site.site.engine.drive_one(open_copy(site.site, DueCopy(made, SEALED)))
    assert ended.state is OperationState.DONE
    return known(site)


def state(site: Place) -> list[Path]:
    folder: Path = site.site.settings.state_dir
    return list(folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("key", [KEY, SAFE])
def test_a_copy_is_brought_back_with_a_persons_key_and_that_is_kept_as_evidence(
    site: Place, key: object
) -> None:
    copy = brought(site)
    choice = choose(site.site, [SEALED], [], 7)
    assert (choice.copy, choice.among, choice.seed) == (copy, 1, 7)
    came: list[int] = []
    done = rehearse(site.site, choice, kit(STRANGER, key), came.append)
    assert done.key == fingerprint(RECIPIENTS[0 if key is KEY else 1])
    assert (done.folder, done.volid, done.sha256) == ("/mnt/usb", copy.route.volid, site.sha256)
    assert site.site.catalog.copies.rehearsals() == [done] and state(site) == []
    assert sum(came) > choice.copy.size
    shown = rehearsed(choice, done)
    assert (shown["works"], shown["key"], shown["seed"]) == (True, done.key, 7)
    assert kit_of(SEALED, [done])["key"] == done.key
    assert kit_of(replace(SEALED, recipients=("age1other",)), [done])["rehearsed"] is None


def test_law_7_no_identity_is_in_the_catalog_nor_in_what_is_told(
    site: Place, tmp_path: Path
) -> None:
    brought(site)
    choice = choose(site.site, [SEALED], [], 7)
    done = rehearse(site.site, choice, kit())
    secret = str(KEY)
    assert secret not in f"{done}{rehearsed(choice, done)}"
    files = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert any("catalog" in one.name for one in files)
    assert all(secret.encode() not in one.read_bytes() for one in files)
    with pytest.raises(UsageError, match="none of the identities opens") as told:
        rehearse(site.site, choice, kit(STRANGER))
    assert str(STRANGER) not in f"{told.value.message}{told.value.hint}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "said", "error"),
    [
        ("key", "none of the identities opens", UsageError),
        ("segment", "is not as it was written", ArchiveError),
        ("manifest", "speaks of another copy, or cannot be read", CopyError),
        ("gone", "is not there", CopyError),
        ("noise", "but that is not intact", ArchiveError),
        ("room", "No space left on device", NoRoom),
    ],
)
def test_a_rehearsal_that_fails_is_told_recorded_nowhere_and_leaves_nothing(
    site: Place, monkeypatch: pytest.MonkeyPatch, harm: str, said: str, error: type[Exception]
) -> None:
    if harm == "noise":
        copied(site)
    else:
        brought(site)
    segment = site.target / segment_name(known(site).file, 1)
    manifest = site.target / manifest_name(known(site).file)
    if harm == "segment":
        data = bytearray(segment.read_bytes())
        data[-9] ^= 1
        segment.write_bytes(data)
    elif harm == "manifest":  # somebody put another archive there, for the same public keys
        text = manifest.read_bytes()
        manifest.write_bytes(text.replace(site.sha256.encode(), b"ab" * 32))
    elif harm == "gone":
        manifest.unlink()
    elif harm == "room":

        def full(*args: object, **more: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(work_folder, "mkdtemp", full)
    keys = kit(STRANGER) if harm == "key" else kit()
    with pytest.raises(error, match=said):
        rehearse(site.site, choose(site.site, [SEALED], [], 1), keys)
    assert site.site.catalog.copies.rehearsals() == [] and state(site) == []


def test_the_same_seed_takes_the_same_copy_and_all_are_taken_by_some_seed(site: Place) -> None:
    for day in (1, 2, 3):
        site.site.engine.drive_one(open_copy(site.site, DueCopy(archive(site, day), SEALED)))
    taken = {seed: choose(site.site, [SEALED], [108], seed).copy.file for seed in range(30)}
    assert len(set(taken.values())) == 3
    assert all(choose(site.site, [SEALED], [], seed).copy.file == taken[seed] for seed in taken)
    for targets, vmids in (([SEALED], [109]), ([replace(SEALED, place=Directory("/x"))], [])):
        with pytest.raises(CopyError, match="no encrypted copy is known at usb"):
            choose(site.site, targets, vmids, 1)


def test_identities_of_a_kit_name_their_recipients() -> None:
    assert age.Identities([KEY, SAFE]).recipients() == list(RECIPIENTS)
