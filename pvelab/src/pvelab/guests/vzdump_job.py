"""The task of a vzdump call: its guests one after the other, under the node's lock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from pvelab.containers.dump import ContainerDump
from pvelab.faults import waiting
from pvelab.guests import volumes
from pvelab.guests.dump import Dump, GuestFailed, dump_guest
from pvelab.guests.dumplog import DumpLog
from pvelab.guests.state import lock_timeout_s
from pvelab.guests.vzdump_options import Options
from pvelab.kernel import Call, Lab, LabError, TaskDied, TaskLog, TaskVanished

# which dump makes a guest's archive, by the guest's type
_DUMPS: dict[str, type[Dump]] = {"qemu": Dump, "lxc": ContainerDump}
_node_locks: WeakKeyDictionary[Lab, dict[str, threading.Lock]] = WeakKeyDictionary()
_mutex = threading.Lock()
_WAIT_SLICE = 0.2


class VzdumpJob:
    """The task of one vzdump call: its guests one after the other, one failing guest not stopping
    the rest.
    """

    def __init__(self, call: Call, options: Options, log: TaskLog) -> None:
        self.call, self.options, self.log = call, options, log
        self.lab, self.node = call.lab, call.node

    def run(self) -> None:
        """Dump them all. Raise TaskDied if one failed, TaskVanished if the node's lock is not free
        in time.
        """
        name = self.options.storage
        # PVE's two joined texts, told before the lock is waited for
        try:
            definition = volumes.usable(self.lab, self.node, name)
        except LabError as error:
            told = f"could not activate storage '{name}': {error.reason}"
            if name not in self.lab.storages:
                told += f" could not get storage information for '{name}': {error.reason}"
            raise TaskDied(told) from error
        if "backup" not in definition.content:
            wrong = f"can't use storage '{name}' for backups - wrong content type"
            raise TaskDied(f"could not get storage information for '{name}': {wrong}")
        with _node_lock(self.lab, self.node, self.options.lockwait, self.log):
            self.log.line(f"INFO: starting new backup job: {self.options.command}")
            # the right to back a guest up is looked at in the task, not before it (pve-facts 3.3)
            for vmid in filter(self.lab.guests.get, self.options.vmids):
                try:
                    self.call.check(f"/vms/{vmid}", "VM.Backup")
                except LabError as error:
                    raise TaskDied(f"403 {error.reason}") from error
            failed = False
            for vmid in self.options.vmids:
                log = DumpLog(self.log, lambda: self.lab.now(self.node), self.lab.tz)
                try:
                    dump_guest(self.lab, self.node, self.options, vmid, log, _DUMPS)
                except GuestFailed as error:
                    self.log.line(f"ERROR: Backup of VM {vmid} failed - {error}")
                    self.log.line(f"INFO: Failed at {log.time}")
                    if self.log.cancelled.is_set():
                        self.log.line("ERROR: Backup job failed - interrupted by signal")
                        raise TaskDied("interrupted by signal") from error
                    failed = True
        if failed:
            self.log.line("INFO: Backup job finished with errors")
            raise TaskDied("job errors")
        self.log.line("INFO: Backup job finished successfully")


@contextmanager
def _node_lock(lab: Lab, node: str, minutes: int, log: TaskLog) -> Iterator[None]:
    """Hold the node's vzdump lock: jobs on one node queue. Raise TaskVanished when it is not free
    in time.
    """
    # one dump a node: further calls queue (pve-facts 3.4)
    with _mutex:
        lock = _node_locks.setdefault(lab, {}).setdefault(node, threading.Lock())
    if not waiting.acquire(lab.faults, node, lock):
        if minutes == 0:
            log.line("ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)")
            raise TaskVanished
        log.line("INFO: trying to get global lock - waiting...")
        for _ in range(int(lock_timeout_s(lab, minutes * 60) / _WAIT_SLICE) + 1):
            log.check_cancelled("received interrupt")
            if waiting.acquire(lab.faults, node, lock, _WAIT_SLICE):
                break
        else:
            log.line("ERROR: can't acquire lock '/var/run/vzdump.lock' - got timeout")
            raise TaskVanished
        log.line("INFO: got global lock")
    try:
        yield
    finally:
        lock.release()
