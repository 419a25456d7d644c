"""A copy that is read anew in a real folder: what is as it was verified, and whatever can be wrong
with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backupsvc.clock import SystemClock
from backupsvc.copies.reread import Reread, reread
from backupsvc.copies.send import send
from backupsvc.copies.send_encrypted import send_encrypted
from backupsvc.copies.sources import LocalSource
from backupsvc.errors import TargetMissing, TargetRefused
from policies import segments
from policies.copy_manifest import Manifest
from policies.model import ArchiveCopy, CopyRoute
from policies.segments import SegmentManifest
from tests.unit.copies import encrypted
from tests.unit.copies.scene import (
    MANIFEST,
    NAME,
    VOLID,
    Watched,
    directory,
    order,
    write_archive,
)

ROUTE = CopyRoute("usb", "/mnt/usb", "copy target usb", "clovis", VOLID, 108)


@dataclass
class Copied:
    """A copy in a folder, as the catalog knows it."""

    source: LocalSource
    folder: Path
    copy: ArchiveCopy

    def read(self) -> Reread:
        return reread(directory(self.folder), self.copy, None, SystemClock(), lambda: None)

    def problem(self) -> str:
        return self.read().problem


def known(manifest: Manifest | SegmentManifest) -> ArchiveCopy:
    """What the catalog records of a copy that was just verified."""
    copy = ArchiveCopy(ROUTE, manifest.file, manifest.size, manifest.sha256, 9, "read back", "01")
    if isinstance(manifest, SegmentManifest):
        held = segments.packed(manifest.segments, hashes=False)
        copy = replace(copy, recipients=manifest.recipients, segments=held)
    return copy


@pytest.fixture
def plain(tmp_path: Path) -> Copied:
    source = write_archive(tmp_path / "here")
    made = send(source, directory(tmp_path / "there"), order())
    return Copied(source, tmp_path / "there", known(made.manifest))


@pytest.fixture
def sealed(tmp_path: Path) -> Copied:
    source = write_archive(tmp_path / "here")
    made = send_encrypted(source, directory(tmp_path / "there"), encrypted.order())
    return Copied(source, tmp_path / "there", known(made.manifest))


def flip(path: Path) -> None:
    """Change one bit in the middle, as a disk does."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def link(path: Path) -> None:
    """Have the bytes elsewhere, and a link to them."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


Harm = Callable[[Path], None]
HARM: list[tuple[Harm, str]] = [
    (flip, "verified were"),
    (cut, "bytes, verified were"),
    (Path.unlink, "is not there any more"),
    (link, "is not there any more"),
]


def test_a_plain_copy_that_is_as_it_was_is_good(plain: Copied) -> None:
    assert plain.read() == Reread("read back after its cache was dropped", "")


def test_an_encrypted_copy_that_is_as_it_was_is_good(sealed: Copied) -> None:
    found = sealed.read()
    assert found == Reread("each segment read back after its cache was dropped", "")


@pytest.mark.parametrize(("harm", "said"), HARM)
def test_what_is_wrong_with_a_plain_copy_is_found(plain: Copied, harm: Harm, said: str) -> None:
    harm(plain.folder / NAME)
    assert NAME in plain.problem() and said in plain.problem()


@pytest.mark.parametrize(("harm", "said"), HARM)
@pytest.mark.parametrize("file", [*encrypted.SEGMENTS, f"{NAME}.notes.age"])
def test_what_is_wrong_with_any_file_of_an_encrypted_copy_is_found(
    sealed: Copied, file: str, harm: Harm, said: str
) -> None:
    harm(sealed.folder / file)
    assert file in sealed.problem() and said in sealed.problem()


def test_swapped_segments_are_found(sealed: Copied) -> None:
    first, second = (sealed.folder / name for name in encrypted.SEGMENTS[:2])
    first.rename(sealed.folder / "x")
    second.rename(first)
    (sealed.folder / "x").rename(second)
    # by its hash where both are as long, which age leaves to chance
    assert sealed.problem().startswith(first.name)


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_copy_without_its_manifest_is_none(kind: str, request: pytest.FixtureRequest) -> None:
    one: Copied = request.getfixturevalue(kind)
    (one.folder / (MANIFEST if kind == "plain" else encrypted.MANIFEST)).unlink()
    assert "is not there any more" in one.problem() and "manifest" in one.problem()


def test_a_strangers_manifest_makes_no_copy(plain: Copied, sealed: Copied) -> None:
    stranger = json.loads((plain.folder / MANIFEST).read_bytes()) | {"sha256": "cd" * 32}
    (plain.folder / MANIFEST).write_bytes(json.dumps(stranger).encode() + b"\n")
    assert plain.problem() == f"{MANIFEST} speaks of another copy, or cannot be read"

    other = replace(encrypted.manifest_in(sealed.folder), sha256="cd" * 32)
    (sealed.folder / encrypted.MANIFEST).write_bytes(other.text())
    assert f"{encrypted.MANIFEST} speaks of another copy" in sealed.problem()
    (sealed.folder / encrypted.MANIFEST).write_bytes(other.text()[:-1])
    assert sealed.problem() == f"{encrypted.MANIFEST} is cut short"


def test_a_manifest_of_other_segments_than_were_verified_makes_no_copy(sealed: Copied) -> None:
    found = encrypted.manifest_in(sealed.folder)
    longer = replace(found.segments[0], size=found.segments[0].size + 1)
    changed = replace(found, segments=(longer, *found.segments[1:]))
    (sealed.folder / encrypted.MANIFEST).write_bytes(changed.text())
    assert "speaks of another copy" in sealed.problem()


def test_another_manifest_that_somebody_put_beside_ours_does_not_hide_it(sealed: Copied) -> None:
    ours = encrypted.manifest_in(sealed.folder)
    forged = replace(ours.segments[0], sha256="cd" * 32)
    text = replace(ours, segments=(forged, *ours.segments[1:])).text()
    (sealed.folder / f"{encrypted.MANIFEST}~2").write_bytes(ours.text())
    (sealed.folder / encrypted.MANIFEST).write_bytes(text)
    assert sealed.problem() == ""
    (sealed.folder / f"{encrypted.MANIFEST}~2").write_bytes(text)
    assert "holds" in sealed.problem()


def test_an_empty_folder_is_out_of_reach_and_no_damage(plain: Copied) -> None:
    for file in plain.folder.iterdir():
        file.unlink()
    with pytest.raises(TargetMissing, match="nothing at all lies in"):
        plain.read()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_we_may_not_read_is_no_damage(plain: Copied) -> None:
    (plain.folder / NAME).chmod(0)
    with pytest.raises(TargetRefused):
        plain.read()


def test_nothing_is_read_of_a_copy_whose_files_already_tell(sealed: Copied) -> None:
    (sealed.folder / encrypted.SEGMENTS[2]).unlink()
    watched = Watched(directory(sealed.folder))
    reread(watched, sealed.copy, None, SystemClock(), lambda: None)
    assert watched.digested == []


def test_a_sign_of_life_is_given_while_it_is_read(sealed: Copied) -> None:
    alive: list[int] = []
    reread(directory(sealed.folder), sealed.copy, 10**6, SystemClock(), lambda: alive.append(1))
    assert len(alive) >= len(encrypted.SEGMENTS)
