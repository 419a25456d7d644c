"""The mutations themselves: each changes one decision, none a sentence, and a trial tells whether
the tests notice.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import __main__ as examination
from tests.mutants.mutations import mutated, mutations

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''
"""A docstring."""
LIMIT = 3


def allowed(size: int, names: list[str], strict: bool = False) -> bool:
    """Another one."""
    if not names:
        raise ValueError("there is no name")
    return size < LIMIT and any(name.startswith("x") for name in names if name) or strict
'''


def told() -> list[str]:
    return [mutation.key for mutation in mutations(SOURCE)]


def test_each_decision_is_changed_in_its_own_ways() -> None:
    assert "allowed: size < LIMIT -> size <= LIMIT" in told()
    assert "module: 3 -> 4" in told()
    assert "allowed: False -> True" in told()
    assert "allowed: not names -> names" in told()
    assert "allowed: raise ValueError('there is no name') -> pass" in told()
    assert "allowed: 'x' -> 'XXx'" in told()
    assert "allowed: name.startswith('x') -> name.endswith('x')" in told()
    assert "allowed: for name in names if name -> for name in names" in told()


def test_sentences_docstrings_and_annotations_are_left_alone() -> None:
    assert not any("'there is" in key and "pass" not in key for key in told())
    assert not any("docstring" in key or "list[str]" in key for key in told())


def test_every_mutation_is_a_program_and_another_than_the_source() -> None:
    found = mutations(SOURCE)
    programs = {ast.unparse(mutated(SOURCE, mutation)) for mutation in found}
    assert len(programs) == len(found) > 12 and ast.unparse(ast.parse(SOURCE)) not in programs
    for mutation in found:
        exec(compile(mutated(SOURCE, mutation), "x.py", "exec"), {})
        assert mutation.line > 0


def test_a_modules_own_tests_are_found_by_its_name_and_come_before_those_of_another_name() -> None:
    own, neighbours = examination.tests_of("yaml_reader")
    assert own == [
        "tests/unit/policies/test_yaml_reader.py",
        "tests/unit/policies/site/test_site.py",
    ]
    assert "tests/unit/policies/site/test_checks.py" in neighbours
    assert not set(own) & set(neighbours)


def test_a_mutation_is_found_again_when_lines_before_it_have_changed() -> None:
    moved = [mutation.key for mutation in mutations("import os\n\n\n" + SOURCE)]
    assert moved == told()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "noticed"),
    [("backupsvc-", True), ("", False)],
    ids=["a mutation", "the module as it is"],
)
def test_a_trial_tells_whether_the_tests_notice(change: str, noticed: bool) -> None:
    """In a process of its own, which has imported nothing of what is on trial."""
    file = ROOT / "policies" / "ownership.py"
    script = f"""
import ast, sys
from pathlib import Path
from tests.mutants.trial import QUICK, killed
file = Path({str(file)!r})
source = file.read_text()
if {change!r}:
    source = source.replace({change!r}, "another-", 1)
    assert source != file.read_text()
tests = ["tests/unit/policies/test_ownership_marker.py"]
sys.exit(7 if killed("policies.ownership", file, ast.parse(source), tests, depth=QUICK, most=120) else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == (7 if noticed else 0), done.stderr
