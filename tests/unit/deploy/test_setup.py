"""The set-up installs what the lab says that it needs, and CI calls what the README tells a user to
call.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from pvelab.images.packages import required_apt_packages

ROOT = Path(__file__).parents[3]


def test_every_debian_package_of_the_lab_is_installed_by_the_set_up() -> None:
    line = next(
        line
        for line in (ROOT / "deploy" / "setup.sh").read_text().splitlines()
        if line.startswith("packages=")
    )
    assert set(required_apt_packages()) == set(line.removeprefix("packages=").strip('"').split())


def test_the_tests_own_debian_packages_are_installed_without_their_daemons() -> None:
    text = (ROOT / "deploy" / "setup.sh").read_text()
    packages = (
        next(line for line in text.splitlines() if line.startswith("test_packages="))
        .split('"')[1]
        .split()
    )
    tools = ["dosfstools", "mtools", "ntfs-3g", "xfsprogs", "fdisk"]  # which have no daemon
    assert packages == ["postgresql", "slapd", *tools]
    for package in packages[:2]:
        assert f"systemctl disable --quiet {package}.service" in text


def test_both_distributions_are_installed_and_again_when_what_they_need_changes() -> None:
    text = (ROOT / "deploy" / "setup.sh").read_text()
    projects = sorted(
        path.relative_to(ROOT) for path in (ROOT / "pyproject.toml", *ROOT.glob("*/pyproject.toml"))
    )
    assert [str(path) for path in projects] == ["pvelab/pyproject.toml", "pyproject.toml"]
    (condition,) = re.findall(r"^if .*\$stamp.*; then$", text, re.MULTILINE)
    assert all(f"[ {path} -nt " in condition for path in projects)
    (install,) = re.findall(r"pip install .*", text)
    assert install.endswith("--editable ./pvelab --editable '.[lab,dev]'")


@pytest.mark.slow
def test_the_lab_depends_on_what_it_imports_and_on_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pvelab" / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[ ;<>=]", line)[0].replace(".", "-") for line in project["dependencies"]}
    home = ROOT / "pvelab" / "src" / "pvelab"
    trees = [
        ast.parse(path.read_text()) for path in home.rglob("*.py") if path.name != "testing.py"
    ]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported = {name.partition(".")[0] for name in names} - {"pvelab", *sys.stdlib_module_names}
    assert needed == {"backports-zstd" if name == "backports" else name for name in imported}


def test_ci_calls_the_command_of_the_readme() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make demo" in (ROOT / "README.md").read_text()
