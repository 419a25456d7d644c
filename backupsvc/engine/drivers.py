"""Who drives: this process's name on its leases, and whether the process behind another name is
gone (Linux, /proc).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from functools import cache
from pathlib import Path

from backupsvc.clock import boot_id
from policies import drivers
from policies.drivers import DriverId, Place, Process

_PROC = Path("/proc")
_MACHINE_ID, _NET = Path("/etc/machine-id"), Path("/sys/class/net")


def identity(*, foreground: bool) -> DriverId:
    """Return a new name for a driver that is this process. What cannot be read stays unknown, and
    is never taken for gone.
    """
    pid = os.getpid()
    try:
        # whether /proc numbers processes as this one does: it may be of another PID namespace
        own = (_PROC / "self").readlink() == Path(str(pid))
    except OSError:
        own = False
    seen = look(pid) if own else None
    return DriverId(
        socket.gethostname().replace(":", "_"),
        pid,
        secrets.token_hex(4),
        drivers.FOREGROUND if foreground else drivers.WORKER,
        seen.start if isinstance(seen, Process) else "",
        boot_id(),
        _namespaces() if own else "",
        _machine_id(),
    )


def gone(owner: str) -> bool:
    """Given a lease's owner, return whether it was a process of this machine that is no more. What
    is not known is not gone.
    """
    driver = drivers.parse(owner)
    if driver is None:
        return False
    where = drivers.place(driver, identity(foreground=True))
    if where is not Place.HERE:
        return where is Place.EARLIER_BOOT
    try:
        found = look(driver.pid)
    except OSError:
        return False
    return drivers.has_ended(driver, found)


def of_a_command(owner: str | None) -> bool:
    """Given a lease's owner, return whether it was a command in the foreground, whose work nobody
    else is expected to take up.
    """
    driver = drivers.parse(owner or "")
    return driver is not None and driver.role == drivers.FOREGROUND


def look(pid: int) -> Process | None:
    """Given a process id, return its process, or None if there is none. Raise OSError where that
    cannot be seen.

    Whether there is one is asked by kill(2), for a /proc mounted with ``hidepid`` hides the
    processes of other users.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except ProcessLookupError:
        return None  # it ended between the two looks
    # The name, in brackets, may hold anything; the fields after it are numbered from 3
    # (proc_pid_stat(5)).
    fields = text.rpartition(")")[2].split()
    state, threads, start = fields[0], int(fields[17]), fields[19]
    # a process whose first thread ended is a zombie for as long as another of its threads runs
    return Process(start, ended=state in "ZX" and threads <= 1)


@cache
def _namespaces() -> str:
    try:
        pids = (_PROC / "self" / "ns" / "pid").stat().st_ino
    except OSError:
        return ""
    try:
        times = (_PROC / "self" / "ns" / "time").stat().st_ino
    except OSError:
        times = 0  # Linux before 5.6: there is only one
    return f"{pids}+{times}"


@cache
def _machine_id() -> str:
    """What no other machine has: copies of one image share the id that is in it, and the host's
    name, but no network card.
    """
    try:
        id = _MACHINE_ID.read_text(encoding="ascii").strip()
        cards = sorted(
            (card / "address").read_text(encoding="ascii")
            for card in _NET.iterdir()
            if (card / "device").exists()
        )
    except (OSError, UnicodeDecodeError):
        return ""
    return f"{id}+{hashlib.sha256(''.join(cards).encode()).hexdigest()[:16]}" if id else ""
