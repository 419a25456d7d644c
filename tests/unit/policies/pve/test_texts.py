"""Each text of PVE that a decision hangs on is recognised in both generations, and taken for no
other.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from policies.pve import texts
from policies.pve.texts import TABLE

ROOT = Path(__file__).parents[4]
GOLDEN: dict[str, dict[str, list[str]]] = json.loads(
    (ROOT / "tests" / "golden" / "pve_texts.json").read_text("utf-8")
)
RECORDED = ROOT / "tests" / "golden" / "recorded_real"
# where the texts are used, and no literal of its own may stand any more
USERS = (
    "policies/pve/vzdump_log.py",
    "policies/causes.py",
    "backupsvc/pve/answers.py",
    "backupsvc/pve/agent.py",
    "backupsvc/pve/scratch.py",
)


@pytest.mark.parametrize("generation", ["9.0", "9.2"])
@pytest.mark.parametrize("name", TABLE)
def test_a_text_is_recognised_as_each_generation_prints_it(name: str, generation: str) -> None:
    assert bool(GOLDEN[name][generation]) == (generation in TABLE[name].versions)
    for said in GOLDEN[name][generation]:
        assert TABLE[name].search(said), said


@pytest.mark.parametrize("name", TABLE)
def test_a_text_is_taken_for_no_other(name: str) -> None:
    assert GOLDEN[name]["not"]
    for said in GOLDEN[name]["not"]:
        assert not TABLE[name].search(said), said


def test_the_table_and_what_is_known_of_it_name_the_same_texts() -> None:
    assert set(TABLE) == set(GOLDEN)
    assert all(text.source and text.meaning and text.versions for text in TABLE.values())


def test_just_the_texts_that_stand_in_a_recording_of_a_real_server_are_called_recorded() -> None:
    said: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, str):
            said.extend(value.splitlines())
            if value.startswith("TASK ERROR: "):
                said.append(value.removeprefix("TASK ERROR: "))
        for item in (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        ):
            walk(item)

    for path in RECORDED.glob("*.json"):
        walk(json.loads(path.read_text("utf-8")))
    assert said
    found = {text.name for text in TABLE.values() if any(text.search(line) for line in said)}
    assert found == {text.name for text in TABLE.values() if text.recorded}


@pytest.mark.parametrize("module", USERS)
def test_who_decides_by_a_text_has_no_pattern_of_its_own(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text("utf-8"))
    used = {node.module if isinstance(node, ast.ImportFrom) else name.name for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom) for name in node.names}  # fmt: skip
    assert "re" not in used


def test_no_text_stands_in_the_table_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        texts._text("guest-gone", "x", "x", "x")


def test_a_text_is_found_among_lines_wherever_it_stands_in_them_and_nowhere_else() -> None:
    lines = [
        "INFO: status = running",
        "ERROR: Backup of VM 108 failed - full",
        "TASK OK",
        "ERROR: Backup of VM 109 failed - locked",
    ]
    assert [found[1] for found in texts.GUEST_FAILED.among(lines)] == ["108", "109"]
    assert list(texts.GUEST_FAILED.among([])) == []


def test_a_text_is_called_recorded_only_where_that_is_said() -> None:
    text = texts.Text("x", texts.GUEST_FAILED.pattern, "what it means", "who prints it")
    assert (text.recorded, text.versions) == (False, "9.0, 9.2")
