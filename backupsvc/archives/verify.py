"""Is this archive whole? One pass over the file: its SHA-256, its compression, its structure, every
cluster of every disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from backupsvc.archives.content import Content, extension_of
from backupsvc.archives.signs import signs_of
from backupsvc.archives.streams import ByteStream, Damage, HashedSource, Problem, Progress
from backupsvc.archives.tar import TarPass
from backupsvc.archives.vma import HEADER, VMSTATE, Device, VmaPass
from backupsvc.clock import Clock, SystemClock
from backupsvc.errors import ArchiveError
from policies import whole
from policies.model import DiskSigns

# What PVE makes the guest from (qemu-server PVE/QemuServer.pm, restore_vma_archive).
CONFIG = "qemu-server.conf"
# A config can contradict itself two thousand times, each time at the length of its longest line.
MAX_LACKS, MAX_LACK_LENGTH = 50, 400


@dataclass(frozen=True, slots=True)
class Verification:
    """What one pass found. ``size`` and ``sha256`` are the file's, ``raw_size`` the decompressed
    stream's, as far as they could be read.

    ``checksummed`` says whether a checksum covers the data: without one (an uncompressed archive)
    ``intact`` speaks of structure only, and a flipped bit in the data goes unseen. ``uuid`` and
    ``ctime`` are those in the VMA header, None for a container. ``signs`` are what some places of
    its disks look like, where that was asked for and nothing is wrong with it.
    """

    file: str
    format: str
    size: int
    raw_size: int
    sha256: str
    checksummed: bool
    uuid: str | None = None
    ctime: int | None = None
    devices: tuple[Device, ...] = ()
    configs: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0
    signs: tuple[DiskSigns, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.problems

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON, with the keys that the command contract names."""
        return {
            "file": self.file,
            "intact": self.intact,
            "format": self.format,
            "size": self.size,
            "raw_size": self.raw_size,
            "sha256": self.sha256,
            "checksummed": self.checksummed,
            "uuid": self.uuid,
            "ctime": self.ctime,
            "devices": [
                {"name": device.name, "size": device.size, "clusters": device.clusters}
                for device in self.devices
            ],
            "configs": list(self.configs),
            "problems": [problem.as_dict() for problem in self.problems],
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class _Findings:
    """What the pass over the content leaves behind, however far it came."""

    format: str
    raw_size: int = 0
    checksummed: bool = False
    reader: VmaPass | TarPass | None = None
    problems: list[Problem] = field(default_factory=list)


def verify(
    stream: BinaryIO,
    name: str,
    *,
    on_progress: Progress | None = None,
    clock: Clock | None = None,
    sampled: bool = False,
) -> Verification:
    """Given an archive's bytes and its file name, read it once and return what was found. Raise
    only what the stream raises.

    ``on_progress`` is told how many bytes of the file have been read, from another thread. With
    ``sampled`` some places of its disks are looked at.
    """
    clock = clock or SystemClock()
    started = clock.monotonic()
    with HashedSource(stream, on_progress) as source:
        file = ByteStream(source)
        findings = _inspect(file, name, sampled=sampled)
        # the SHA-256 is that of the whole file, however far its content could be followed
        _drain(file, findings)
    reader = findings.reader
    header = reader.header if isinstance(reader, VmaPass) else None
    configs = reader.configs if isinstance(reader, TarPass) else header.configs if header else {}
    return Verification(
        file=name,
        format=findings.format,
        size=source.size,
        raw_size=findings.raw_size,
        sha256=source.sha256,
        checksummed=findings.checksummed,
        uuid=str(header.uuid) if header else None,
        ctime=header.ctime if header else None,
        devices=tuple(header.devices.values()) if header else (),
        configs=tuple(configs),
        problems=tuple(findings.problems),
        seconds=clock.monotonic() - started,
        signs=signs_of(reader.samples) if reader and not findings.problems else (),
    )


def verify_file(path: Path | str, *, on_progress: Progress | None = None) -> Verification:
    """Given a file's path, return what one pass over it found. Raise ArchiveError if it cannot be
    opened.
    """
    try:
        with Path(path).open("rb", buffering=0) as stream:
            return verify(_FailingDisk(stream), str(path), on_progress=on_progress)  # type: ignore[arg-type]
    except OSError as error:
        raise ArchiveError(
            f"{path} cannot be read: {error.strerror}",
            "Check the file, its rights and its storage.",
        ) from error


class _FailingDisk:
    """A local file; where its disk cannot read it, the archive is damaged, which is a result."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._offset = file, 0

    def read(self, size: int) -> bytes:
        """Return the next bytes. Raise Damage where the disk fails."""
        try:
            data = self._file.read(size)
        except OSError as error:
            raise Damage(
                self._offset, f"the file cannot be read on from here: {error.strerror}"
            ) from error
        self._offset += len(data)
        return data


def _inspect(file: ByteStream, name: str, *, sampled: bool) -> _Findings:
    """Given the file's bytes, read all of the archive that can be read and return what was
    found.
    """
    findings = _Findings(format=extension_of(name))
    try:
        content = Content(file, name)
        reader = findings.reader = content.reader(sampled=sampled)
        findings.format = content.format(reader.kind)
    except Damage as damage:
        findings.problems.append(damage.problem)
        return findings
    try:
        reader.read(content.raw)
    except Damage as damage:
        findings.problems.append(damage.problem)
        # the compression's own checksum, at the end, may tell the cause
        if damage.problem.layer != "file":
            _drain(content.raw, findings)
    findings.problems.extend(reader.problems)
    findings.problems.extend(Problem(HEADER, text, "vma") for text in _account(reader))
    findings.raw_size = content.raw.offset
    whole = all(problem.layer != "file" for problem in findings.problems)
    findings.checksummed = whole and content.decoder.checksummed
    return findings


def _account(reader: VmaPass | TarPass) -> tuple[str, ...]:
    """Return what the archive's own account of itself lacks: a VM's config and header must name the
    same disks.

    A tar has no list of disks, and its pass looks for the config by itself.
    """
    if isinstance(reader, TarPass) or reader.header is None:
        return ()
    config = reader.header.configs.get(CONFIG)
    if config is None or not config.strip():
        state = f"no {CONFIG} inside" if config is None else f"the {CONFIG} inside is empty"
        return (f"{state}: PVE cannot restore the guest from it alone",)
    devices = [device.name for device in reader.header.devices.values() if device.name != VMSTATE]
    lacks = whole.contradictions(config.decode("utf-8", "replace"), devices)
    more = (f"and {len(lacks) - MAX_LACKS} more of the kind",) if len(lacks) > MAX_LACKS else ()
    return *(
        lack if len(lack) <= MAX_LACK_LENGTH else f"{lack[:MAX_LACK_LENGTH]} ..."
        for lack in lacks[:MAX_LACKS]
    ), *more


def _drain(stream: ByteStream, findings: _Findings) -> None:
    try:
        stream.drain()
    except Damage as damage:
        findings.problems.append(damage.problem)
