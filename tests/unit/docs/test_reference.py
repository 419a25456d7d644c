"""docs/reference.md is what the code says, and pages that say more say nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backupsvc import setting_names
from backupsvc.settings import Settings
from policies.compliance.findings import RULES
from tests import reference
from tests.unit.docs.pages import ROOT, pages


def test_the_reference_is_as_the_code_is() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run `make docs`"


def test_every_error_of_the_tree_has_its_exit_code_there() -> None:
    page = reference.page()
    for code, name in (
        (2, "UsageError"),
        (2, "PolicyError"),
        (3, "PveUnreachable"),
        (4, "LawRefused"),
        (1, "TaskFailed"),
    ):
        row = next(line for line in page.splitlines() if line.startswith(f"| {code} |"))
        assert f"`{name}`" in row


def test_every_finding_has_a_sentence_there() -> None:
    assert all(reference.forms(rule.id) for rule in RULES)


def test_the_severities_of_the_findings_page_are_those_of_the_code() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([\w ]+) \|",
        (ROOT / "docs" / "findings.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    told = {id: set(words.split(" or ")) for id, words in rows if id in {rule.id for rule in RULES}}
    assert told == {
        rule.id: {rule.severity_of(key.partition(".")[2]) for key in reference.forms(rule.id)}
        for rule in RULES
    }


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_variable_that_a_page_names_is_a_setting(page: Path) -> None:
    text = (
        page.read_text(encoding="utf-8").replace("<NODE>", "NODE").replace("__NODE__", "__A_NODE__")
    )
    named = set(re.findall(r"\bBACKUPSVC_[A-Z][A-Z_]*[A-Z]\b", text))
    assert setting_names.unknown(Settings, named) == []
