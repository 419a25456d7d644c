"""A folder of work under the state directory: one process's, and nobody's as soon as that has
ended, however it ended.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import TextIO

REHEARSAL, SNAPSHOT = "rehearsal-", "snapshot-"
_LOCK = ".lock"


@contextmanager
def work_folder(state: Path, prefix: str) -> Iterator[Path]:
    """Given the state directory and how the folder's name begins (``REHEARSAL``, ``SNAPSHOT``),
    yield an empty folder of this user's in it; it is gone afterwards. What processes that were
    killed left goes first: it may be a decrypted archive. Raise OSError as the disk does.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in (*state.glob(f"{REHEARSAL}*"), *state.glob(f"{SNAPSHOT}*")):
        try:
            with (left / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            # The lock is the first that is put into one: an empty one may be about to get it, one
            # with other things alone is an older version's.
            with suppress(OSError):
                left.rmdir()
            if left.exists() and not (left / _LOCK).exists():
                shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue  # it is at work, or another user's: no reason to do without a folder of our own
    while True:
        folder = Path(mkdtemp(dir=state, prefix=prefix))
        try:
            if held := _locked(folder):
                with held:
                    yield folder
                    return
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> TextIO | None:
    """Lock a folder that was made just now; None if somebody took it for a dead process's before."""
    try:
        lock = (folder / _LOCK).open("x")
    except FileNotFoundError:
        return None
    fcntl.flock(lock, fcntl.LOCK_EX)
    # whoever cleared up between its making and its lock has taken it away
    if (folder / _LOCK).exists():
        return lock
    lock.close()
    return None
