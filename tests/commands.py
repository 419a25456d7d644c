"""Run the command line as a user does: a process of its own, an environment of its own, one JSON
object back.

That process is forked from one that has imported everything (tests/warm.py), where nothing depends
on how it begins.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import warm


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


def briefly(policy: str, settle: str = "1s") -> str:
    """Given a policy's text, return it with a second of ``settle``, where sites take half a
    minute.
    """
    assert "\nscratch:\n" in policy
    return policy.replace("\nscratch:\n", f"\nscratch:\n  settle: {settle}\n", 1)


def settle_briefly(state: Path, settle: str = "1s") -> None:
    """Given a user's state directory with a lab that is up, let its policy be the same one, with a
    short ``settle``.
    """
    settings = state / "lab" / "settings.json"
    found = json.loads(settings.read_text(encoding="utf-8"))
    policy = Path(found["policy"])
    brief = state / "lab" / policy.name
    brief.write_text(briefly(policy.read_text(encoding="utf-8"), settle), encoding="utf-8")
    settings.write_text(json.dumps(found | {"policy": str(brief)}), encoding="utf-8")


@dataclass(frozen=True)
class Shell:
    """A user with a state directory and an environment."""

    state: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(
        self, *words: object, stdin: str | None = None, timeout: float = 240, **env: str
    ) -> Answer:
        """Given a command's words, run it and return its answer."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
        whole = kept | {"BACKUPSVC_STATE_DIR": str(self.state), "COLUMNS": "200"} | self.env | env
        done = warm.python(
            ["-m", "backupsvc", *map(str, words)], whole, (stdin or "").encode(), timeout
        )
        out, err = (
            io.TextIOWrapper(io.BytesIO(written)).read() for written in (done.stdout, done.stderr)
        )
        return Answer(done.returncode, out, err)
