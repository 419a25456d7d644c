"""``restore-test`` by hand is not bound to the window of scheduled tests, and says so when it is
outside.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from backupsvc.cli import restore_test
from policies import windows
from policies.model import Scratch

NOON = 1_773_140_400  # 2026-03-10 12:00 in Paris


def said(capsys: pytest.CaptureFixture[str], window: str | None) -> str:
    scratch = Scratch(9000, 9009, window=windows.parse(window) if window else None)
    service: Any = SimpleNamespace(
        clock=SimpleNamespace(now=lambda: NOON),
        policy=SimpleNamespace(scratch=scratch, timezone="Europe/Paris"),
    )
    restore_test._say_if_outside(service)
    return capsys.readouterr().err


def test_a_test_by_hand_outside_the_window_is_told_and_inside_it_nothing_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "outside the window for scheduled restore tests (01:00-06:00)" in said(
        capsys, "01:00-06:00"
    )
    assert said(capsys, "11:00-13:00") == "" and said(capsys, None) == ""
