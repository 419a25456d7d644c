"""PVE, as the lab reads it, lists a copy under the archive's name and nothing else of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupsvc.copies.send import send
from policies.copy_manifest import numbered
from pvelab.guests.names import parse_name
from tests.unit.copies.scene import NAME, PART, Watched, directory, order, write_archive


def listed(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if parse_name(file.name, "Europe/Paris")]


def test_law_4_nothing_is_listed_until_the_archive_is_and_then_the_archive_alone(
    tmp_path: Path,
) -> None:
    there, before = tmp_path / "there", list[tuple[str, list[str]]]()
    target = Watched(directory(there), lambda said: before.append((said, listed(there))))
    send(write_archive(tmp_path / "here"), target, order())
    renamed = [said for said, _ in before].index(f"rename {PART}")
    assert all(found == [] for _, found in before[: renamed + 1]) and listed(there) == [NAME]
    assert all(found == [NAME] for _, found in before[renamed + 1 :])


@pytest.mark.parametrize("name", [NAME, "vzdump-lxc-105-2026_03_09-21_00_02.tar.zst", "mine.tgz"])
def test_what_holds_a_name_at_an_immutable_target_is_not_listed(name: str) -> None:
    assert parse_name(name, "UTC") and not parse_name(numbered(name, 2), "UTC")
