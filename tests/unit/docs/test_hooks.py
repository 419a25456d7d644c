"""The hooks of .pre-commit-config.yaml call what `make setup` installs, and nothing from
elsewhere.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.docs.pages import ROOT

REPOSITORIES: list[dict[str, Any]] = yaml.safe_load(
    (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
)["repos"]
HOOKS = [hook for repository in REPOSITORIES for hook in repository["hooks"]]


def test_every_hook_is_of_this_repository() -> None:
    assert [repository["repo"] for repository in REPOSITORIES] == ["local"]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_calls_a_tool_of_the_virtual_environment(hook: dict[str, Any]) -> None:
    program, *_ = hook["entry"].split()
    assert hook["language"] == "system"
    assert Path(program).parent == Path(".venv/bin")
    assert (Path(sys.executable).parent / Path(program).name).exists(), (
        "the tools of the extra `dev` have it"
    )


def test_what_make_lint_checks_is_a_hook_too() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lint = makefile.partition("\nlint: setup\n")[2].partition("\n\n")[0]
    checked = {
        " ".join(line.split()).replace(" --check", "").removesuffix(" .")
        for line in lint.splitlines()
    }
    assert checked
    assert checked <= {hook["entry"].replace(" --force-exclude", "") for hook in HOOKS}
