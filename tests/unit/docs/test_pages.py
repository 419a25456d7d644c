"""What the pages point to is there: links, files, and the tests of each law."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.unit.docs.pages import ROOT, anchors, links, named_files, pages, prose, slug

ARCHITECTURE = ROOT / "docs" / "architecture.md"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def laws() -> dict[int, str]:
    """The laws' sections, by number."""
    parts = re.split(r"^### Law (\d+): .+$", prose(ARCHITECTURE), flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


@pytest.mark.parametrize(
    "page", [page for page in pages() if page.name != "CHANGELOG.md"], ids=name_of
)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    assert [name for name in named_files(prose(page)) if not (ROOT / name).exists()] == []


def test_the_architecture_has_all_ten_laws_in_order() -> None:
    assert list(laws()) == list(range(1, 11))


def test_the_layers_of_the_architecture_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    block = re.findall(
        r"^    (.+)$", prose(ARCHITECTURE).partition("## Operations")[0], re.MULTILINE
    )
    assert block == [layer.replace("backupsvc.", "") for layer in layers]


def test_every_package_of_the_service_is_a_room_of_the_architecture() -> None:
    rooms = named_files(prose(ARCHITECTURE).partition("## Operations")[0])
    packages = [
        path.parent.relative_to(ROOT).as_posix() + "/"
        for path in (ROOT / "backupsvc").glob("*/__init__.py")
    ]
    assert packages and set(packages) <= set(rooms)


@pytest.mark.parametrize("law", range(1, 11))
def test_each_law_names_where_it_is_held_and_tests_that_bear_its_number(law: int) -> None:
    text = laws()[law]
    files = named_files(text)
    assert any(not name.startswith("tests/") for name in files)
    tests = [name for name in files if name.startswith("tests/")]
    assert tests
    for name in tests:
        assert f"def test_law_{law}_" in (ROOT / name).read_text(encoding="utf-8"), name


def test_every_decision_record_is_in_the_list_and_has_its_four_parts() -> None:
    folder = ROOT / "docs" / "adr"
    records = sorted(folder.glob("[0-9]*.md"))
    assert records
    listed = links(folder / "README.md")
    for number, record in enumerate(records, start=1):
        text = record.read_text(encoding="utf-8")
        assert record.name in listed
        assert record.name.startswith(f"{number:04}-") and text.startswith(f"# {number:04}. ")
        assert re.search(r"^Status: (accepted|overruled by \d{4})$", text, re.MULTILINE)
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["What was the matter", "What was decided", "What follows"]


def test_anchors_are_those_of_the_forge() -> None:
    assert slug("What happened? `operations show`") == "what-happened-operations-show"
    assert slug('<a id="1.2"></a>1.2 Values in calls') == "12-values-in-calls"
