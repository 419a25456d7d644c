"""The matrix, its first half: an archive, a check or an answer that is false never proves
anything.
"""

from __future__ import annotations

import pytest

from tests.lab.false_proof.cells import Cell
from tests.lab.false_proof.groups import answer, archive, bridge, checks, life, platform
from tests.lab.false_proof.stage import Stage
from tests.lab.false_proof.trial import named, try_out

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(
    "cell", named(archive=archive.CELLS, answer=answer.CELLS, checks=checks.CELLS)
)
def test_law_5_nothing_false_is_proven(stage: Stage, cell: Cell) -> None:
    try_out(stage, cell)


def test_the_same_archives_are_proven_once_nothing_is_false(stage: Stage) -> None:
    for vmid in (104, 105, 108):
        answer = stage.shell("restore-test", vmid, "--json")
        assert (answer.code, answer.json["verdict"], answer.json["cause"]) == (0, "proven", None), (
            answer.out
        )
    assert stage.left_behind() == []


def test_the_matrix_has_forty_cells_and_more() -> None:
    groups = (archive, bridge, answer, life, platform, checks)
    assert sum(len(group.CELLS) for group in groups) >= 40
