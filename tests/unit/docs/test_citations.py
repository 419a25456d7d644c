"""What a comment or docstring cites is in the repository: facts about PVE by number, recorded
exchanges, pages, standards.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FACTS = ROOT / "docs" / "pve-facts.md"
_FACT = re.compile(r"\bpve-facts(?:\.md)? (\d+(?:\.\d+)?(?:, \d+(?:\.\d+)?)*)")
_HEADING = re.compile(r'^(?:##|###) <a id="([\d.]+)"></a>([\d.]+?)\.? \S', re.MULTILINE)
_SCENE = re.compile(r"\b\d\d[a-c]?_[a-z]+(?:_[a-z]+)*\b")
_PAGE = re.compile(r"[\w./-]+\.md\b")
_NUMBERED = re.compile(r"\b([A-Z][A-Z_]{2,})(?: section)? [A-Z]?\d")
# standards, and names that a number follows
_NO_PAGES = frozenset({"RFC", "ISO", "UAX", "PVE", "QEMU", "VLAN", "VMID"})


@cache
def sources() -> tuple[Path, ...]:
    """The Python files of the project."""
    rooms = [ROOT / name for name in ("policies", "backupsvc", "workers", "pvelab", "tests")]
    found = (path for room in rooms for path in room.rglob("*.py"))
    return tuple(sorted(found))


def prose(path: Path) -> Iterator[str]:
    """The comments and docstrings of a file."""
    with path.open("rb") as file:
        yield from (
            token.string
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT
        )
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


@cache
def facts() -> list[str]:
    """The numbers of the page's facts and chapters, in its order."""
    pairs = _HEADING.findall(FACTS.read_text(encoding="utf-8"))
    assert all(anchor == number for anchor, number in pairs), "an anchor is its heading's number"
    return [anchor for anchor, _ in pairs]


def unknown(text: str) -> list[str]:
    """What a text cites that is not there."""
    numbers, known = (
        facts(),
        {path.stem for path in (ROOT / "tests" / "golden" / "recorded_real").glob("*.json")},
    )
    cited = [number for found in _FACT.findall(text) for number in found.split(", ")]
    return [
        *(f"pve-facts {number}" for number in cited if number not in numbers),
        *(scene for scene in _SCENE.findall(text) if scene not in known),
        *(page for page in _PAGE.findall(text) if not (ROOT / page).is_file()),
        *(page for page in _NUMBERED.findall(text) if page not in _NO_PAGES),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("room", ["policies", "backupsvc", "workers", "pvelab", "tests"])
def test_every_citation_of_a_comment_or_docstring_is_in_the_repository(room: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)}: {citation}"
        for path in sources()
        if path.is_relative_to(ROOT / room) and path != Path(__file__)
        for text in prose(path)
        for citation in unknown(text)
    }
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        "see pve-facts 99.1",
        "(pve-facts 1.1, 0.1)",
        "as in 99_nowhere 3",
        "docs/nowhere.md",
        "NOWHERE section 4",
        "SOME_PAGE 0.1",
    ],
)
def test_a_citation_of_nothing_is_seen(text: str) -> None:
    assert unknown(text)


@pytest.mark.parametrize(
    "text",
    ["(pve-facts 1.1, 4.1)", "pve-facts 6.", "05_restore_ok 63", "docs/pve-facts.md", "RFC 8878"],
)
def test_a_citation_of_what_is_there_is_let_be(text: str) -> None:
    assert not unknown(text)


def test_no_fact_has_the_number_of_another_and_each_stands_in_its_chapter() -> None:
    numbers = facts()
    assert len(numbers) == len(set(numbers))
    chapter = ""
    for number in numbers:
        chapter = chapter if "." in number else number
        assert number.split(".")[0] == chapter


def test_every_fact_says_where_it_was_read_or_seen() -> None:
    page = FACTS.read_text(encoding="utf-8")
    blocks = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    for block in blocks:
        text = block.split("\n## ")[0]
        assert re.search(r"\bRead:|\b[Ss]een\b|\bwas run\b", text), text.splitlines()[0]
