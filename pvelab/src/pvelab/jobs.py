"""The cluster's backup jobs, by id, kept in one file."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any


class Jobs:
    """PVE's own vzdump jobs: ``entries`` maps a job's id to its parameters as PVE stores them."""

    def __init__(self, path: Path) -> None:
        self._path, self._mutex = path, threading.RLock()
        self.entries: dict[str, dict[str, Any]] = (
            json.loads(path.read_text()) if path.is_file() else {}
        )

    def save(self) -> None:
        """Write all jobs to the file."""
        with self._mutex:
            fresh = self._path.with_suffix(".tmp")
            fresh.write_text(json.dumps(self.entries, indent=1))
            fresh.replace(self._path)
