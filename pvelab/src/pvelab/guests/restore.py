"""The task that restores a guest from an archive: disks and configuration from the archive alone,
in PVE's steps and words.

Recorded in 05_restore_ok and 06_restore_errors; pve-facts 7. Whatever fails leaves the guest's
configuration behind as a stub, and frees the disks that were made.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from pvelab.faults.storing import Guard
from pvelab.guests import power, volumes
from pvelab.guests.access import check_bridges
from pvelab.guests.archive_config import CONFIG_FILE, extract_config
from pvelab.guests.compression import COMMANDS, Decompressed
from pvelab.guests.devices import disks
from pvelab.guests.restore_config import archived_nics, disk_map, restored_config
from pvelab.guests.state import need, save, task_lock
from pvelab.guests.vma_format import Device, Header, VmaError
from pvelab.guests.vma_reader import Extracted, Extraction, read_header
from pvelab.kernel import Call, Lab, LabError, TaskDied, TaskLog, VmConfig

_HEADER_TIMEOUT = 60.0
_NAP = 0.1
_BEFORE_OR_DURING = (
    "error before or during data restore, some or all disks were not completely restored. VM {} "
    "state is NOT cleaned up."
)


@dataclass(frozen=True)
class Request:
    """What is to be restored where. ``storage`` None: each disk goes to the storage it came from.
    ``bwlimit`` in KiB/s.
    """

    vmid: int
    archive: volumes.Volume
    storage: str | None
    overrides: Mapping[str, str]
    unique: bool = False
    force: bool = False
    bwlimit: int = 0
    start: bool = False
    live: bool = False
    pool: str | None = None


@dataclass
class _Pipe:
    """The command line that PVE would run, as logs and errors show it."""

    archive: Path
    pid: int
    bwlimit: int

    @property
    def parts(self) -> list[str]:
        """Its commands in order."""
        temporary = f"/var/tmp/vzdumptmp{self.pid}"
        unpack = COMMANDS.get(self.archive.suffix)
        source, parts = str(self.archive), []
        if self.bwlimit:
            parts.append(f"cstream -t {self.bwlimit * 1024} -- {self.archive}")
            source = "-"
        if unpack:
            parts.append(f"{unpack} {source}")
            source = "-"
        return [*parts, f"vma extract -v -r {temporary}.fifo {source} {temporary}"]

    @property
    def text(self) -> str:
        """The pipeline."""
        return " | ".join(self.parts)

    def failed(self, why: str) -> TaskDied:
        """Return the error that this command failed."""
        return TaskDied(f"command 'set -o pipefail && {self.text}' failed: {why}")


@dataclass
class Restore:
    """One restore while it runs. ``made`` are the disks so far, by key, with their sizes."""

    call: Call
    request: Request
    log: TaskLog
    made: dict[str, tuple[volumes.Volume, int]] = field(default_factory=dict)
    old: dict[str, str] = field(default_factory=dict)

    @property
    def lab(self) -> Lab:
        """The cluster."""
        return self.call.lab

    @property
    def node(self) -> str:
        """Where the guest is restored."""
        return self.call.node

    def run(self) -> None:
        """Restore the guest. Raise TaskDied with PVE's text, leaving the stub, if that fails."""
        vmid = self.request.vmid
        with task_lock(self.lab, vmid, self.log):
            vm = need(self.lab, self.node, vmid)
            try:
                self._restore(vm)
            except (TaskDied, LabError) as error:
                # as PVE tries to: what is left without it is the stub
                if vm.config.get("lock") == "create":
                    kept = {key: value for key, value in vm.config.items() if key != "lock"}
                    save(self.lab, vm, kept)
                else:
                    self.log.line("no lock found trying to remove 'create'  lock")
                self.log.line(_BEFORE_OR_DURING.format(vmid))
                raise TaskDied(str(error)) from error
        if self.request.start:
            self.log.line("Execute autostart")
            # in a task of its own: whether that works is told nowhere here (pve-facts 7.7)
            self.call.spawn(
                "qmstart", vmid, lambda log: power.start(self.lab, self.node, vmid, log)
            )

    def _restore(self, vm: VmConfig) -> None:
        request = self.request
        # with force there may be a guest already: it must be off and unprotected
        self.old = {key: value for key, value in vm.config.items() if key != "lock"}
        if power.machine_of(self.lab, vm.vmid):
            raise TaskDied(f"unable to restore VM {vm.vmid} - vm is running")
        if vm.config.get("protection") == "1":
            raise TaskDied(f"unable to restore VM {vm.vmid} - - protection mode enabled")
        if request.live:
            raise TaskDied(
                "live-restore is only compatible with backup images from a Proxmox Backup Server"
            )
        self._early_checks()
        pipe = _Pipe(request.archive.path, self.log.upid.pid, request.bwlimit)
        if request.bwlimit:
            self.log.line(f"applying read rate limit: {request.bwlimit}")
        self.log.line(f"restore vma archive: {pipe.text}")
        with Decompressed(request.archive.path, str(request.archive.path)) as stream:
            header = self._header(stream, pipe)
            raw = header.configs[CONFIG_FILE].decode("utf-8", "replace")
            wanted = self._plan(header, raw, pipe)
            # from here on this alone, without a lock, is what a failure leaves (pve-facts 7.4, 7.5)
            save(self.lab, vm, {"memory": "128"})
            self._allocate(wanted, pipe)
            self._extract(stream, header, wanted, pipe)
        new = restored_config(
            raw,
            {key: (volume.volid, size) for key, (volume, size) in self.made.items()},
            unique=request.unique,
            overrides=request.overrides,
        )
        # with force, disks of the old guest that the archive does not name become unused ones
        replaced = {key for key in new if key in self.made}
        kept = [old.volume for old in disks(self.old) if old.key not in replaced]
        unused = {f"unused{number}": volume for number, volume in enumerate(kept)}
        save(self.lab, vm, new | unused)
        self.log.line("rescan volumes...")
        if request.pool:
            self.lab.access.join_pool(request.pool, vm.vmid)

    def _early_checks(self) -> None:
        """Look at every bridge of the final configuration; an archive that cannot be read skips
        this (pve-facts 7.6).
        """
        try:
            raw = extract_config(self.request.archive.path)
        except LabError as error:
            self.log.line(
                f"Could not extract backed up config: {error.reason}\nSkipping early checks!"
            )
            return
        nics = {**archived_nics(raw), **self.request.overrides}
        try:
            check_bridges(self.call, nics)
        except LabError as error:
            raise TaskDied(
                f"403 {error.reason}" if error.status == 403 else error.reason
            ) from error

    def _header(self, stream: Decompressed, pipe: _Pipe) -> Header:
        """Read the archive's header; a broken one costs PVE a minute (pve-facts 7.6)."""
        try:
            header = read_header(stream)
        except VmaError as error:
            timeout = float(self.lab.settings.get("vma_header_timeout", _HEADER_TIMEOUT))
            end = time.monotonic() + timeout
            while time.monotonic() < end:
                self.log.check_cancelled()
                time.sleep(_NAP)
            raise pipe.failed("got timeout reading VMA header - corrupted?") from error
        for name, content in header.configs.items():
            self.log.line(f"CFG: size: {len(content)} name: {name}")
        for device in header.devices:
            self.log.line(f"DEV: dev_id={device.id} size: {device.size} devname: {device.name}")
        when = datetime.fromtimestamp(header.ctime, ZoneInfo(self.lab.tz))
        self.log.line(f"CTIME: {when:%a %b} {when.day:2d} {when:%H:%M:%S %Y}")
        return header

    def _plan(self, header: Header, raw: str, pipe: _Pipe) -> list[tuple[str, Device, str]]:
        """Decide each disk's storage: key, device and storage. Raise TaskDied if one cannot hold
        disks.
        """
        devices, planned = {device.name: device for device in header.devices}, []
        for key, (name, storage) in disk_map(raw).items():
            target = self.request.storage or storage or "local"
            if name not in devices:
                raise pipe.failed(f"archive does not contain data for drive '{key}'")
            try:
                # who names one storage for all is asked for the right on it by the call itself
                if self.request.storage is None:
                    self.call.check(f"/storage/{target}", "Datastore.AllocateSpace")
                if "images" not in self.lab.storage(target).content:
                    raise LabError(
                        500, f"Content type 'images' is not available on storage '{target}'"
                    )
            except LabError as error:
                raise pipe.failed(error.reason) from error
            planned.append((key, devices[name], target))
        return planned

    def _allocate(self, wanted: Sequence[tuple[str, Device, str]], pipe: _Pipe) -> None:
        """Make the disks; with force, those of the old guest under the same keys are freed
        first.
        """
        gone = {old.key: old.volume for old in disks(self.old)}
        for storage in (
            dict.fromkeys(storage for _, _, storage in wanted) if self.request.bwlimit else ()
        ):
            self.log.line(f"rate limit for storage {storage}: {self.request.bwlimit} KiB/s")
        for key, device, storage in wanted:
            if key in gone:
                volumes.free(volumes.find(self.lab, self.node, gone[key]))
            try:
                volume = volumes.allocate(
                    self.lab, self.node, storage, self.request.vmid, device.size
                )
            except LabError as error:
                self._free_all()
                raise pipe.failed(error.reason) from error
            self.made[key] = (volume, device.size)
            if self.lab.storage(storage).type == "lvmthin":
                self.log.line(f'  Logical volume "{volume.path.name}" created.')
            elif not self.lab.storage(storage).block:  # what a ZFS pool says is not known
                self.log.line(
                    f"Formatting '{volume.path}', fmt=raw size={device.size} preallocation=off"
                )
            self.log.line(f"new volume ID is '{volume.volid}'")
        for key, device, _ in wanted:
            shown = volumes.device_path(self.lab, self.made[key][0])
            self.log.line(f"map '{device.name}' to '{shown}' (write zeros = 0)")

    def _extract(
        self,
        stream: Decompressed,
        header: Header,
        wanted: Sequence[tuple[str, Device, str]],
        pipe: _Pipe,
    ) -> None:
        """Fill the disks. Raise TaskDied as the pipe's failure, disks freed, if the archive is
        damaged or the task is stopped.
        """
        progress = _Progress(
            self.log,
            sum(device.clusters for device in header.devices),
            stream,
            self.request.bwlimit,
        )
        progress.guards = self._guards(dict.fromkeys(storage for _, _, storage in wanted))
        try:
            with ExitStack() as opened:
                targets = {}
                for key, device, _ in wanted:
                    disk = self.made[key][0].path.open("r+b", buffering=0)
                    targets[device.id] = opened.enter_context(disk).fileno()
                figures = Extraction(header, targets, progress).run(stream)
            stream.drain()
            if stream.failure:
                self.log.line(stream.failure)
                raise pipe.failed("exit code 1")
        except VmaError as error:
            self._tell_damage(stream, error, pipe)
            self._free_all()
            # a pipe's shell tells signal 5 as 128 + 5, and PVE itself that of a lone program
            raise pipe.failed("exit code 133" if len(pipe.parts) > 1 else "got signal 5") from error
        except TaskDied as error:
            self._free_all()
            text = str(error)
            raise (pipe.failed(text) if text == "interrupted by signal" else error) from error
        if figures.read:
            self.log.line(
                f"total bytes read {figures.read}, sparse bytes {figures.sparse} "
                f"({figures.sparse * 100 / figures.read:.3g}%)"
            )
        if data := figures.read - figures.sparse:
            self.log.line(
                f"space reduction due to 4K zero blocks {figures.zero_blocks * 100 / data:.3g}%"
            )

    def _guards(self, targets: Iterable[str]) -> list[tuple[Guard, bool]]:
        """What the faults of the storages do to this restore; True for those that are written
        to.
        """
        check = self.log.check_cancelled
        source = Guard(
            self.lab.faults, self.node, self.request.archive.storage, check, writes=False
        )
        return [
            (source, False),
            *((Guard(self.lab.faults, self.node, storage, check), True) for storage in targets),
        ]

    def _tell_damage(self, stream: Decompressed, error: VmaError, pipe: _Pipe) -> None:
        """What the programs of the pipe and bash print when vma gives up."""
        if stream.failure:
            self.log.line(stream.failure)
        self.log.line(f"vma: restore failed - {error}")
        *feeders, last = pipe.parts
        pid = self.log.upid.pid + 11
        for number, feeder in enumerate(feeders):
            state = "Exit 1" if stream.failure else "Broken pipe"
            start = "/bin/bash: line 1: " if number == 0 else " " * 5
            self.log.line(
                f"{start}{pid + number} {state:<23} {feeder if number == 0 else f'| {feeder}'}"
            )
        if feeders:
            self.log.line(f"     {pid + len(feeders)} Trace/breakpoint trap   | {last}")

    def _free_all(self) -> None:
        for volume, _ in self.made.values():
            volumes.free(volume)
            self.log.line(f"temporary volume '{volume.volid}' successfully removed")
        self.made.clear()


class _Progress:
    """``vma``'s progress lines, and the brake for ``bwlimit`` (KiB/s of the archive as it lies; 0
    is none).
    """

    def __init__(self, log: TaskLog, clusters: int, stream: Decompressed, bwlimit: int) -> None:
        self._log, self._clusters, self._stream, self._rate = log, clusters, stream, bwlimit * 1024
        self._start, self._percent = time.monotonic(), 0
        self.guards: list[tuple[Guard, bool]] = []

    def __call__(self, figures: Extracted) -> None:
        for guard, writes in self.guards:
            try:
                guard(figures.read - figures.sparse if writes else self._stream.consumed)
            except OSError as error:
                raise VmaError(f"blk_pwrite to  failed (-{error.errno})") from error
        done = figures.read // 65536
        percent = done * 100 // self._clusters if self._clusters else 100
        if percent == self._percent:
            return
        self._log.check_cancelled()
        self._percent = percent
        seconds = int(time.monotonic() - self._start)
        self._log.line(f"progress {percent}% (read {figures.read} bytes, duration {seconds} sec)")
        while self._rate and self._stream.consumed / self._rate > time.monotonic() - self._start:
            self._log.check_cancelled()
            time.sleep(_NAP)
