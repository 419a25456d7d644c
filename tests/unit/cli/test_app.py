"""The command tree keeps its contract: light to load, every command documented, JSON for those that
read.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from backupsvc.cli.app import build

REFERENCE = (
    (Path(__file__).parents[3] / "docs" / "reference.md").read_text(encoding="utf-8").splitlines()
)
HEAVY = (
    "proxmoxer",
    "requests",
    "sqlmodel",
    "sqlalchemy",
    "alembic",
    "paramiko",
    "celery",
    "pydantic",
    "jinja2",
    "starlette",
    "yaml",
)


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command of the tree, with its words."""
    group = group or typer.main.get_command(build())
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


TREE = dict(commands())


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from backupsvc.cli.app import build; build(); print(*sorted(set(sys.modules) "
        "& set(sys.argv[1:])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *HEAVY], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", sorted(TREE))
def test_every_command_says_what_it_does_and_so_do_its_options(name: str) -> None:
    assert TREE[name].help
    for option in TREE[name].params:
        if option.param_type_name == "option" and option.name != "help":
            assert option.help, f"{name}: --{option.name} has no help"


@pytest.mark.parametrize("name", sorted(TREE))
def test_every_command_stands_in_the_reference(name: str) -> None:
    assert f"### {name}" in REFERENCE


@pytest.mark.parametrize("name", sorted(set(TREE) - {"demo", "retention simulate"}))
def test_every_command_answers_in_json(name: str) -> None:
    options = {word for option in TREE[name].params for word in option.opts}
    assert "--json" in options


@pytest.mark.parametrize("name", ["backup run", "prune", "restore", "restore-test"])
def test_every_command_that_changes_the_cluster_can_be_tried_dry(name: str) -> None:
    assert "--dry-run" in {word for option in TREE[name].params for word in option.opts}
