"""What ``doctor`` says of the copy targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.copies.directory import DirectoryTarget
from backupsvc.copies.target import Space
from backupsvc.doctor import copy_targets
from backupsvc.settings import SshSettings
from policies.model import CopyTarget, Directory, PveStorage
from policies.site import load_policy


def looked(*targets: CopyTarget, ssh: SshSettings | None = None) -> list[tuple[str, str, int]]:
    """Status, detail and exit code of each target's line."""
    from backupsvc.remote.connections import NodeConnections

    ssh = ssh or SshSettings()
    service: Any = SimpleNamespace(
        policy=replace(load_policy("site: x", "x"), copies=targets),
        nodes=NodeConnections(ssh),
        settings=SimpleNamespace(ssh=ssh),
    )
    lines = list(copy_targets.look(service))
    assert {line.name for line in lines} <= {"copy targets"}
    assert all(line.action for line in lines if line.status != "ok")
    return [(line.status, line.detail, line.exit_code) for line in lines]


def test_without_targets_nothing_is_said() -> None:
    assert looked() == []


def test_a_target_says_how_many_copies_it_has_and_what_is_free(tmp_path: Path) -> None:
    for name in ("a.vma.zst", "a.vma.zst.copy.json", ".b.vma.zst.part"):
        (tmp_path / name).write_bytes(b"x")
    ((status, detail, _),) = looked(CopyTarget("usb", Directory(str(tmp_path))))
    assert status in ("ok", "warning")  # this machine's disk may be full
    assert detail.startswith(f"usb ({tmp_path}) lets us in; copies there: 1; free: ")
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        ".b.vma.zst.part",
        "a.vma.zst",
        "a.vma.zst.copy.json",
    ]


@pytest.mark.parametrize(
    ("space", "status", "said"),
    [
        (Space(5 << 30, 100 << 30), "ok", "; free: 5.0 GiB of 100.0 GiB"),
        (Space((5 << 30) - 1, 100 << 30), "warning", "of 100.0 GiB"),
        (Space(0, 0), "ok", "; free: 0 B of 0 B"),
        (None, "ok", "; it does not tell its free space"),
    ],
)
def test_a_target_that_is_nearly_full_is_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    space: Space | None,
    status: str,
    said: str,
) -> None:
    monkeypatch.setattr(DirectoryTarget, "space", lambda self: space)
    ((found, detail, _),) = looked(CopyTarget("usb", Directory(str(tmp_path))))
    assert (found, detail.endswith(said)) == (status, True), detail


def test_each_target_that_does_not_let_us_in_is_named_and_the_others_are_looked_at(
    tmp_path: Path,
) -> None:
    missing = CopyTarget("gone", Directory(str(tmp_path / "gone")))
    unreached = CopyTarget("pve02", PveStorage("lge-pve02", "local", "/var/lib/vz/dump"))
    there = CopyTarget("usb", Directory(str(tmp_path)))
    root = SshSettings(nodes={"lge-pve02": "127.0.0.1:1"}, user="root", key_file=tmp_path / "k")
    found = looked(missing, unreached, there)
    assert [(status, code) for status, _, code in found][:2] == [("failed", 3), ("failed", 2)]
    assert "is not there" in found[0][1] and "no SSH is configured" in found[1][1]
    assert found[2][1].startswith("usb ")
    ((status, detail, code),) = looked(unreached, ssh=root)
    assert (status, code) == ("failed", 4) and "root" in detail
