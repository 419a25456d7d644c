"""Folders of work that a killed process left under the state directory."""

from __future__ import annotations

import shutil
from pathlib import Path

_LEFT_S = 86_400  # seconds after which such a folder is nobody's


def forget_left(state: Path, prefix: str, at: int) -> None:
    """Given the state directory, how the folders' names begin and the time (epoch seconds), remove
    those that are nobody's.
    """
    for left in state.glob(f"{prefix}*"):
        if left.stat().st_mtime < at - _LEFT_S:
            shutil.rmtree(left, ignore_errors=True)
