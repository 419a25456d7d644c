"""Signals as something to wait for, so that none is handled in the middle of something else."""

from __future__ import annotations

import os
import select
import signal
from types import TracebackType

_WANTED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_STOP = {signal.SIGTERM, signal.SIGINT}


class Signals:
    """While entered, SIGTERM, SIGINT and SIGCHLD only wake ``wait``."""

    def __enter__(self) -> Signals:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        # a full pipe must not stop the process inside a signal; what is in it wakes just as well
        os.set_blocking(self._write, False)
        self._before = {
            number: signal.signal(number, lambda number, frame: None) for number in _WANTED
        }
        # Only a signal that has a handler of Python's is written there, so each has one that does
        # nothing.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> bool:
        """Wait for a signal, at most so long; return whether one of them asks to stop."""
        ready, _, _ = select.select([self._read], [], [], max(0.0, seconds))
        return bool(ready and _STOP & set(os.read(self._read, 4096)))
