"""The command ``pvelab``: where its lab lies, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backupsvc.settings import lab_settings_file
from pvelab.directories import lab_dir


def pvelab(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """What the command answers in an environment that names nothing else."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BACKUPSVC_", "PVELAB_"))
    }
    command = [sys.executable, "-m", "pvelab", *words]
    return subprocess.run(command, env=kept | env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("chosen", "place"),
    [
        ({"XDG_STATE_HOME": "/x"}, "/x/backupsvc/lab"),
        ({"XDG_STATE_HOME": "/x", "BACKUPSVC_STATE_DIR": "/s"}, "/s/lab"),
        ({"XDG_STATE_HOME": "", "HOME": "/h"}, "/h/.local/state/backupsvc/lab"),
    ],
)
def test_the_lab_lies_where_the_service_looks_for_it(
    chosen: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PVELAB_DIR", "BACKUPSVC_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    assert lab_dir() == lab_settings_file().parent == Path(place)


def test_the_directory_of_a_lab_can_be_chosen_for_itself(tmp_path: Path) -> None:
    done = pvelab("status", "--json", PVELAB_DIR=str(tmp_path), BACKUPSVC_STATE_DIR="/s")
    assert (done.returncode, json.loads(done.stdout)["directory"]) == (1, str(tmp_path))


def test_what_cannot_be_done_is_told_with_the_next_action_and_by_its_exit_code(
    tmp_path: Path,
) -> None:
    done = pvelab("fault", "list", "--json", PVELAB_DIR=str(tmp_path))
    assert done.returncode == 3
    assert json.loads(done.stdout) == {
        "error": {"message": "no lab runs here", "hint": "`pvelab up` starts one", "exit_code": 3}
    }
    assert done.stderr == "pvelab: no lab runs here\n  -> `pvelab up` starts one\n"


@pytest.mark.slow
def test_wrong_usage_is_exit_code_2_and_no_traceback(tmp_path: Path) -> None:
    for words in (
        ["up", "--hypervisor", "xen"],
        ["up", "--pve", "8.4"],
        ["up", "--scale", "2x4"],
        ["up", "--scale", "2x4", "--hypervisor", "simulated", "--guests", "104"],
        ["up", "--hypervisor", "simulated", "--guests", "104,999"],
        ["up", "--hypervisor", "simulated", "--guests", "all"],
        ["status", "--no-such-option"],
    ):
        done = pvelab(*words, PVELAB_DIR=str(tmp_path))
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), words


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    done = pvelab("up", "--hypervisor", "simulated", PVELAB_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "choose another directory with PVELAB_DIR" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]
