"""Run the command line as a user does: a process of its own, an environment of its own, one JSON object back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code, and its two outputs."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, read as one JSON object."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """A user with a state directory and an environment."""

    state: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: object, stdin: str | None = None, timeout: float = 240, **env: str) -> Answer:
        """Given a command's words, run it and return its answer."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
        settings = {"BACKUPSVC_STATE_DIR": str(self.state), "COLUMNS": "200"} | self.env | env
        done = subprocess.run(
            [sys.executable, "-m", "backupsvc", *map(str, words)],
            env=kept | settings, input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return Answer(done.returncode, done.stdout, done.stderr)
