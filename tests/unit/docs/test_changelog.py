"""The files of changelog.d are named and written so that a release can put them into
CHANGELOG.md.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.unit.docs.pages import ROOT

FOLDER = ROOT / "changelog.d"
TOOL: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "towncrier"
]
KINDS = [kind["directory"] for kind in TOOL["type"]]


def problem(name: str, text: str) -> str | None:
    """What is wrong with a file of that name and text; None if nothing is."""
    if not re.fullmatch(rf"(\d+|\+[a-z0-9-]+)\.({'|'.join(KINDS)})\.md", name):
        return f"its name is not NUMBER.KIND.md or +WORDS.KIND.md, KIND one of {', '.join(KINDS)}"
    if not text.strip() or "\n\n" in text.strip():
        return "it is one paragraph"
    return "a list's dash is put in by itself" if text.startswith(("-", "*", "#")) else None


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_each_file_says_one_thing_under_a_kind(path: Path) -> None:
    if path.name not in TOOL["ignore"]:
        assert problem(path.name, path.read_text(encoding="utf-8")) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("128.feature.md", "A word."),
        ("a word.fixed.md", "A word."),
        ("128.fixed.md", "\n"),
        ("128.fixed.md", "One.\n\nTwo."),
        ("+x.fixed.md", "- One."),
    ],
)
def test_a_file_that_fits_nowhere_is_seen(name: str, text: str) -> None:
    assert problem(name, text)


def test_a_release_finds_where_to_put_them() -> None:
    assert (ROOT / TOOL["filename"]).read_text(encoding="utf-8").count(TOOL["start_string"]) == 1
    assert ROOT / TOOL["directory"] == FOLDER


def test_the_readme_of_the_folder_names_every_kind() -> None:
    told = re.findall(
        r"^\| `(\w+)` \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert told == KINDS
