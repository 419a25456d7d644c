"""The matrix: whatever is false about an archive, its network, its answers or its platform, its restore test never proves it."""

from __future__ import annotations

import re

import pytest

from tests.lab.false_proof import cells
from tests.lab.false_proof.cells import Cell
from tests.lab.false_proof.groups import answer, archive, bridge, checks, life, platform
from tests.lab.false_proof.stage import Stage, said

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

GROUPS = {
    "archive": archive.CELLS,
    "bridge": bridge.CELLS,
    "answer": answer.CELLS,
    "life": life.CELLS,
    "platform": platform.CELLS,
    "checks": checks.CELLS,
}
CELLS = [pytest.param(cell, id=f"{group}: {cell.name}") for group, row in GROUPS.items() for cell in row]


@pytest.mark.parametrize("cell", CELLS)
def test_law_5_nothing_false_is_proven(stage: Stage, cell: Cell) -> None:
    before, started = stage.production(), stage.starts()
    with cells.for_guest(cell)(stage) as words:
        clock = words[1] if words[:1] == ("clock",) else None
        asked = ("restore-test", cell.vmid, *(() if clock else words), "--json")
        found = stage.with_set_clock(clock, *asked) if clock else stage.shell(*asked)
    stage.moments.clear()
    told = found.json
    outcome = (told.get("verdict"), told.get("cause"), found.code)
    assert outcome == (cell.verdict, cell.cause, cell.code), found.out + found.err
    assert re.search(cell.says, said(found)), said(found)
    assert stage.production() == before
    assert stage.left_behind() == []
    if cell in bridge.CELLS:
        assert stage.starts() == started  # law 2: it never ran


def test_the_same_archives_are_proven_once_nothing_is_false(stage: Stage) -> None:
    for vmid in (104, 105, 108):
        answer = stage.shell("restore-test", vmid, "--json")
        assert (answer.code, answer.json["verdict"], answer.json["cause"]) == (0, "proven", None), answer.out
    assert stage.left_behind() == []
