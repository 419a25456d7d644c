"""One ``backupsvc serve`` in a state directory: a locked file that tells who runs there and where
it answers.

The kernel frees the lock when its holder dies, however it dies, so a lock that was left behind is
simply taken over.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from backupsvc.errors import Refused, UsageError

LOCK_FILE = "serve.lock"


@contextmanager
def only_one(state: Path) -> Iterator[Callable[[str], None]]:
    """Given the state directory, hold its lock; yield what writes down where /healthz answers.

    Raise Refused if another serve holds it, UsageError if it cannot be written.
    """
    path = state / LOCK_FILE
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", "correct BACKUPSVC_STATE_DIR"
        ) from None
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = (running(state) or {}).get("pid", "unknown")
            raise Refused(
                f"`backupsvc serve` runs already for {state}, as process {pid}",
                f"stop it with `kill {pid}`, or give this one a BACKUPSVC_STATE_DIR of its own",
            ) from None
        _write(file, {"pid": os.getpid()})
        yield lambda listen: _write(file, {"pid": os.getpid(), "listen": listen})
        # so that nobody asks an address at which no one answers any more
        _write(file, {})


def running(state: Path) -> dict[str, Any] | None:
    """Given a state directory, return what the serve that holds its lock wrote (``pid``,
    ``listen``), or None if none runs.
    """
    try:
        with (state / LOCK_FILE).open() as file:
            try:
                # whoever gets a share of it knows that nobody holds it
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found: dict[str, Any] = json.loads(file.read() or "{}")
                return found
    except FileNotFoundError:
        pass
    return None


def _write(file: TextIO, content: dict[str, Any]) -> None:
    file.seek(0)
    file.truncate()
    json.dump(content, file)
    file.flush()
