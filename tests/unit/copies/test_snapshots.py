"""Snapshots of the catalog at a target: read back before they are called one, and never without end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.snapshots import CATALOG, CONFIG, KEPT, PART, name_at, put, taken_at
from backupsvc.copies.target import Came, Digest
from backupsvc.errors import CopyError, TargetRefused
from policies.model import Directory

AT, DAY = 1_773_086_400, 86_400
NAME = name_at(AT, "sqlite")
DATA = b"catalog" * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "usb").mkdir()
    return tmp_path / "usb"


@pytest.fixture
def target(folder: Path) -> Iterator[DirectoryTarget]:
    with closing(DirectoryTarget("usb", Directory(str(folder)))) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "snapshot").write_bytes(DATA)
    return tmp_path / "snapshot"


def test_a_snapshot_is_named_by_its_time() -> None:
    assert NAME == "backupsvc-catalog-20260309T200000Z.sqlite.zst"


@pytest.mark.parametrize("immutable", [False, True])
def test_a_snapshot_lies_there_whole_under_its_name_alone(
    folder: Path, target: DirectoryTarget, file: Path, immutable: bool
) -> None:
    done = put(target, file, NAME, immutable=immutable)
    assert (done.file, done.size, done.removed) == (NAME, len(DATA), ())
    assert [path.name for path in folder.iterdir()] == [NAME]
    assert (folder / NAME).read_bytes() == DATA
    with pytest.raises(CopyError, match="already"):
        put(target, file, NAME, immutable=immutable)


def test_the_oldest_go_once_there_are_enough_and_nothing_else_does(
    folder: Path, target: DirectoryTarget, file: Path
) -> None:
    others = ["vzdump-qemu-108-2026_03_09-21_00_02.vma.zst", "backupsvc-catalog-mine.zst"]
    for name in others:
        (folder / name).write_bytes(b"x")
    old = [name_at(AT - number * DAY, "sqlite") for number in range(KEPT + 2, 0, -1)]
    for name in old:
        (folder / name).write_bytes(b"old")
    done = put(target, file, NAME)
    assert done.removed == tuple(old[:3])
    left = {path.name for path in folder.iterdir()}
    assert left == {*others, *old[3:], NAME} and len(left) == KEPT + 2


def test_snapshots_of_the_catalog_and_of_the_configuration_are_counted_apart(
    folder: Path, target: DirectoryTarget, file: Path
) -> None:
    catalogs = [name_at(AT - number * DAY, "sqlite") for number in range(KEPT + 1, 0, -1)]
    configs = [name_at(AT - number * DAY, "tar", CONFIG) for number in range(KEPT + 1, 0, -1)]
    dead = name_at(AT - DAY, "pgdump") + PART
    for name in (*catalogs, *configs, dead):
        (folder / name).write_bytes(b"old")
    assert put(target, file, name_at(AT, "tar", CONFIG)).removed == tuple(configs[:2])
    assert put(target, file, NAME).removed == (*catalogs[:2], dead)


def test_a_name_tells_what_it_is_of_and_when() -> None:
    kept = name_at(AT, "tar", CONFIG)
    assert kept == "backupsvc-config-20260309T200000Z.tar.zst"
    assert (taken_at(kept, CONFIG), taken_at(NAME, CATALOG)) == (AT, AT)
    for name in (NAME, kept + PART, "backupsvc-config-20261399T200000Z.tar.zst", "x" + kept):
        assert taken_at(name, CONFIG) is None
    assert taken_at(kept.replace(".tar.", ".sqlite."), CONFIG) is None
    assert taken_at(NAME.replace(".sqlite.", ".tar."), CATALOG) is None


def test_what_an_attempt_of_another_day_left_goes_and_one_of_today_stays(
    folder: Path, target: DirectoryTarget, file: Path
) -> None:
    dead, living = (name_at(at, "sqlite") + PART for at in (AT - DAY, AT - 60))
    for name in (dead, living):
        (folder / name).write_bytes(b"half")
    assert put(target, file, NAME).removed == (dead,)
    assert {path.name for path in folder.iterdir()} == {living, NAME}


class Lying(DirectoryTarget):
    """A disk that gives back other bytes than it took."""

    def digest(self, name: str, came: Came) -> Digest:
        return Digest(len(DATA), "0" * 64, "read back")


def test_what_is_read_back_otherwise_is_no_snapshot(folder: Path, file: Path) -> None:
    with (
        closing(Lying("usb", Directory(str(folder)))) as target,
        pytest.raises(CopyError, match="other bytes"),
    ):
        put(target, file, NAME)
    assert list(folder.iterdir()) == []


class Guarded(DirectoryTarget):
    """A target that lets nothing be removed or renamed."""

    def rename(self, old: str, new: str) -> None:
        raise TargetRefused("no")

    def remove(self, name: str) -> None:
        raise TargetRefused("no")


def test_at_an_immutable_target_nothing_is_renamed_and_nothing_removed(
    folder: Path, file: Path
) -> None:
    for number in range(KEPT + 2, 0, -1):
        (folder / name_at(AT - number * DAY, "sqlite")).write_bytes(b"old")
    with closing(Guarded("usb", Directory(str(folder)))) as target:
        assert put(target, file, NAME, immutable=True).removed == ()
        with pytest.raises(TargetRefused):
            put(target, file, name_at(AT + 1, "sqlite"))
    assert (folder / NAME).read_bytes() == DATA


def test_whoever_brings_it_shows_life_and_leaves_nothing_when_ended(
    folder: Path, target: DirectoryTarget, file: Path
) -> None:
    asked = []

    def alive() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put(target, file, NAME, alive=alive)
    assert len(asked) == 2 and list(folder.iterdir()) == []
