"""How the lab's handlers and tasks fail, in PVE's words."""

from __future__ import annotations

from collections.abc import Mapping


class LabError(Exception):
    """An answer that is an error: its HTTP status, PVE's text (first line = reason phrase) and the map of parameter errors."""

    def __init__(self, status: int, reason: str, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.errors = status, reason, dict(errors or {})


class TaskDied(Exception):
    """A task ends with ``TASK ERROR: <text>``."""


class TaskVanished(Exception):
    """A task's process ends without its last line, so that its exit status reads ``unexpected status``."""


def parameter_error(**errors: str) -> LabError:
    """Return PVE's 400 for wrong parameters. Underscores in names stand for hyphens."""
    named = {name.replace("_", "-"): text for name, text in errors.items()}
    return LabError(400, "Parameter verification failed.", named)
