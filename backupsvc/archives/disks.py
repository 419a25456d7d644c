"""Disks out of an archive for a while: sparse files without a name, which are gone with the process
that reads them, however it ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from backupsvc.archives.content import Content
from backupsvc.archives.extract import no_disks, write_sparse
from backupsvc.archives.filesystems.blocks import Disk
from backupsvc.archives.filesystems.landing import need_room
from backupsvc.archives.streams import ByteStream, Damage, Progress, chunks_of
from backupsvc.archives.vma import VMSTATE, Device, Header, VmaPass
from backupsvc.errors import ArchiveError, UsageError

RAW = ".raw"
LOOK_EVERY = 64 * 1024 * 1024  # bytes written between two looks at the room that is left


def disk_name(device: str) -> str:
    """Given a device's name in an archive, return that of the disk, such as ``scsi0``."""
    return device.removeprefix("drive-").removesuffix("-backup")


@contextmanager
def opened_disks(
    path: Path, wanted: Sequence[str], work: Path, on_progress: Progress | None = None
) -> Iterator[tuple[Disk, ...]]:
    """Given an archive of a VM and the names of disks (none: all of them), yield the disks, read
    from the archive into a folder and opened. The whole archive is read and held to its checksums
    first. A file ``.raw``, such as `archive extract` writes, is a disk itself.

    Raise UsageError if it has no such disk, ArchiveError if it is not intact, NoRoom.
    """
    with ExitStack() as stack:
        if path.suffix == RAW:
            name = disk_name(path.name.removesuffix(RAW))
            if [one for one in wanted if disk_name(one) != name]:
                raise UsageError(f"{path} is the disk {name} alone", "Leave out --disk.")
            descriptor = os.open(path, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            yield (Disk(name, descriptor, os.lseek(descriptor, 0, os.SEEK_END)),)
            return
        sink = _Unnamed(path, wanted, work, stack)
        try:
            with path.open("rb", buffering=0) as stream:
                content = Content(ByteStream(chunks_of(stream, on_progress)), path.name)
                if content.kind() != "vma":
                    raise no_disks(path)
                reader = VmaPass(sink)
                reader.read(content.raw)
                if reader.problems:
                    raise _not_intact(path, reader.problems[0], reader.problems[0].offset)
        except Damage as damage:
            raise _not_intact(path, damage.problem, damage.offset) from damage
        except OSError as error:
            raise ArchiveError(
                f"{path} was not read: {error.filename or path}: {error.strerror}",
                "Check the space and the rights there; --work-dir names another folder for the "
                "disks.",
            ) from error
        yield sink.disks()


def _not_intact(path: Path, problem: object, offset: int | None) -> ArchiveError:
    hint = (
        "Nothing was read out of it. `backupsvc archive verify` tells all that is wrong; take "
        "another archive of this guest."
    )
    return ArchiveError(f"{path} is not intact: {problem}", hint, offset=offset)


class _Unnamed:
    """Takes the wanted disks into files without a name; the others are read past."""

    def __init__(self, path: Path, wanted: Sequence[str], work: Path, stack: ExitStack) -> None:
        self._path, self._work, self._stack = path, work, stack
        self._wanted = [disk_name(one) for one in wanted]
        self._open: dict[int, Disk] = {}
        self._unlooked = 0

    def begin(self, header: Header, files: Sequence[str]) -> None:
        """Given the header, open a file for each wanted disk. Raise UsageError if one is not in
        it.
        """
        devices = [one for one in header.devices.values() if one.name != VMSTATE]
        named = {disk_name(device.name): device for device in devices}
        # two devices that differ in the prefix alone keep theirs
        if len(named) < len(devices):
            named = {device.name: device for device in devices}
        for name in self._wanted:
            if name not in named:
                raise UsageError(
                    f"{self._path} holds no disk {name}", f"It holds: {', '.join(named) or 'none'}."
                )
        for name, device in named.items():
            if self._wanted and name not in self._wanted:
                continue
            with tempfile.TemporaryFile(dir=self._work) as file:
                descriptor = os.dup(file.fileno())
            self._stack.callback(os.close, descriptor)
            os.ftruncate(descriptor, device.size)
            self._open[device.id] = Disk(name, descriptor, device.size)
        self._look(0)

    def write(self, device: Device, offset: int, data: memoryview) -> None:
        """Given stored blocks of a device, write those that are not zero and lie before its end.
        Raise NoRoom.
        """
        disk = self._open.get(device.id)
        if disk is None:
            return
        # the last cluster may reach beyond the disk's end
        data = data[: max(0, disk.size - offset)]
        self._look(len(data))
        write_sparse(disk.descriptor, offset, data.tobytes())

    def disks(self) -> tuple[Disk, ...]:
        """Return the disks in the order of the archive, opened anew so that whoever reads them
        cannot write.
        """
        opened = []
        for disk in self._open.values():
            # they have no name by which they could be opened
            descriptor = os.open(f"/proc/self/fd/{disk.descriptor}", os.O_RDONLY)
            self._stack.callback(os.close, descriptor)
            opened.append(replace(disk, descriptor=descriptor))
        return tuple(opened)

    def _look(self, count: int) -> None:
        """How much the disks hold is known only when all is read, so the room is watched."""
        self._unlooked -= count
        if self._unlooked <= 0 and self._open:
            disk = next(iter(self._open.values()))
            need_room(disk.descriptor, LOOK_EVERY, "the disks in this archive", self._work)
            self._unlooked = LOOK_EVERY
