"""What lands beside what is there: nothing is overwritten, whoever came first, and nothing is left."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from backupsvc.archives.filesystems.landing import Landing, NotLanded


def land(into: Path, name: str = "there") -> None:
    landing = Landing(into)
    with landing.opened() as folder:
        landing.file(folder, name, 3, [b"new"], runs=False, mtime=None)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_came_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    (tmp_path / "there").write_bytes(b"mine")
    with pytest.raises(NotLanded, match="is there already"):
        land(tmp_path)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"there": b"mine"}


@pytest.mark.parametrize("links", [True, False])
def test_a_file_gets_its_name_with_links_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    land(tmp_path)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"there": b"new"}


def _no_links(*words: Any, **options: Any) -> None:
    raise OSError(errno.EOPNOTSUPP, "no links here")


def test_a_link_that_came_meanwhile_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"mine")
    into = tmp_path / "into"
    into.mkdir()
    (into / "there").symlink_to("../outside")
    with pytest.raises(NotLanded):
        land(into)
    assert (tmp_path / "outside").read_bytes() == b"mine"
    assert [one.name for one in into.iterdir()] == ["there"]
