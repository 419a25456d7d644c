"""Where copies are harmed: in memory, where the machine has such a place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder of the test's own, for small files. Each of thousands of states is written, flushed
    and removed, which on a disk takes longer than what is tested.
    """
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=MEMORY, prefix="fuzz-") as made:
        yield Path(made)
