"""/nodes/{node}/vzdump: backup jobs, their defaults, and the configuration inside an archive (pve-manager PVE/API2/VZDump.pm)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from pvelab.faults import waiting
from pvelab.guests import volumes
from pvelab.guests.access import check_volume
from pvelab.guests.archive_config import extract_config
from pvelab.guests.dump import GuestFailed, dump_guest
from pvelab.guests.dumplog import DumpLog
from pvelab.guests.names import split_volid
from pvelab.guests.state import patience
from pvelab.guests.vzdump_options import DEFAULT_STORAGE, Options, check, defaults, options, split_list
from pvelab.kernel import Call, Lab, LabError, TaskDied, TaskLog, TaskVanished, route

_node_locks: WeakKeyDictionary[Lab, dict[str, threading.Lock]] = WeakKeyDictionary()
_mutex = threading.Lock()
_WAIT_SLICE = 0.2


@route("POST", "/nodes/{node}/vzdump")
def vzdump(call: Call) -> Any:
    """Start a job and return its task; ``OK`` when no guest of it lives on this node (PVE_FACTS 0.1)."""
    check(call)
    vmids, everything = _local_guests(call), bool(call.params.get("all") or call.params.get("exclude"))
    if not vmids and not everything:
        return "OK"
    chosen = options(call, vmids)
    return call.spawn("vzdump", vmids[0] if len(vmids) == 1 else "", lambda log: _Job(call, chosen, log).run())


@route("GET", "/nodes/{node}/vzdump/defaults")
def vzdump_defaults(call: Call) -> Any:
    """Return the options that hold when a call does not give them."""
    storage = call.params.get("storage", DEFAULT_STORAGE)
    call.check(f"/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace", any=True)
    volumes.usable(call.lab, call.node, storage)
    return defaults(call, storage)


@route("GET", "/nodes/{node}/vzdump/extractconfig")
def extractconfig(call: Call) -> Any:
    """Return the raw configuration inside an archive."""
    volume = backup_volume(call, call.params["volume"])
    if not volume.path.is_file():
        raise LabError(500, f"volume '{volume.volid}' does not exist")
    return extract_config(volume.path)


def backup_volume(call: Call, volid: str) -> volumes.Volume:
    """Given what a caller names as an archive, return it. Raise LabError if it is none or may not be used by this caller."""
    if split_volid(volid) is None:
        raise LabError(500, "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line 651.")
    volume = volumes.find(call.lab, call.node, volid)
    if volume.content != "backup":
        raise LabError(500, f"unable to use volume {volid} - content type needs to be 'backup'")
    check_volume(call, volume)
    return volume


def _local_guests(call: Call) -> tuple[int, ...]:
    """The guests that this node takes care of: its own, and those that exist nowhere, so that they fail visibly."""
    params, guests = call.params, call.lab.guests
    if params.get("vmid"):
        asked = {int(vmid) for vmid in split_list(params["vmid"]) if vmid}
        return tuple(sorted(v for v in asked if (vm := guests.get(v)) is None or vm.node == call.node))
    left_out = {int(vmid) for vmid in split_list(params.get("exclude", "")) if vmid}
    own = [vm.vmid for vm in guests.all(call.node, None) if vm.vmid not in left_out]
    # with all=1, guests that one may not back up are skipped in silence
    return tuple(vmid for vmid in own if call.allowed(f"/vms/{vmid}", "VM.Backup"))


class _Job:
    """The task of one vzdump call: its guests one after the other, one failing guest not stopping the rest."""

    def __init__(self, call: Call, options: Options, log: TaskLog) -> None:
        self.call, self.options, self.log = call, options, log
        self.lab, self.node = call.lab, call.node

    def run(self) -> None:
        self._check_storage()
        with _node_lock(self.lab, self.node, self.options.lockwait, self.log):
            self.log.line(f"INFO: starting new backup job: {self.options.command}")
            self._check_guests()
            failed = [vmid for vmid in self.options.vmids if not self._dump(vmid)]
        if failed:
            self.log.line("INFO: Backup job finished with errors")
            raise TaskDied("job errors")
        self.log.line("INFO: Backup job finished successfully")

    def _dump(self, vmid: int) -> bool:
        log = DumpLog(self.log, lambda: self.lab.now(self.node), self.lab.tz)
        try:
            dump_guest(self.lab, self.node, self.options, vmid, log)
        except GuestFailed as error:
            self.log.line(f"ERROR: Backup of VM {vmid} failed - {error}")
            self.log.line(f"INFO: Failed at {log.time}")
            if self.log.cancelled.is_set():
                self.log.line("ERROR: Backup job failed - interrupted by signal")
                raise TaskDied("interrupted by signal") from error
            return False
        return True

    def _check_storage(self) -> None:
        """Raise TaskDied in PVE's two joined texts unless the storage can take archives."""
        name = self.options.storage
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

    def _check_guests(self) -> None:
        """The right to back a guest up is looked at in the task, not before it (OBSERVED 9)."""
        for vmid in self.options.vmids:
            if self.lab.guests.get(vmid):
                try:
                    self.call.check(f"/vms/{vmid}", "VM.Backup")
                except LabError as error:
                    raise TaskDied(f"403 {error.reason}") from error


@contextmanager
def _node_lock(lab: Lab, node: str, minutes: int, log: TaskLog) -> Iterator[None]:
    """Hold the node's vzdump lock: jobs on one node queue. Raise TaskVanished when it is not free in time."""
    with _mutex:
        lock = _node_locks.setdefault(lab, {}).setdefault(node, threading.Lock())
    if not waiting.acquire(lab.faults, node, lock):
        if minutes == 0:
            log.line("ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)")
            raise TaskVanished
        log.line("INFO: trying to get global lock - waiting...")
        if not _acquired(lab, node, lock, patience(lab, minutes * 60), log):
            log.line("ERROR: can't acquire lock '/var/run/vzdump.lock' - got timeout")
            raise TaskVanished
        log.line("INFO: got global lock")
    try:
        yield
    finally:
        lock.release()


def _acquired(lab: Lab, node: str, lock: threading.Lock, seconds: float, log: TaskLog) -> bool:
    for _ in range(int(seconds / _WAIT_SLICE) + 1):
        log.check_cancelled("received interrupt")
        if waiting.acquire(lab.faults, node, lock, _WAIT_SLICE):
            return True
    return False
