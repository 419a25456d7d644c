"""The cluster's backup jobs, by id, kept in one file."""

from __future__ import annotations

import json
import re
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

    def forget_guest(self, vmid: int) -> None:
        """Take a guest out of the lists of all jobs, as a deletion with ``purge`` does: a job that
        named it alone goes with it (pve-facts 8.7).
        """
        with self._mutex:
            for name, job in list(self.entries.items()):
                field = "vmid" if job.get("vmid") else "exclude"
                listed = [one for one in re.split(r"[,;\s]+", str(job.get(field, ""))) if one]
                rest = ",".join(one for one in listed if one != str(vmid))
                if rest:
                    job[field] = rest
                elif listed and field == "vmid":
                    del self.entries[name]
                elif listed:
                    del job[field]
        self.save()

    def save(self) -> None:
        """Write all jobs to the file."""
        with self._mutex:
            fresh = self._path.with_suffix(".tmp")
            fresh.write_text(json.dumps(self.entries, indent=1))
            fresh.replace(self._path)
