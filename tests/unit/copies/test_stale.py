"""Manifests that outlived their copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.send import send
from backupsvc.copies.stale import remove_stale_manifests
from tests.unit.copies.scene import MANIFEST, NAME, PART, directory, order, write_archive

OTHER = NAME.replace("108", "109", 1)


def test_a_manifest_goes_once_its_copy_is_gone_and_no_sooner(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here", size=1000), directory(tmp_path / "there")
    send(source, there, order())
    assert remove_stale_manifests(there) == []
    there.remove(NAME)
    assert remove_stale_manifests(there) == [MANIFEST]
    assert MANIFEST not in there.files()


def test_what_does_not_read_as_a_manifest_of_that_copy_stays(tmp_path: Path) -> None:
    source, there = write_archive(tmp_path / "here", size=1000), directory(tmp_path / "there")
    send(source, there, order())
    folder = tmp_path / "there"
    manifest = (folder / MANIFEST).read_bytes()
    (folder / NAME).unlink()
    (folder / MANIFEST).unlink()
    (folder / f"{OTHER}.copy.json").write_bytes(manifest)  # it speaks of another file
    (folder / "notes.copy.json").write_bytes(b"{}\n")
    (folder / "large.copy.json").write_bytes(manifest + b" " * (1 << 20))
    before = there.files()
    assert remove_stale_manifests(there) == []
    assert there.files() == before


def test_a_copy_that_gets_its_name_while_it_is_looked_for_keeps_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, there = write_archive(tmp_path / "here", size=1000), directory(tmp_path / "there")
    send(source, there, order())
    real, looks = DirectoryTarget.files, []

    def late(self: DirectoryTarget) -> dict[str, int]:
        looks.append(1)
        found = real(self)
        if len(looks) == 1:
            found.pop(NAME)
            found[PART] = 1000
        return found

    monkeypatch.setattr(DirectoryTarget, "files", late)
    assert remove_stale_manifests(there) == []
    assert MANIFEST in real(there)
