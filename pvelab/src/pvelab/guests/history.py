"""Archives of the past that are computed: a scaled lab's nightly ones, from a guest and a night
alone.

A listing costs no file: name, size, time, notes and protection follow from the VMID and the night.
The archive itself, a small real one with the guest's configuration, is written when a call names it
(``volumes.find``), and from then on it is a file like any other, as those that vzdump writes.
Nights that are files now, or that were removed, stand in ``history.log``, a line each.

Sundays go to one of the shared storages, all other nights to ``local`` of the node where the guest
was made.
"""

from __future__ import annotations

import struct
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pvelab import configfile
from pvelab.guests import archives
from pvelab.guests.compression import compressed
from pvelab.guests.devices import disks
from pvelab.guests.names import ArchiveName
from pvelab.guests.vma_format import CLUSTER, Device, Header
from pvelab.guests.vma_writer import VmaWriter
from pvelab.images.site import NAMESPACE

if TYPE_CHECKING:
    from pvelab.kernel import Lab

MIB = 1024 * 1024
_LOCAL, _SUNDAY = "local", 6
# a node's guests follow each other within two hours from 21:00
_FIRST_START, _NIGHT_SECONDS = 21 * 3600, 2 * 3600
_NOON = 12 * 3600
_LEAST_SIZE, _SIZE_SPREAD = 16 * 1024, 16 * 1024
_WOBBLE = 512
# a frame that every decompressor skips (RFC 8878, 3.1.2): it fills an archive up to the size that
# was listed before it was made
_SKIPPED = struct.Struct("<II")
_SKIPPABLE_MAGIC = 0x184D2A50


@dataclass(frozen=True)
class Past:
    """Where a guest's archives of the past lie: the node of its ``local`` ones, the storage of its
    Sundays; and its name.
    """

    node: str
    shared: str
    name: str


@dataclass(frozen=True)
class Night:
    """One night: its date as names write it, noon before it in epoch seconds, whether it went to a
    shared storage.
    """

    date: str
    noon: int
    shared: bool
    protected: bool


@dataclass(frozen=True)
class PastArchive(archives.Archive):
    """An archive that is not there as a file (yet); ``number`` is its night."""

    history: History
    number: int

    @property
    def size(self) -> int:
        """Size in bytes, the same as the file's once it is written."""
        return size_of(self.name.vmid or 0, self.number)

    @property
    def notes(self) -> str:
        """The guest's name, as the nightly job's template has it."""
        return self.history.guests[self.name.vmid or 0].name

    @property
    def protected(self) -> bool:
        """The first night of each year is protected."""
        return self.history.nights[self.number].protected

    def remove(self, tz: str) -> bool:
        """Remove it for good; return True: it was there."""
        self.history.forget(self.name.vmid or 0, self.number)
        return True


class History:
    """The past of one lab: ``nights`` from ``first`` on, of ``guests`` by VMID, whose configuration
    ``config`` tells.
    """

    def __init__(
        self,
        lab: Lab,
        guests: Mapping[int, Past],
        first: date,
        nights: int,
        config: Callable[[int], Mapping[str, str]],
    ) -> None:
        self._lab, self.guests, self._config = lab, guests, config
        zone = ZoneInfo(lab.tz)
        self.nights: list[Night] = []
        for day in (first + timedelta(days=number) for number in range(nights)):
            # clocks are never changed between noon and midnight, so that a start is that many
            # seconds after noon
            noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=zone).timestamp())
            sunday, new_year = day.weekday() == _SUNDAY, (day.month, day.day) == (1, 1)
            self.nights.append(Night(f"{day:%Y_%m_%d}", noon, sunday, new_year))
        self._numbers = {night.date: number for number, night in enumerate(self.nights)}
        self._starts = _starts(guests)
        self._mutex = threading.Lock()
        self._log = lab.dir / "history.log"
        self._gone: dict[int, int] = {}  # by VMID, a bit for each night that is no longer computed
        for line in self._log.read_text().splitlines() if self._log.is_file() else ():
            vmid, number = map(int, line.split())
            self._mark(vmid, number)

    def archives(self, node: str, storage: str, vmid: int | None = None) -> list[PastArchive]:
        """Return the computed archives of a storage (of one guest), by file name."""
        wanted = self.guests if vmid is None else {vmid} & self.guests.keys()
        place = archives.directory(self._lab, node, storage)
        return [
            archive for each in sorted(wanted) for archive in self._of(each, node, storage, place)
        ]

    def materialise(self, node: str, storage: str, name: ArchiveName) -> None:
        """Given an archive that a call names, write its file with notes and protection if it is a
        computed one.
        """
        number = self._numbers.get(
            name.file.removeprefix(f"vzdump-qemu-{name.vmid}-")[: len("YYYY_MM_DD")]
        )
        if name.vmid is None or name.vmid not in self.guests or number is None:
            return
        place = archives.directory(self._lab, node, storage)
        with self._mutex:
            archive = next(self._of(name.vmid, node, storage, place, number), None)
            if archive is not None and archive.name.file == name.file:
                path, vmid = archive.path, archive.name.vmid or 0
                path.parent.mkdir(parents=True, exist_ok=True)
                archives.write_notes(path, archive.notes)
                archives.set_protected(path, archive.protected)
                # under another name first: it is there whole or not at all
                fresh = path.with_suffix(".dat")
                write_archive(fresh, vmid, archive.ctime, self._config(vmid), archive.size)
                fresh.replace(path)
                self._forget(archive.name.vmid or 0, archive.number)

    def forget(self, vmid: int, number: int) -> None:
        """Let a guest's night be computed no more."""
        with self._mutex:
            self._forget(vmid, number)

    def _forget(self, vmid: int, number: int) -> None:
        with self._log.open("a") as file:
            file.write(f"{vmid} {number}\n")
        self._mark(vmid, number)

    def _mark(self, vmid: int, number: int) -> None:
        self._gone[vmid] = self._gone.get(vmid, 0) | 1 << number

    def _of(
        self, vmid: int, node: str, storage: str, place: Path, only: int | None = None
    ) -> Iterator[PastArchive]:
        """Yield a guest's archives on a storage, oldest first: all, or that of one night."""
        past = self.guests[vmid]
        if storage != past.shared and (storage, node) != (_LOCAL, past.node):
            return
        gone, shared, start = self._gone.get(vmid, 0), storage == past.shared, self._starts[vmid]
        clock = f"-{start // 3600:02d}_{start // 60 % 60:02d}_{start % 60:02d}.vma.zst"
        prefix, seconds = f"vzdump-qemu-{vmid}-", start - _NOON
        for number in range(len(self.nights)) if only is None else (only,):
            night = self.nights[number]
            if night.shared == shared and not gone >> number & 1:
                file = f"{prefix}{night.date}{clock}"
                name = ArchiveName(file, "vma.zst", "qemu", vmid, night.noon + seconds)
                yield PastArchive(f"{storage}:backup/{file}", place, name, self, number)


def write_archive(path: Path, vmid: int, ctime: int, config: Mapping[str, str], size: int) -> None:
    """Write a guest's archive of ``ctime`` (epoch seconds) that is ``size`` bytes long. Its disks
    hold one line of text each.
    """
    drives = [drive for drive in disks(config) if drive.backed_up]
    lines = "".join(
        f"#qmdump#map:{d.key}:drive-{d.key}:{d.volume.partition(':')[0]}:raw:\n" for d in drives
    )
    configs = {"qemu-server.conf": (configfile.dump(dict(config)) + lines).encode()}
    devices = tuple(
        Device(number, f"drive-{d.key}", d.size or MIB) for number, d in enumerate(drives, 1)
    )
    identity = uuid.uuid5(NAMESPACE, f"archive {vmid} {ctime}").bytes
    with compressed(path, ".zst") as sink:
        writer = VmaWriter(sink.write, Header(identity, ctime, configs, devices))
        for device in devices:
            text = f"simulated {device.name} of guest {vmid} at {ctime}\n".encode()
            writer.add(device.id, 0, text.ljust(min(CLUSTER, device.size), b"\0"))
            for number in range(1, device.clusters):
                writer.add(device.id, number, None)
        writer.flush()
    missing = size - path.stat().st_size - _SKIPPED.size
    with path.open("ab") as file:
        file.write(_SKIPPED.pack(_SKIPPABLE_MAGIC, missing) + bytes(missing))


def size_of(vmid: int, number: int) -> int:
    """Return the size in bytes of a guest's archive: it grows from night to night, and not
    evenly.
    """
    return _LEAST_SIZE + vmid * 7919 % _SIZE_SPREAD + 8 * number + vmid * number * 104729 % _WOBBLE


def _starts(guests: Mapping[int, Past]) -> dict[int, int]:
    """When each guest's dump begins, in seconds of the day: a node's guests one after the other."""
    nodes: dict[str, list[int]] = {}
    for vmid, past in guests.items():
        nodes.setdefault(past.node, []).append(vmid)
    return {
        vmid: _FIRST_START + position * _NIGHT_SECONDS // len(vmids)
        for vmids in nodes.values()
        for position, vmid in enumerate(vmids)
    }
