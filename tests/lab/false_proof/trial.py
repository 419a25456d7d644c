"""What is asked of every cell of the matrix."""

from __future__ import annotations

import re

import pytest

from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import Cell
from tests.lab.false_proof.stage import Stage, said


def named(**groups: tuple[Cell, ...]) -> list[object]:
    """Given groups of cells, return them as parameters of a test, with names."""
    return [pytest.param(cell, id=f"{group}: {cell.name}") for group, row in groups.items() for cell in row]


def try_out(stage: Stage, cell: Cell) -> None:
    """Test a guest while its cell's falsehood holds: right verdict, cause and exit code, production untouched, nothing left."""
    before = stage.production()
    with cells.for_guest(cell)(stage) as words:
        clock = words[1] if words[:1] == ("clock",) else None
        asked = ("restore-test", cell.vmid, *(() if clock else words), "--json")
        found = stage.with_set_clock(clock, *asked) if clock else stage.shell(*asked)
    stage.moments.clear()
    assert found.out, found.err
    told = found.json
    outcome = (told.get("verdict"), told.get("cause"), found.code)
    assert outcome == (cell.verdict, cell.cause, cell.code), found.out + found.err
    assert re.search(cell.says, said(found)), said(found)
    assert stage.production() == before
    assert stage.left_behind() == []
