"""Empty catalogs: the tables are made once a process, and each test has a copy of that file. To
make them anew takes longer than most tests.
"""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from backupsvc.catalog import Catalog


@cache
def empty_catalog() -> Path:
    """An SQLite catalog without anything in it. It is copied, and never opened again."""
    directory = TemporaryDirectory(prefix="catalog-")
    atexit.register(directory.cleanup)
    path = Path(directory.name) / "catalog.db"
    Catalog.open(f"sqlite:///{path}").close()
    assert [file.name for file in path.parent.iterdir()] == [path.name], (
        "nothing of it is still in a log beside it"
    )
    return path


def new_catalog(directory: Path) -> str:
    """Given a test's directory, put an empty catalog there and return its URL."""
    path = directory / "catalog.db"
    shutil.copy(empty_catalog(), path)
    return f"sqlite:///{path}"
