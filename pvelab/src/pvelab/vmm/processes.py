"""Children that die with the process that started them.

The kernel's parent-death signal (prctl(2), PR_SET_PDEATHSIG) fires when the *thread* that forked
ends. All children are therefore started from one thread that lives as long as the process, whoever
asks. setpriv(1) sets the signal, so that nothing of Python runs between fork and exec.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

_KEEPER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-children")


def spawn(
    command: Sequence[str],
    log: Path,
    *,
    descriptors: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Given a command, start it with its output appended to ``log`` and these descriptors open;
    return it.
    """
    with log.open("ab") as output:
        return _KEEPER.submit(
            subprocess.Popen[bytes],
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(descriptors),
            env=dict(environment) if environment is not None else None,
            # Ctrl-C at the terminal is for the lab, which then stops its machines in order.
            start_new_session=True,
        ).result()


def end(process: subprocess.Popen[bytes], timeout_s: float = 5.0) -> None:
    """Ask the process to end, after ``timeout_s`` seconds make it, and wait until it is gone."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def kill_left_over(pid_file: Path, token: str) -> bool:
    """Given a file with the pid of a child of an earlier process, kill it if its command line still
    holds ``token``.

    Return whether there was one. A pid that now belongs to something else is left alone.
    """
    if not pid_file.exists():
        return False
    pid = int(pid_file.read_text() or 0)
    pid_file.unlink()
    command = Path(f"/proc/{pid}/cmdline")
    if not pid or not command.exists() or token.encode() not in command.read_bytes():
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return True
