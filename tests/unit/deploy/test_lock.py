"""requirements.lock has what pyproject.toml wants of the application, each in one version that
fits, by hash.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WANTED = [
    Requirement(line)
    for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["postgres"])
]
PINNED = [line.partition(" \\")[0] for line in LOCK.splitlines() if re.match(r"[a-zA-Z0-9]", line)]


def pins() -> dict[str, list[str]]:
    """The pinned versions of each package; several where they differ by platform or Python."""
    found: dict[str, list[str]] = {}
    for line in PINNED:
        requirement = Requirement(line)
        (only,) = requirement.specifier
        assert only.operator == "==", line
        found.setdefault(canonicalize_name(requirement.name), []).append(only.version)
    return found


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.name)
def test_every_dependency_of_the_application_is_pinned_within_its_range(
    wanted: Requirement,
) -> None:
    versions = pins().get(canonicalize_name(wanted.name), [])
    assert versions, "run `make lock`"
    assert all(wanted.specifier.contains(version) for version in versions), (
        f"{wanted} is pinned to {versions}: run `make lock`"
    )


def test_every_pin_has_hashes() -> None:
    blocks = re.split(r"^(?=[a-zA-Z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(PINNED)
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_lock_names_no_place_to_fetch_from() -> None:
    assert "://" not in LOCK
    assert "index-url" not in LOCK


def test_the_image_installs_by_the_lock_alone() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    installs = [line for line in dockerfile.splitlines() if "pip install" in line]
    assert [("--require-hashes" in line, "--no-deps" in line) for line in installs] == [
        (True, False),
        (False, True),
    ]
