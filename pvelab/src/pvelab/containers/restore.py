"""The task that restores a container from an archive, in PVE's steps and words (PVE/API2/LXC.pm
create_vm; pve-facts 7.9).

Recorded, for an older PVE, in ``recorded_containers``. Unlike a VM's, a failed restore cleans up
after itself when the container did not exist before (pve-facts 7.4). The lines about the new file
system are mkfs's, with the figures that it would have here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pvelab import configfile
from pvelab.containers import power, trees
from pvelab.containers.dump import Brake, totals, user_namespace
from pvelab.containers.mounts import MOUNT, NET, Mount, mount, mounts, with_hwaddr
from pvelab.containers.tarball import TarFailed, extract_pct, unpack
from pvelab.guests.access import check_bridges
from pvelab.guests.devices import format_size
from pvelab.guests.state import need, save, task_lock
from pvelab.guests.volumes import Volume
from pvelab.kernel import Call, Lab, LabError, TaskDied, TaskLog, VmConfig

GIB = 1024**3
_BLOCK, _BLOCKS_A_GROUP, _BYTES_AN_INODE = 4096, 32768, 16384
_UNPACK = (
    "--totals --one-file-system -p --sparse --numeric-owner --acls --xattrs "
    "'--xattrs-include=user.*' '--xattrs-include=security.capability' '--warning=no-file-ignored' "
    "'--warning=no-xattr-write'"
)
_UNPACKERS = {".zst": "--zstd ", ".gz": "-z ", ".lzo": "--lzop "}


@dataclass(frozen=True)
class Request:
    """What is to be restored where. ``options`` override the archive's; ``given`` are mount points
    that replace its own.
    """

    vmid: int
    archive: Volume
    storage: str
    options: Mapping[str, str]
    given: Mapping[str, str]
    unique: bool = False
    bwlimit: float = 0
    start: bool = False
    ignore_errors: bool = False


@dataclass
class Restore:
    """One restore while it runs. ``made`` are the volumes so far, by the key of their mount
    point.
    """

    call: Call
    request: Request
    log: TaskLog
    made: dict[str, tuple[Mount, trees.Tree]] = field(default_factory=dict)

    @property
    def lab(self) -> Lab:
        """The cluster."""
        return self.call.lab

    def run(self) -> None:
        """Restore the container. Raise TaskDied with PVE's text, all that was made gone, if that
        fails.
        """
        vmid = self.request.vmid
        with task_lock(self.lab, vmid, self.log):
            vm = need(self.lab, self.call.node, vmid, "lxc")
            old = {key: value for key, value in vm.config.items() if key != "lock"}
            try:
                self._restore(vm, old)
            except (TaskDied, LabError) as error:
                # the old volumes of a container that was there before are gone, too: none comes back
                for _, tree in self.made.values():
                    self.log.line(trees.free(self.lab, tree))
                # a container that was not there before goes; of one that was, what is left stays
                left = {key: value for key, value in vm.config.items() if key != "lock"}
                if left:
                    save(self.lab, vm, left)
                else:
                    self.lab.guests.remove(vm.vmid)
                raise TaskDied(f"unable to restore CT {vmid} - {error}") from error
            if pool := self.call.params.get("pool"):
                self.lab.access.join_pool(pool, vmid)
        if self.request.start:
            # in a task of its own, whose end this one does not wait for
            start = self.call.spawn(
                "vzstart", vmid, lambda log: power.start(self.lab, self.call.node, vmid, log)
            )
            self.log.line(f"started as {start}")

    def _restore(self, vm: VmConfig, old: Mapping[str, str]) -> None:
        request, log = self.request, self.log
        log.line(f"recovering backed-up configuration from '{request.archive.volid}'")
        archived, _ = configfile.parse(extract_pct(request.archive.path))
        merged = self._merged(archived)
        # only the final configuration tells it, so it is refused in the task and not by the call
        try:
            if merged.get("unprivileged") != "1":
                self.call.check("/", "Sys.Modify")
            check_bridges(self.call, merged)
        except LabError as error:
            raise TaskDied(
                f"403 {error.reason}" if error.status == 403 else error.reason
            ) from error
        wanted = self._wanted(archived)
        for volid in [item.volume for item in mounts(old) if item.kind == "volume"]:
            log.line(trees.free(self.lab, trees.open_tree(self.lab, vm.node, volid)))
        # the old volumes are gone, so nothing may name them any more
        save(self.lab, vm, {"lock": "create"})
        for item in wanted:
            storage, _, gib = item.volume.partition(":")
            tree = trees.make_tree(
                self.lab, self.call.node, storage, vm.vmid, int(float(gib) * GIB)
            )
            kept = {**item.properties, "size": format_size(tree.size)}
            self.made[item.key] = (Mount(item.key, tree.volume.volid, kept), tree)
            for line in allocation_lines(self.lab, tree):
                log.line(line)
        log.line(f"restoring '{request.archive.volid}' now..")
        log.line(f"extracting archive '{request.archive.path}'")
        self._unpack(merged)
        if "arch" not in request.options:
            log.line(f"Detected container architecture: {archived.get('arch', 'amd64')}")
        log.line("merging backed-up and given configuration..")
        made = {key: item.text() for key, (item, _) in self.made.items()}
        # binds and devices are put back as they were, after everything else
        source = request.given or {item.key: archived[item.key] for item in mounts(archived)}
        host = {key: value for key, value in source.items() if mount(key, value).kind != "volume"}
        save(self.lab, vm, merged | made | host)

    def _merged(self, archived: Mapping[str, str]) -> dict[str, str]:
        """The archive's options with what was given over them; its mount points, unused volumes and
        template flag stay behind.
        """
        dropped = ("lock", "parent", "template", "digest")
        kept = {
            key: with_hwaddr(value, fresh=True)
            if self.request.unique and NET.fullmatch(key)
            else value
            for key, value in archived.items()
            if key not in dropped and not MOUNT.fullmatch(key) and not key.startswith("unused")
        }
        return {**kept, **self.request.options}

    def _wanted(self, archived: Mapping[str, str]) -> list[Mount]:
        """The volumes to make: those given (``storage:GiB``), or the archive's with their sizes,
        all on the one storage.
        """
        if self.request.given:
            return [
                mount(key, value)
                for key, value in self.request.given.items()
                if mount(key, value).kind == "volume"
            ]
        found = mounts(archived)
        if not any(item.key == "rootfs" for item in found):
            raise TaskDied(
                "rootfs configuration could not be recovered, please check and specify manually!"
            )
        wanted = []
        for item in found:
            if item.kind != "volume":
                if item.key == "rootfs":
                    raise TaskDied(
                        f"restoring rootfs to {item.kind} mount is only possible by specifying "
                        "-rootfs manually!"
                    )
                # a folder of the node in a container: its owner could read what is not his
                if not self.call.is_root_ticket:
                    raise TaskDied(
                        f"restoring '{item.key}' to {item.kind} mount is only possible for root"
                    )
            # a new volume is made at its full size: without one there is nothing to ask for
            elif not item.size:
                raise TaskDied(f"unable to detect disk size - please specify {item.key} (size)")
            else:
                rest = {key: value for key, value in item.properties.items() if key != "size"}
                wanted.append(Mount(item.key, f"{self.request.storage}:{item.size / GIB:g}", rest))
        return wanted

    def _unpack(self, merged: Mapping[str, str]) -> None:
        request, began = self.request, time.monotonic()
        by_path = {item.path: tree for item, tree in self.made.values()}
        try:
            done = unpack(request.archive.path, by_path, Brake(self.log, request.bwlimit))
        except TarFailed as error:
            for line in error.lines:
                self.log.line(line)
            raise self._tar_failed(merged) from error
        for line in done.complaints:
            self.log.line(line)
        self.log.line(totals("read", done.total, time.monotonic() - began))
        # tar ends with an error when anything could not be made, and PVE takes its word
        if done.complaints and not request.ignore_errors:
            self.log.line("tar: Exiting with failure status due to previous errors")
            raise self._tar_failed(merged)

    def _tar_failed(self, merged: Mapping[str, str]) -> TaskDied:
        unpacker = _UNPACKERS.get(self.request.archive.path.suffix, "")
        place = (
            f"-C /var/lib/lxc/{self.request.vmid}/rootfs --skip-old-files --anchored --exclude "
            "'./dev/*'"
        )
        return TaskDied(
            f"command '{user_namespace(merged)}tar xpf - {unpacker}{_UNPACK} {place}' failed: "
            "exit code 2"
        )


def allocation_lines(lab: Lab, tree: trees.Tree) -> Iterator[str]:
    """Yield what PVE's log says while a volume is made and gets its file system."""
    if lab.storage(tree.volume.storage).type == "lvmthin":
        yield f'  Logical volume "{tree.volume.path.name}" created.'
    elif not lab.storage(tree.volume.storage).block:  # what a ZFS pool says is not known
        yield f"Formatting '{tree.volume.path}', fmt=raw size={tree.size} preallocation=off"
    blocks = tree.size // _BLOCK
    yield f"Creating filesystem with {blocks} 4k blocks and {tree.size // _BYTES_AN_INODE} inodes"
    yield f"Filesystem UUID: {uuid.uuid4()}"
    copies = [
        group * _BLOCKS_A_GROUP
        for group in (1, 3, 5, 7, 9, 25, 27, 49, 81, 125)
        if group * _BLOCKS_A_GROUP < blocks
    ]
    if copies:
        yield "Superblock backups stored on blocks: "
        yield "\t" + ", ".join(str(block) for block in copies)
