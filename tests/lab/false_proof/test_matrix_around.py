"""The matrix, its second half: a bridge, a copy's life or a platform that is not what it seems
never proves anything.
"""

from __future__ import annotations

import pytest

from tests.lab.false_proof.cells import Cell
from tests.lab.false_proof.groups import bridge, life, platform
from tests.lab.false_proof.stage import Stage
from tests.lab.false_proof.trial import named, try_out

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("cell", named(life=life.CELLS, platform=platform.CELLS))
def test_law_5_nothing_false_is_proven(stage: Stage, cell: Cell) -> None:
    try_out(stage, cell)


@pytest.mark.parametrize("cell", named(bridge=bridge.CELLS))
def test_law_2_no_copy_starts_where_it_could_meet_production(stage: Stage, cell: Cell) -> None:
    started = stage.starts()
    try_out(stage, cell)
    assert stage.starts() == started
