"""The HA manager's configuration: resources by service id, groups and rules, kept in one file."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any


class Ha:
    """HA resources (``vm:108`` -> state, max_restart, ...) and rules. ``master`` is the node whose CRM leads, None without HA."""

    def __init__(self, path: Path) -> None:
        self._path, self._mutex = path, threading.RLock()
        stored = json.loads(path.read_text()) if path.is_file() else {}
        self.resources: dict[str, dict[str, Any]] = stored.get("resources", {})
        self.rules: dict[str, dict[str, Any]] = stored.get("rules", {})
        self.master: str | None = stored.get("master")

    def save(self) -> None:
        """Write everything to the file."""
        with self._mutex:
            fresh = self._path.with_suffix(".tmp")
            fresh.write_text(json.dumps({"resources": self.resources, "rules": self.rules, "master": self.master}, indent=1))
            fresh.replace(self._path)

    def manages(self, vmid: int) -> bool:
        """Say whether a guest is an HA resource."""
        return f"vm:{vmid}" in self.resources
