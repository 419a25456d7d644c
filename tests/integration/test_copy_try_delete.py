"""``copy try-delete``: whether an immutable target is one, found out with a file of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backupsvc.copies.canary import NAME, TEXT
from tests.commands import Answer, Shell

POLICY = "site: x\ncopies:\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "usb").mkdir()
    return tmp_path / "usb"


def run(tmp_path: Path, targets: str, *words: str) -> Answer:
    """The command, of a user whose policy has these targets; no cluster is asked."""
    site = tmp_path / "site.yaml"
    site.write_text(POLICY + targets, encoding="utf-8")
    env = {
        "BACKUPSVC_POLICY": str(site),
        "BACKUPSVC_PVE__HOST": "127.0.0.1:1",
        "BACKUPSVC_PVE__TOKEN": "a@pve!b=5e7b0f0e-1111-4222-8333-123456789abc",
    }
    return Shell(tmp_path, env)("copy", "try-delete", *words)


def usb(folder: Path) -> str:
    return f"  usb: {{kind: directory, path: {json.dumps(str(folder))}, immutable: true}}\n"


def test_a_folder_that_is_only_called_immutable_is_found_out_and_that_is_kept(
    tmp_path: Path, folder: Path
) -> None:
    first = run(tmp_path, usb(folder), "--dry-run", "--json")
    assert first.code == 0 and first.json["targets"][0]["tried"] is None
    assert list(folder.iterdir()) == []
    answer = run(tmp_path, usb(folder), "--json")
    assert answer.code == 1
    (found,) = answer.json["targets"]
    assert (found["target"], found["folder"], found["held"]) == ("usb", str(folder), False)
    assert found["overwritten"] is found["deleted"] is True
    assert list(folder.iterdir()) == []
    last = run(tmp_path, usb(folder), "--dry-run", "--json").json["targets"]
    assert last == [found]
    shown = run(tmp_path, usb(folder))
    assert shown.code == 1 and "NOT immutable" in shown.out


def test_a_file_of_somebody_else_under_that_name_is_left_alone(
    tmp_path: Path, folder: Path
) -> None:
    (folder / NAME).write_bytes(TEXT + b"more")
    answer = run(tmp_path, usb(folder))
    assert answer.code == 1 and "did not write" in answer.err
    assert (folder / NAME).read_bytes() == TEXT + b"more"
    assert run(tmp_path, usb(folder), "--dry-run", "--json").json["targets"][0]["tried"] is None


def test_what_no_target_promises_is_not_tried(tmp_path: Path, folder: Path) -> None:
    plain = f"  usb: {{kind: directory, path: {json.dumps(str(folder))}}}\n"
    for targets, words in ((plain, ()), (plain, ("--to", "usb")), (usb(folder), ("--to", "nas"))):
        answer = run(tmp_path, targets, *words)
        assert answer.code == 2 and "immutable" in answer.err
    assert list(folder.iterdir()) == []
    missing = run(tmp_path, usb(tmp_path / "gone"))
    assert missing.code == 3 and "is not there" in missing.err
