"""That a file which changes a constant for its whole process is noticed."""

from __future__ import annotations

import pytest

from backupsvc.operations.ha_drill import travelling
from tests.constants import changed, constants

NAME = "backupsvc.operations.ha_drill.travelling.HEEDED_S"


def test_a_constant_that_is_another_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before = constants()
    assert NAME in before and changed(before, constants()) == []
    monkeypatch.setattr(travelling, "HEEDED_S", 2.0)
    assert changed(before, constants()) == [NAME]


def test_a_function_that_is_another_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before = constants()
    monkeypatch.setattr(travelling, "where", lambda run: None)
    assert changed(before, constants()) == ["backupsvc.operations.ha_drill.travelling.where"]
