"""Dump a container into an archive, in vzdump's steps and words (pve-container PVE/VZDump/LXC.pm;
pve-facts 3.7).

Nothing runs in a modelled container, so that its files are at rest whatever the mode: what a mode
would have to do first (snapshot, two rsyncs, a stop) is only said. Nothing of this makes a dump
consistent that would not be so on PVE.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pvelab import configfile, figures
from pvelab.containers import power
from pvelab.containers.mounts import Mount, mounts
from pvelab.containers.tarball import STANDARD_EXCLUDES, write_tar
from pvelab.containers.trees import Tree, open_tree
from pvelab.guests import text
from pvelab.guests.compression import SUFFIXES, CompressorFailed, compressed
from pvelab.guests.dump import Dump, GuestFailed
from pvelab.kernel import TaskDied, TaskLog

_NOT_ARCHIVED = ("lock", "parent", "digest")
_WITH_SNAPSHOTS = frozenset({"lvmthin", "zfspool", "rbd", "btrfs"})
_PACK = (
    "tar",
    "cpf",
    "-",
    "--totals",
    "--one-file-system",
    "-p",
    "--sparse",
    "--numeric-owner",
    "--acls",
    "--xattrs",
)
_PACK_ATTRIBUTES = (
    "--xattrs-include=user.*",
    "--xattrs-include=security.capability",
    "--warning=no-file-ignored",
)
_COMPRESSORS = {".zst": "zstd '--threads=1'", ".gz": "gzip --rsyncable", ".lzo": "lzop"}
_NAP = 0.1


class ContainerDump(Dump):
    """One container's dump. ``included`` are its mount points that go into the archive."""

    fallback: str | None = None
    included: Sequence[Mount] = ()

    @property
    def mode(self) -> str:
        """The mode that is really used: stop for a container that is off, suspend where a storage
        cannot make snapshots.
        """
        return self.fallback or super().mode

    def _describe(self) -> None:
        log, options = self.log, self.options
        if self.mode == "snapshot":
            self._list_disks()
            storages = [mount.volume.partition(":")[0] for mount in self.included]
            # known before the mode is told: the log names the one that is really used
            if not all(self.lab.storage(name).type in _WITH_SNAPSHOTS for name in storages):
                log.info("mode failure - some volumes do not support snapshots")
                log.info("trying 'suspend' mode instead")
                self.fallback = "suspend"
        log.info(f"backup mode: {self.mode}")
        if options.bwlimit:
            log.info(f"bandwidth limit: {options.bwlimit} KiB/s")
        log.info(f"ionice priority: {options.ionice}")
        if self.mode != "snapshot":
            self._list_disks()

    def _list_disks(self) -> None:
        self.log.info(f"CT Name: {figures.name(self.vm)}")
        included = []
        for mount in mounts(self.vm.config):
            if mount.left_out:
                self.log.info(
                    f"excluding {mount.kind} mount point {mount.key} ('{mount.path}') from backup "
                    f"({mount.left_out})"
                )
            else:
                self.log.info(f"including mount point {mount.key} ('{mount.path}') in backup")
                included.append(mount)
        self.included = included

    def _make(self) -> None:
        trees = {
            mount.path: open_tree(self.lab, self.node, mount.volume) for mount in self.included
        }
        if self.mode == "snapshot":
            self.log.info("create storage snapshot 'vzdump'")
        elif self.mode == "suspend":
            size = sum(tree.used() for tree in trees.values())
            source = f"/proc/{self.machine.pid if self.machine else 0}/root/"
            for name, transferred in (("first", size), ("final", 0)):
                self.log.info(f"starting {name} sync {source} to {self.scratch}")
                self.log.info(f"{name} sync finished - transferred {transferred} bytes in 0s")
                # the second pass copies what changed during the first, with the guest at rest
                if name == "first":
                    self.log.info("suspending guest")
            self.log.info("resuming guest")
            self.log.info("guest is online again after 0 seconds")
        elif self.machine:
            self.log.info("stopping virtual guest")
            power.switch_off(self.lab, self.vm.vmid)
        self.log.info(f"creating vzdump archive '{self.archive}'")
        temporary, began = self.archive.with_suffix(".dat"), time.monotonic()
        try:
            total = self._write_archive(temporary, trees)
        except BaseException:
            # also when the task is told to stop: what is not whole never gets an archive's name
            # (pve-facts 3.4)
            temporary.unlink(missing_ok=True)
            raise
        self.log.info(totals("written", total, time.monotonic() - began))
        temporary.replace(self.archive)
        if self.mode == "stop" and self.machine:
            self.log.info("restarting vm")
            power.switch_on(self.lab, self.vm)
            self.log.info("guest is online again after 0 seconds")

    def _write_archive(self, temporary: Path, trees: dict[str, Tree]) -> int:
        """Write the archive; return the bytes before compression. Raise GuestFailed as the failure
        of PVE's command line.
        """
        try:
            with compressed(temporary, SUFFIXES[self.options.compress]) as sink:
                return write_tar(
                    sink,
                    self._configs(),
                    trees,
                    self._excluded,
                    Brake(self.log.task, self.options.bwlimit),
                )
        except (CompressorFailed, OSError) as error:
            if isinstance(error, CompressorFailed) and error.raw:
                self.log.raw(error.raw)
            raise GuestFailed(
                f"command 'set -o pipefail && {self._command} >{temporary}' failed: exit code 1"
            ) from error
        # the job sees by itself that it is to stop, once this guest has failed
        except TaskDied as error:
            raise GuestFailed(str(error)) from error

    @property
    def _excluded(self) -> tuple[str, ...]:
        """The patterns that tar leaves out: the standard ones, and those that were asked for."""
        asked = tuple("." + path for path in self.options.exclude_paths if path.startswith("/"))
        return (*(STANDARD_EXCLUDES if self.options.standard_excludes else ()), *asked)

    @property
    def _command(self) -> str:
        """The pipeline that PVE would run, as its errors show it."""
        names = [f"./etc/vzdump/{name}" for name in self._configs()]
        exclude = [
            "--no-anchored",
            "--exclude=lost+found",
            "--anchored",
            *(f"--exclude={pattern}" for pattern in self._excluded),
        ]
        folders = [f"--directory={self.scratch}", *names, "--directory=/mnt/vzsnap0", *exclude]
        parts = [
            *_PACK,
            *_PACK_ATTRIBUTES,
            *folders,
            *(f".{mount.path}" for mount in self.included),
        ]
        words = " ".join(f"'{part}'" if "=" in part else part for part in parts)
        compressor = _COMPRESSORS.get(SUFFIXES[self.options.compress])
        return f"{user_namespace(self.vm.config)}{words}" + (
            f" | {compressor}" if compressor else ""
        )

    def _configs(self) -> dict[str, bytes]:
        kept = {key: value for key, value in self.vm.config.items() if key not in _NOT_ARCHIVED}
        found = {"pct.conf": configfile.dump(kept).encode()}
        firewall = self.lab.etc / "firewall" / f"{self.vm.vmid}.fw"
        return found | ({"pct.fw": firewall.read_bytes()} if firewall.is_file() else {})

    def _clean_up(self) -> None:
        if self.mode == "snapshot":
            self.log.info("cleanup temporary 'vzdump' snapshot")


class Brake:
    """Watches a stream: ends it when the task is told to stop, and holds it to ``bwlimit`` (KiB/s;
    0 is none).
    """

    def __init__(self, log: TaskLog, bwlimit: float) -> None:
        self._log, self._rate, self._began = log, bwlimit * 1024, time.monotonic()

    def __call__(self, total: int) -> None:
        self._log.check_cancelled()
        # in short naps: a stop must not wait for the brake
        while self._rate and total / self._rate > time.monotonic() - self._began:
            self._log.check_cancelled()
            time.sleep(_NAP)


def totals(verb: str, total: int, seconds: float) -> str:
    """Return tar's last line: ``Total bytes written: 8970240 (8.6MiB, 94MiB/s)``."""
    return f"Total bytes {verb}: {total} ({_short(total)}, {_short(total / max(seconds, 0.001))}/s)"


def user_namespace(config: Mapping[str, str]) -> str:
    """Return what PVE puts before a command that works on an unprivileged container's files."""
    return (
        "lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 -- "
        if config.get("unprivileged") == "1"
        else ""
    )


def _short(size: float) -> str:
    """tar writes sizes without a blank, with one decimal below ten."""
    number, _, unit = text.size(size).partition(" ")
    return (
        f"{float(number):.1f}{unit}"
        if float(number) < 10 and unit != "B"
        else f"{float(number):.0f}{unit}"
    )
