"""What came of a restore onto production has one word, and is good by a verdict alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from policies.compliance.facts import BroughtBack, How, Standing, TakenBack
from policies.model import OperationState

DONE, FAILED, CANCELLED = OperationState.DONE, OperationState.FAILED, OperationState.CANCELLED
ONE = BroughtBack(205, "web", "01ONE", "marie", "n1", "local:backup/a", 1, 2, DONE)


@pytest.mark.parametrize(
    ("how", "state", "verdict", "started", "word"),
    [
        (How.RESTORE, DONE, "running", True, "running"),
        (How.RESTORE, FAILED, "failed", True, "failed"),
        (How.RESTORE, DONE, "", True, "started"),
        (How.RESTORE, DONE, "", False, "done"),
        (How.RESTORE, FAILED, "", True, "error"),
        (How.RESTORE, CANCELLED, "", True, "cancelled"),
        (How.REPLACE, DONE, "running", True, "running"),
        (How.REPLACE, DONE, "", True, "inconclusive"),
        (How.REPLACE, FAILED, "running", True, "error"),
        (How.REPLACE, CANCELLED, "running", True, "cancelled"),
        (How.UNDO, DONE, "", True, "back"),
        (How.UNDO, FAILED, "", True, "error"),
    ],
)
def test_what_came_of_it_has_a_word(
    how: How, state: OperationState, verdict: str, started: bool, word: str
) -> None:
    one = replace(ONE, how=how, state=state, verdict=verdict, started=started)
    assert one.word == word


def test_a_replacement_that_somebody_set_out_to_undo_is_never_good() -> None:
    for state, verdict in product(OperationState, ("running", "failed", "")):
        one = replace(ONE, how=How.REPLACE, verdict=verdict, standing=Standing.NEW)
        undone = replace(one, taken_back=TakenBack("01UNDO", state))
        assert undone.word == ("undone" if state is DONE else "inconclusive")
