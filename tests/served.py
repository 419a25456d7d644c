"""A ``backupsvc serve`` under test: started as a user starts it, asked over HTTP, stopped by its
process id.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backupsvc.errors import Unreachable
from backupsvc.serve import healthz, lock
from tests.waiting import HANGS, wait_until


def processes(word: str) -> dict[int, str]:
    """The processes (zombies are none) whose command line or environment holds a word: pid ->
    command line.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                if words and word in words + (entry / "environ").read_bytes().decode(
                    errors="replace"
                ):
                    found[int(entry.name)] = words
            except OSError:
                continue
    return found


@dataclass
class Served:
    """A running one."""

    process: subprocess.Popen[bytes]
    state: Path
    log: Path

    def health(self) -> dict[str, Any]:
        """What /healthz says, or {} where nobody answers."""
        found = lock.running(self.state) or {}
        try:
            return healthz.ask(found["listen"]) if "listen" in found else {}
        except Unreachable:
            return {}

    def becomes(self, status: str) -> dict[str, Any]:
        """Wait until /healthz says that status; return all that it says then."""

        def reached() -> dict[str, Any] | None:
            found = self.health()
            return found if found.get("status") == status else None

        return dict(wait_until(reached, lambda: f"{self.health()}\n{self.said()}", pause=0.2))

    def consumes(self, times: int = 4) -> None:
        """Wait until canaries were consumed from each queue so many times from now on, and /healthz
        says that all is well.
        """
        seen: dict[str, set[int]] = {}

        def often() -> bool:
            for name, queue in self.health().get("queues", {}).items():
                if (ago := queue["seconds_since_consumed"]) is not None:
                    seen.setdefault(name, set()).add(round(time.monotonic() - ago))
            return bool(seen) and all(len(moments) > times for moments in seen.values())

        wait_until(often, lambda: f"{seen}\n{self.health()}\n{self.said()}", pause=0.3)
        self.becomes("ok")

    def said(self) -> str:
        """Everything that it and its children wrote."""
        return self.log.read_text(errors="replace")

    def pid(self, child: str) -> int:
        """A child's process id."""
        return int(self.health()["children"][child]["pid"])

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(HANGS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def start(state: Path, log: Path, env: dict[str, str], command: Sequence[str] = ()) -> Served:
    """Given a state directory and settings, start a serve whose tick is two seconds. ``command``
    replaces the usual one.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
    settings = {"BACKUPSVC_STATE_DIR": str(state), "BACKUPSVC_TICK": "2"} | env
    words = command or [
        sys.executable,
        "-m",
        "backupsvc",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--concurrency",
        "1",
        "--grace",
        "5",
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, env=kept | settings, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    return Served(process, state, log)
