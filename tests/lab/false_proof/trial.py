"""What is asked of every cell of the matrix."""

from __future__ import annotations

import re

import pytest

from tests.commands import Answer
from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import Cell, Words
from tests.lab.false_proof.stage import IMPATIENT, SET_CLOCK, Stage, said

# what an arrangement may ask for in place of words
PROCESSES = {"clock": SET_CLOCK, "impatient": IMPATIENT}


def named(**groups: tuple[Cell, ...]) -> list[object]:
    """Given groups of cells, return them as parameters of a test, with names."""
    return [
        pytest.param(cell, id=f"{group}: {cell.name}")
        for group, row in groups.items()
        for cell in row
    ]


def try_out(stage: Stage, cell: Cell) -> None:
    """Test a guest while its cell's falsehood holds: right verdict, cause and exit code, production
    untouched, nothing left.
    """
    before = stage.production()
    try:
        with cells.for_guest(cell)(stage) as words:
            found = _tested(stage, cell.vmid, words)
    finally:
        stage.moments.clear()
    assert found.out, found.err
    told = found.json
    outcome = (told.get("verdict"), told.get("cause"), found.code)
    assert outcome == (cell.verdict, cell.cause, cell.code), found.out + found.err
    assert re.search(cell.says, said(found)), said(found)
    assert stage.production() == before
    assert stage.left_behind() == []


def _tested(stage: Stage, vmid: int, words: Words) -> Answer:
    if words and words[0] in PROCESSES:
        return stage.in_process(PROCESSES[str(words[0])], words[1], "restore-test", vmid, "--json")
    return stage.shell("restore-test", vmid, *words, "--json")
