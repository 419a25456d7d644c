"""Disks out of an archive without a cluster: sparse raw images that get their names only when the
whole archive was intact.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from backupsvc.archives.content import Content
from backupsvc.archives.files import file_names
from backupsvc.archives.filesystems.landing import remove_if_empty, write_all
from backupsvc.archives.streams import ByteStream, Damage, Problem, Progress, chunks_of
from backupsvc.archives.vma import BLOCK, HEADER, VMSTATE, Device, Header, VmaPass, read_header
from backupsvc.errors import ArchiveError, UsageError

ZEROS = bytes(BLOCK)


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was written: paths in the order of the archive, configs last.

    ``sizes`` in bytes stand beside what is only foreseen; that of a guest's memory is not known
    before it is read (None).
    """

    directory: Path
    files: tuple[Path, ...]
    sizes: tuple[int | None, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON; sizes in bytes, as ``ls`` shows them."""
        return {
            "directory": str(self.directory),
            "files": [
                {"file": str(file), "size": self.sizes[at] if self.sizes else file.stat().st_size}
                for at, file in enumerate(self.files)
            ],
        }


def extract(
    path: Path | str, directory: Path | str, *, on_progress: Progress | None = None
) -> Extraction:
    """Given an archive of a VM, write its disks as ``DEVICE.raw`` and its configs into a directory,
    which is made if needed.

    Raise UsageError if a file of that name is there already, ArchiveError if the archive is not
    intact; then nothing is left.
    """
    path, directory = Path(path), Path(directory)
    try:
        with path.open("rb", buffering=0) as stream, ExitStack() as opened, ExitStack() as undo:
            content = Content(ByteStream(chunks_of(stream, on_progress)), path.name)
            # only VMA has disks: a container's archive is a tar of its files
            if content.kind() != "vma":
                raise no_disks(path)
            disks = _Disks(directory, opened, undo)
            reader = VmaPass(disks)
            reader.read(content.raw)
            if reader.problems:
                raise _not_intact(path, reader.problems[0])
            files = disks.finish()
            # from here on nothing is taken back: they have their names
            undo.pop_all()
            return Extraction(directory, files)
    except Damage as damage:
        raise _not_intact(path, damage.problem) from damage
    except OSError as error:
        where = error.filename or path
        raise ArchiveError(
            f"{path} was not extracted: {where}: {error.strerror}",
            "Check the space and the rights there.",
        ) from error


def foresee(path: Path | str, directory: Path | str) -> Extraction:
    """Given an archive of a VM, return what ``extract`` would write, by its header: whether it is
    intact is not looked at.

    Raise UsageError if a file of that name is there already, ArchiveError if there is no header
    that can be read.
    """
    path, directory = Path(path), Path(directory)
    try:
        with path.open("rb", buffering=0) as stream:
            content = Content(ByteStream(chunks_of(stream)), path.name)
            if content.kind() != "vma":
                raise no_disks(path)
            header = read_header(content.raw)
    except Damage as damage:
        raise _not_intact(path, damage.problem) from damage
    except OSError as error:
        raise ArchiveError(
            f"{path} cannot be read: {error.strerror}", "Check the file and its rights."
        ) from error
    names = file_names((device.name for device in header.devices.values()), header.configs, HEADER)
    refuse_to_overwrite(directory, names)
    disks = (None if device.name == VMSTATE else device.size for device in header.devices.values())
    sizes = (*disks, *(len(data) for data in header.configs.values()))
    return Extraction(directory, tuple(directory / name for name in names), sizes)


def refuse_to_overwrite(directory: Path, names: Sequence[str]) -> None:
    """Raise UsageError if one of the files is there already."""
    for name in names:
        if (directory / name).exists():
            raise UsageError(
                f"{directory / name} exists already and is not overwritten",
                "Name another directory.",
            )


def no_disks(path: Path) -> UsageError:
    """The error for an archive of a container."""
    return UsageError(
        f"{path} is a container's archive, which holds files and no disks", f"Use `tar -xf {path}`."
    )


def _not_intact(path: Path, problem: Problem) -> ArchiveError:
    hint = (
        "Nothing was extracted. `backupsvc archive verify` tells all that is wrong; take another "
        "archive of this guest."
    )
    return ArchiveError(f"{path} is not intact: {problem}", hint, offset=problem.offset)


class _Disks:
    """Takes the pass's content into files with temporary names; ``opened`` closes them, ``undo``
    removes them.
    """

    def __init__(self, directory: Path, opened: ExitStack, undo: ExitStack) -> None:
        self._directory, self._opened, self._undo = directory, opened, undo
        self._open: dict[int, int] = {}
        self._files: list[tuple[Path, Path]] = []

    def begin(self, header: Header, files: Sequence[str]) -> None:
        """Given the header and the files' names, open a file for each device and write the configs.

        Raise UsageError rather than overwrite one.
        """
        new = not self._directory.exists()
        self._directory.mkdir(parents=True, exist_ok=True)
        if new:
            self._undo.callback(remove_if_empty, self._directory)
        refuse_to_overwrite(self._directory, files)
        for device, name in zip(header.devices.values(), files, strict=False):
            self._open[device.id] = self._create(name)
            # its whole size at once: blocks of zeros are not in the archive, and are never written
            if device.name != VMSTATE:
                os.truncate(self._open[device.id], device.size)
        for name, data in zip(files[len(header.devices) :], header.configs.values(), strict=True):
            with open(self._create(name), "wb", closefd=False) as file:
                file.write(data)

    def write(self, device: Device, offset: int, data: memoryview) -> None:
        """Given stored blocks of a device, write those that are not zero and lie before its end."""
        # the last cluster may reach beyond a disk's end; a guest's memory has no size
        if device.name != VMSTATE:
            data = data[: max(0, device.size - offset)]
        write_sparse(self._open[device.id], offset, data.tobytes())

    def finish(self) -> tuple[Path, ...]:
        """Give all files their names and return them."""
        for temporary, final in self._files:
            temporary.rename(final)
        return tuple(final for _, final in self._files)

    def _create(self, name: str) -> int:
        """Return the descriptor of a new file under a temporary name."""
        temporary = self._directory / f".{os.getpid()}-{len(self._files)}.partial"
        # for its owner alone: it is a whole guest, with all its secrets (law 7)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._undo.callback(temporary.unlink, missing_ok=True)
        self._opened.callback(os.close, descriptor)
        self._files.append((temporary, self._directory / name))
        return descriptor


def write_sparse(descriptor: int, offset: int, run: bytes) -> None:
    """Given an opened file, an offset and stored blocks, write those that are not zero."""
    if ZEROS not in run:  # as vzdump writes it: blocks of zeros are not stored
        write_all(descriptor, offset, run)
        return
    for at in range(0, len(run), BLOCK):
        if run[at : at + BLOCK] != ZEROS:
            write_all(descriptor, offset + at, run[at : at + BLOCK])
