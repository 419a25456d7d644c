"""``backupsvc lab`` forwards to pvelab: the same commands in the service's directory, with the
service's words and exit codes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import pvelab.errors
from backupsvc.cli import lab
from backupsvc.cli.app import build
from backupsvc.errors import BackupsvcError, OperationFailed, Unreachable, UsageError
from pvelab.commands import app as theirs
from tests.commands import Shell


def shown(group: Any, words: str = "") -> dict[str, tuple[str, list[list[str]]]]:
    """Every command below a group: its help, and the words of its parameters."""
    found = {words: (group.help, [option.opts for option in group.params])}
    for name, command in getattr(group, "commands", {}).items():
        found |= shown(command, f"{words} {name}")
    return found


def test_the_commands_are_those_of_pvelab() -> None:
    tree: Any = typer.main.get_command(build(["lab"]))
    assert shown(tree.commands["lab"]) == shown(typer.main.get_command(theirs))


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (pvelab.errors.UsageError, UsageError),
        (pvelab.errors.Unreachable, Unreachable),
        (pvelab.errors.StartFailed, OperationFailed),
        (pvelab.errors.PvelabError, OperationFailed),
    ],
)
def test_an_error_of_the_lab_is_one_of_the_service_with_the_same_exit_code(
    raised: type[pvelab.errors.PvelabError], kind: type[BackupsvcError]
) -> None:
    with pytest.raises(BackupsvcError) as caught, lab.lab_errors():
        raise raised("no, as `pvelab status` says", "`pvelab up`, or another PVELAB_DIR")
    assert (type(caught.value), caught.value.exit_code) == (kind, raised.exit_code)
    assert caught.value.message == "no, as `backupsvc lab status` says"
    assert caught.value.hint == "`backupsvc lab up`, or another BACKUPSVC_STATE_DIR"


def test_the_lab_is_looked_for_where_the_service_looks_for_it(tmp_path: Path) -> None:
    answer = Shell(tmp_path)("lab", "status", "--json", PVELAB_DIR="/nowhere/else")
    assert (answer.code, answer.json["directory"]) == (1, str(tmp_path / "lab"))


def test_where_no_lab_runs_the_way_to_one_is_told_in_the_words_of_the_service(
    tmp_path: Path,
) -> None:
    answer = Shell(tmp_path)("lab", "fault", "list", "--json")
    assert answer.code == 3
    assert answer.json == {
        "schema": "error/1",
        "error": {
            "message": "no lab runs here",
            "hint": "`backupsvc lab up` starts one",
            "exit_code": 3,
        },
    }
    assert answer.err.splitlines() == [
        "backupsvc: no lab runs here",
        "  -> `backupsvc lab up` starts one",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["lab", "up"], ["lab", "fault", "list"], ["lab", "status", "--json"], ["demo"]]
)
def test_without_pvelab_its_commands_say_what_to_install_and_all_others_work(
    words: list[str], tmp_path: Path
) -> None:
    hidden = (
        "import sys; sys.modules['pvelab'] = None; import backupsvc.cli; sys.argv[1:] = {!r}; "
        "backupsvc.cli.main()"
    )

    def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        script = hidden.format(arguments)
        return subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env={"HOME": str(tmp_path)},
            check=False,
        )

    done = run(words)
    assert done.returncode == 2
    assert "the lab is not installed here" in done.stderr
    assert "pip install ./pvelab" in done.stderr
    assert run(["--help"]).returncode == 0


@pytest.mark.slow
def test_up_saves_what_the_service_reads_with_the_policy_of_the_site(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    try:
        up = shell("lab", "up", "--hypervisor", "simulated")
        assert up.code == 0, up.err
        saved = json.loads((tmp_path / "lab" / "settings.json").read_text(encoding="utf-8"))
        assert list(saved) == [
            "lab",
            "simulated",
            "pve",
            "api",
            "catalog",
            "policy",
            "ssh",
            "outside",
        ]
        assert f"export BACKUPSVC_POLICY={saved['policy']}" in up.out.splitlines()
        shown = shell("policy", "show")
        assert (shown.code, "langeo" in shown.out) == (0, True)
    finally:
        shell("lab", "down")
