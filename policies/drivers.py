"""Decide whether the process that drives an operation has ended, from what it recorded of itself:
unknown is never gone.

A driver is a process. It is looked for only by a process that sees the same processes as it did:
the same boot of the same machine, the same PID namespace and the same time namespace (a container
has its own, in which its PIDs mean something else).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

WORKER, FOREGROUND = "worker", "foreground"
# PROC_PID_INIT_INO of Linux' include/linux/proc_ns.h: no container
INITIAL_PID_NAMESPACE = "4026531836"


@dataclass(frozen=True, slots=True)
class DriverId:
    """A driver's name, as its leases bear it.

    ``start`` is the process's start in clock ticks since boot (proc_pid_stat(5), field 22),
    ``namespaces`` the inodes of its PID and time namespaces, joined by ``+``; ``boot`` is the
    kernel's boot id, ``machine`` /etc/machine-id with a digest of its network cards' addresses.
    Each is "" where it is not known. ``role``: WORKER, or FOREGROUND for a command that a person
    waits for. ``token`` tells two of one process.
    """

    host: str
    pid: int
    token: str
    role: str = ""
    start: str = ""
    boot: str = ""
    namespaces: str = ""
    machine: str = ""

    def __str__(self) -> str:
        return ":".join(
            (
                self.host,
                str(self.pid),
                self.token,
                self.role,
                self.start,
                self.boot,
                self.namespaces,
                self.machine,
            )
        )


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it: when it started (clock ticks since boot), and whether it has
    ended and is only not buried.
    """

    start: str
    ended: bool = False


class Place(StrEnum):
    """Where a driver runs or ran, seen from here."""

    HERE = "here"  # the same process ids mean the same processes
    EARLIER_BOOT = "earlier boot"  # on this machine, which has started anew since
    UNKNOWN = "unknown"


def parse(owner: str) -> DriverId | None:
    """Given a lease's owner, return it as a driver's name, None if it says too little to tell who
    that was.
    """
    host, pid, *rest = owner.split(":")[:8] if ":" in owner else (owner, "")
    if not pid.isdigit() or len(rest) != 6:
        return None
    return DriverId(host, int(pid), *rest)


def place(driver: DriverId, here: DriverId) -> Place:
    """Given a driver and who looks, return where the driver is.

    Two machines may share a host's name, a machine id (copied images) or even, after a copy of a
    running machine, a boot id: all must agree. A container never tells whether its host started
    anew, for its image may run on another host by now.
    """
    if (
        driver.host != here.host
        or driver.machine != here.machine
        or not driver.boot
        or not here.boot
    ):
        return Place.UNKNOWN
    if driver.boot != here.boot:
        initial = {one.namespaces.partition("+")[0] for one in (driver, here)} == {
            INITIAL_PID_NAMESPACE
        }
        return Place.EARLIER_BOOT if initial and driver.machine else Place.UNKNOWN
    same = driver.namespaces == here.namespaces and bool(driver.namespaces)
    return Place.HERE if same and driver.start else Place.UNKNOWN


def has_ended(driver: DriverId, found: Process | None) -> bool:
    """Given a driver whose place is HERE and what bears its process id now (None: nothing does),
    return whether it has ended.
    """
    return found is None or found.ended or found.start != driver.start
