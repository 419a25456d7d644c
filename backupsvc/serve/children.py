"""A child process that is kept running: started, missed when it dies, started again after a pause,
ended with all its own.

The kernel kills a child whose supervisor dies (PR_SET_PDEATHSIG, prctl(2), set by setpriv(1)), so a
``kill -9`` leaves no orphan. The signal comes when the *thread* that forked ends: children are
started from the main thread only.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

from backupsvc import logs
from backupsvc.clock import Clock
from policies.serving import ChildFact, deaths_in_a_row, pause_before_restart

# How a Redis begins its lines: its process, its role and a time of its own form, which the line of
# the log has already.
_REDIS_STAMP = re.compile(r"^\d+:[\w-]+ (?:\d\d \w{3} \d{4} [\d:.]+ [-.*#]|\(\d+\)) ")
_LAST_WORDS = 2.0  # seconds for what a dead child has written and nobody has read yet
_log = logging.getLogger(__name__)


class Child:
    """One child, by its command line.

    Args:
        name: for messages and /healthz.
        command: its words; they hold no secret, those are in the environment (law 7).
        say: where its deaths are told.
        queue: what it consumes, if it is a worker.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        clock: Clock,
        say: Callable[[str], None],
        *,
        queue: str | None = None,
    ) -> None:
        self.name, self.queue, self.deaths = name, queue, 0
        self._command, self._clock, self._say = list(command), clock, say
        self._process: subprocess.Popen[bytes] | None = None
        self._since = self._began = self._due = 0.0
        self._restarts = -1
        self._last: str | None = None

    def fact(self) -> ChildFact:
        """Return how the child stands, for the judgement."""
        pid = self._process.pid if self._process else None
        return ChildFact(
            self.name,
            pid is not None,
            self._since,
            pid,
            max(0, self._restarts),
            self._last,
            self.queue,
        )

    def tend(self) -> float:
        """Take note of its death, start it when that is due; return in how many seconds to look
        again.
        """
        if self._process and _ended(self._process.pid):
            pid, ran = self._process.pid, self._clock.monotonic() - self._began
            self._bury()
            self.deaths = deaths_in_a_row(self.deaths, ran)
            pause = pause_before_restart(self.deaths)
            self._due = self._clock.monotonic() + pause
            self._say(
                f"{self.name} (process {pid}) ended with {self._last} after {ran:.0f} s; it is "
                f"restarted in {pause:.0f} s"
            )
        wait = self._due - self._clock.monotonic()
        if self._process is None and wait <= 0:
            # A session of its own keeps Ctrl-C for the supervisor alone.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._relay = threading.Thread(
                target=_relay,
                args=(self.name, self._process.stdout),
                name=f"log {self.name}",
                daemon=True,
            )
            self._relay.start()
            self._restarts += 1
            self._since, self._began = self._clock.now(), self._clock.monotonic()
        return wait if self._process is None else 60.0

    def ask_to_end(self) -> None:
        """Send SIGTERM, if it runs."""
        if self._process:
            self._process.terminate()

    def kill(self) -> None:
        """End it and everything that it started, at once, even if it is stopped."""
        if self._process:
            _kill_group(self._process.pid)

    def gone(self) -> bool:
        """Say whether it has ended, without starting it again."""
        if self._process and _ended(self._process.pid):
            self._bury()
        return self._process is None

    def _bury(self) -> None:
        """Kill what the dead child left in its group, and only then let its process id go."""
        assert self._process
        _kill_group(self._process.pid)
        code = self._process.wait()
        self._relay.join(_LAST_WORDS)
        self._last = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._process = None


def _relay(name: str, stream: IO[bytes]) -> None:
    """Pass on what a child writes, line by line: its log as it is, the rest (a Redis', a traceback)
    as lines of the log.
    """
    with stream:
        for raw in stream:
            line = raw.decode(errors="replace").rstrip()
            if logs.rendered(line):
                sys.stderr.write(f"{line}\n")  # in one piece: several children speak at a time
                sys.stderr.flush()
            elif line:
                level = (
                    logging.INFO if line.startswith("worker: ") else logging.WARNING
                )  # how Celery says that it is asked to end
                _log.log(level, "%s", _REDIS_STAMP.sub("", line), extra={"process_name": name})


def _ended(pid: int) -> bool:
    # WNOWAIT leaves it unburied: its id must stay taken until its group has been killed
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
