"""Dump one guest into an archive: running ones as a point in time over all disks, stopped ones from
their disks as they lie.

The order of steps and every log line are vzdump's (qemu-server PVE/VZDump/QemuServer.pm; pve-facts
3.4; 03_vzdump_ok).
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pvelab import configfile, figures
from pvelab.faults.storing import Guard
from pvelab.guests import archives, power, text, volumes
from pvelab.guests.compression import SUFFIXES, CompressorFailed, compressed
from pvelab.guests.devices import Drive, agent_enabled, disks, format_size, freezes
from pvelab.guests.dump_progress import FreezeLines, Progress
from pvelab.guests.dumplog import DumpLog
from pvelab.guests.names import archive_name, parse_name
from pvelab.guests.notes import expand
from pvelab.guests.prune import parse_keep
from pvelab.guests.state import check_unlocked, save
from pvelab.guests.vma_format import CLUSTER, VmaError
from pvelab.guests.vma_writer import Source, clusters, write_vma
from pvelab.guests.vzdump_options import Options
from pvelab.kernel import Lab, LabError, Machine, TaskDied, VmConfig
from pvelab.vmm.qmp import QemuError

_NAP = 0.1
# what never goes into an archived configuration (pve-facts 3.5)
_NOT_ARCHIVED = ("lock", "parent", "vmstate", "digest")


class GuestFailed(Exception):
    """The dump of one guest failed; the text is PVE's."""


@dataclass
class Dump:
    """One guest's dump. ``archive`` is the file it makes, ``drives`` what goes into it."""

    lab: Lab
    node: str
    options: Options
    vm: VmConfig
    log: DumpLog
    archive: Path
    machine: Machine | None = None
    drives: list[tuple[Drive, volumes.Volume]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.freezing = FreezeLines(self.log, self.vm.vmid, self.lab.release)

    @property
    def scratch(self) -> Path:
        """The directory for copies while the dump runs: next to the archive, as vzdump's own."""
        stem = self.archive.name.partition(".")[0]
        return self.archive.with_name(f"{stem}.tmp")

    @property
    def mode(self) -> str:
        """The mode that is really used: a stopped guest is always dumped in mode stop."""
        return self.options.mode if self.machine else "stop"

    def run(self) -> None:
        """Dump the guest and finish its archive. Raise GuestFailed with PVE's text; the guest's
        lock goes in any case.
        """
        try:
            self.log.info(f"status = {'running' if self.machine else 'stopped'}")
            with _backup_lock(self.lab, self.vm):
                self._describe()
                self._make()
            self._finish()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _describe(self) -> None:
        """Snapshot mode names the guest's disks before the mode, the others after."""
        log, options = self.log, self.options
        if self.mode == "snapshot":
            self._list_disks()
        log.info(f"backup mode: {self.mode}")
        if options.bwlimit:
            log.info(f"bandwidth limit: {options.bwlimit} KiB/s")
        log.info(f"ionice priority: {options.ionice}")
        if self.mode != "snapshot":
            self._list_disks()

    def _list_disks(self) -> None:
        self.log.info(f"VM Name: {self.vm.config.get('name', f'VM {self.vm.vmid}')}")
        for drive in disks(self.vm.config):
            if not drive.backed_up:
                self.log.info(f"exclude disk '{drive.key}' '{drive.volume}' (backup=no)")
                continue
            volume = volumes.find(self.lab, self.node, drive.volume)
            there = volume.path.is_file()
            size = format_size(drive.size or (volume.path.stat().st_size if there else 0))
            self.log.info(f"include disk '{drive.key}' '{drive.volume}' {size}")
            if not there:
                raise GuestFailed(volumes.missing(self.lab, volume))
            self.drives.append((drive, volume))

    def _make(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        if self.mode == "suspend":
            self.log.info("suspending guest")
        if self.mode == "stop" and self.machine:
            self._stopped_for_copies()
            return
        self.log.info(f"creating vzdump archive '{self.archive}'")
        if not self.drives:
            self.log.info("backup contains no disks")
            self.log.info("starting diskless backup")
            pipes = {".zst": "exec:zstd --threads=1 > ", ".gz": "exec:gzip --rsyncable > "}
            compressor = pipes.get(self.archive.suffix, "")
            temporary = self.archive.with_suffix(".dat")
            self.log.info(
                f"/usr/bin/vma create -v -c {self.scratch}/qemu-server.conf {compressor}{temporary}"
            )
            self._write([])
        elif self.machine:
            self._from_running(self.machine)
        else:
            self.log.info("starting kvm to execute backup task")
            power.warn_iothread(self.vm, self.log.task)
            self._announce()
            with self._guarded():
                self._write(
                    [
                        Source(f"drive-{d.key}", v.path, v.path.stat().st_size)
                        for d, v in self.drives
                    ]
                )
            self.log.info("stopping kvm after backup task")

    def _from_running(self, machine: Machine) -> None:
        """Copy all disks as they are at one moment, then write the archive from the copies."""
        since, events = time.monotonic(), self.freezing

        def on_event(event: str, *_: int) -> None:
            self.log.task.check_cancelled()
            events.hear(event)

        with self._guarded():
            freeze, why_not = self._to_freeze(machine)
            events.hear(why_not)
            targets = {drive.key: self.scratch / f"{drive.key}.raw" for drive, _ in self.drives}
            if unplugged := sorted(set(targets) - {disk.key for disk in machine.spec.disks}):
                events.begin()
                why = f"Device 'drive-{unplugged[0]}' not found"
                raise QemuError(self.lab.release.backup_refused(self.vm.vmid, why))
            taken = machine.snapshot(targets, freeze=freeze, on_event=on_event)
            events.complete(freeze, taken.frozen)
            sources = [
                Source(f"drive-{d.key}", targets[d.key], v.path.stat().st_size)
                for d, v in self.drives
            ]
            self._announce()
            if self.mode == "suspend":
                self.log.info(f"resuming VM again after {int(time.monotonic() - since)} seconds")
            else:
                self.log.info("resuming VM again")
            self._write(sources)

    def _to_freeze(self, machine: Machine) -> tuple[bool, str]:
        """Say whether the guest is to be frozen, and what the log says where it is not."""
        config, snapshot = self.vm.config, self.mode == "snapshot"
        if self.lab.release.newer:
            # 9.2 looks at the options first (no agent counts as switched off), then at the agent,
            # then at who froze it before
            if not freezes(config):
                return False, "freeze-off"
            if not snapshot or not power.agent_answers(machine):
                return False, "freeze-skipped"
            return (False, "freeze-by-others") if power.agent_is_frozen(machine) else (True, "")
        # 9.0 speaks of guests with an agent alone, and asks that agent before it looks at the
        # options
        if snapshot and freezes(config):
            return True, ""
        if not agent_enabled(config):
            return False, ""
        # the agent of a suspended guest cannot answer (03_vzdump_ok 56)
        answers = snapshot and power.agent_answers(machine)
        return False, "freeze-off" if answers else "freeze-skipped"

    def _stopped_for_copies(self) -> None:
        """Mode stop of a running guest: shut it down, copy its disks, start it again, then write
        the archive from the copies.
        """
        since = time.monotonic()
        self.log.info("stopping virtual guest")
        self._as_root("qmshutdown", self._shut_down)
        self.log.info(f"creating vzdump archive '{self.archive}'")
        self.log.info("starting kvm to execute backup task")
        sources = []
        for drive, volume in self.drives:
            copy = self.scratch / f"{drive.key}.raw"
            size = volume.path.stat().st_size
            with copy.open("wb") as file:
                for number, data in clusters(volume.path, size):
                    if data is not None:
                        file.seek(number * CLUSTER)
                        file.write(data)
                file.truncate(size)
            sources.append(Source(f"drive-{drive.key}", copy, volume.path.stat().st_size))
        self._announce()
        self._as_root("qmresume", lambda: power.start_machine(self.lab, self.vm))
        self.log.info(f"resuming VM again after {int(time.monotonic() - since)} seconds")
        with self._guarded():
            self._write(sources)

    def _shut_down(self) -> None:
        machine, end = (
            power.machine_of(self.lab, self.vm.vmid),
            time.monotonic() + self.options.stopwait * 60,
        )
        if machine is not None:
            power.ask_to_shut_down(self.lab, self.vm, machine, self.log.task)
            power.wait_until_off(
                self.lab, self.vm.vmid, machine, end - time.monotonic(), self.log.task
            )
        power.switch_off(self.lab, self.vm.vmid)

    def _as_root(self, kind: str, work: Callable[[], None]) -> None:
        """Run a step as a task of its own, in root@pam's name without a token (pve-facts 3.8)."""
        upid = self.lab.tasks.spawn(
            self.node, kind, str(self.vm.vmid), "root@pam", lambda _: work()
        )
        result = self.lab.tasks.wait(upid, self.options.stopwait * 60 + 60)
        if result != "OK":
            raise GuestFailed(result)

    def _announce(self) -> None:
        self.freezing.begin()
        self.log.info(f"started backup task '{uuid.uuid4()}'")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Say in the log what ends a dump midway, as vzdump does before it gives up on the
        guest.
        """
        try:
            yield
        except (CompressorFailed, VmaError, QemuError, OSError, TaskDied) as error:
            if isinstance(error, CompressorFailed) and error.raw:
                self.log.raw(error.raw)
            self.log.error(str(error))
            self.log.info("aborting backup job")
            if self.machine:
                self.log.info("resuming VM again")
            raise GuestFailed(str(error)) from error

    def _write(self, sources: list[Source]) -> None:
        # the archive gets its name when it is whole (pve-facts 3.4)
        temporary = self.archive.with_suffix(".dat")
        progress = Progress(self.log, sum(source.size for source in sources), self.options.bwlimit)
        guard = Guard(
            self.lab.faults, self.node, self.options.storage, self.log.task.check_cancelled
        )
        try:
            with compressed(temporary, SUFFIXES[self.options.compress]) as sink:
                write_vma(
                    guard.around(sink.write),
                    uuid=uuid.uuid4().bytes,
                    ctime=self.lab.now(self.node),
                    configs=self._configs(),
                    sources=sources,
                    progress=progress,
                )
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if sources:
            progress.finish()
        temporary.replace(self.archive)

    def _configs(self) -> dict[str, bytes]:
        """The configuration as it was before the dump's own lock, with a line for each disk that
        says where it came from.
        """
        kept = {
            k: v
            for k, v in self.vm.config.items()
            if k not in _NOT_ARCHIVED and not k.startswith("unused")
        }
        lines = [f"#qmdump#map:{d.key}:drive-{d.key}:{v.storage}:raw:\n" for d, v in self.drives]
        found = {"qemu-server.conf": (configfile.dump(kept) + "".join(lines)).encode()}
        firewall = self.lab.etc / "firewall" / f"{self.vm.vmid}.fw"
        return found | ({"qemu-server.fw": firewall.read_bytes()} if firewall.is_file() else {})

    def _finish(self) -> None:
        log, options, lab = self.log, self.options, self.lab
        log.info(f"archive file size: {text.archive_size(self.archive.stat().st_size)}")
        if options.notes_template:
            log.info("adding notes to backup")
            archives.write_notes(
                self.archive, notes_for(lab, self.node, self.vm, options.notes_template)
            )
        if options.protected:
            log.info("marking backup as protected")
            archives.set_protected(self.archive, True)
        # nothing older goes before the new archive is there (pve-facts 3.11)
        if options.remove:
            log.info(f"prune older backups with retention: {options.keep.replace(',', ', ')}")
            marked = archives.prune_marks(
                lab,
                self.node,
                options.storage,
                options.keep,
                vmid=self.vm.vmid,
                type=self.vm.type,
            )
            gone = archives.removable(marked)
            for archive in gone:
                log.info(f"removing backup '{archive.volid}'")
                archive.remove(lab.tz)
            log.info(f"pruned {len(gone)} backup(s) not covered by keep-retention policy")
        self._clean_up()
        log.info(
            f"Finished Backup of VM {self.vm.vmid} "
            f"({text.clock(int(time.monotonic() - self.started))})"
        )

    def _clean_up(self) -> None:
        """Say what vzdump still does when the archive is done."""
        if self.mode == "suspend":
            self.log.info("resume vm")


def dump_guest(
    lab: Lab, node: str, options: Options, vmid: int, log: DumpLog, dumps: Mapping[str, type[Dump]]
) -> None:
    """Dump one guest with all its lines. ``dumps`` names what makes its archive, by the guest's
    type.

    Raise GuestFailed with PVE's text if there is no archive in the end.
    """
    vm = lab.guests.get(vmid)
    if vm is None or vm.node != node:
        raise GuestFailed(f"unable to find VM '{vmid}'")
    place = archives.directory(lab, node, options.storage)
    place.mkdir(parents=True, exist_ok=True)
    suffix = SUFFIXES[options.compress]
    # Names tell seconds apart: within one and the same second the next dump waits.
    while (archive := place / archive_name(vmid, lab.now(node), lab.tz, suffix, vm.type)).exists():
        time.sleep(_NAP)
    _check_limits(lab, node, options, archive.name)
    log.info(f"Starting Backup of VM {vmid} ({vm.type})")
    log.only_task(f"Backup started at {log.time}")
    dump = dumps[vm.type](lab, node, options, vm, log, archive, power.machine_of(lab, vmid))
    try:
        dump.run()
    except LabError as error:
        raise GuestFailed(error.reason) from error
    finally:
        # the log stays after a failure too (pve-facts 3.4)
        name = parse_name(archive.name, lab.tz)
        if name:
            archive.with_name(name.log).write_text(log.text(), encoding="utf-8")
    log.only_task(f"Backup finished at {log.time}")


def notes_for(lab: Lab, node: str, vm: VmConfig, template: str) -> str:
    """Return a guest's notes by a template."""
    values = {
        "cluster": str(lab.settings.get("cluster") or "standalone node"),
        "guestname": figures.name(vm),
        "node": node,
        "vmid": str(vm.vmid),
    }
    return expand(template, values)


def _check_limits(lab: Lab, node: str, options: Options, file: str) -> None:
    """Raise GuestFailed if this archive would be one too many and none may be removed."""
    name = parse_name(file, lab.tz)
    if options.protected:
        try:
            archives.check_protection_limit(
                lab, node, options.storage, name, options.may_protect_freely
            )
        except LabError as error:
            raise GuestFailed(error.reason) from error
    limit = sum(parse_keep(options.keep).values())
    if limit and not options.remove and name:
        known = archives.archives(lab, node, options.storage, name.vmid)
        held = [a for a in known if a.name.vmid == name.vmid and not a.protected]
        if len(held) >= limit:
            raise GuestFailed(
                f"There is a max backup limit of {limit} enforced by the target storage or the "
                "vzdump parameters. Either increase the limit or delete old backups."
            )


@contextmanager
def _backup_lock(lab: Lab, vm: VmConfig) -> Iterator[None]:
    """Mark the guest's configuration with ``lock: backup`` while it is dumped. Raise LabError if it
    bears a lock already.
    """
    with lab.guests.lock(vm.vmid):
        check_unlocked(vm)
        save(lab, vm, {**vm.config, "lock": "backup"})
    try:
        yield
    finally:
        with suppress(LabError), lab.guests.lock(vm.vmid):
            save(lab, vm, {key: value for key, value in vm.config.items() if key != "lock"})
