"""Disks with file systems in which something is wrong, the same ones for the same number; and a
reader whose process is forked, since to start one anew takes longer than to read such a disk.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from backupsvc.archives.filesystems import child
from backupsvc.archives.filesystems.blocks import Disk
from backupsvc.archives.filesystems.limits import Limits
from backupsvc.archives.filesystems.reader import Reader
from tests.unit.archives.filesystems import made

EXTREMES = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)
SECTOR = 512
# a process that hangs or goes in circles is ended, as in use, only sooner
LIMITS = Limits(cpu=2, patience=300, entries=20_000)


def seeds(folder: Path) -> list[Path]:
    """Make one small disk of each kind, in a folder."""
    files = {
        "etc/hosts": b"127.0.0.1 localhost\n",
        "etc/empty": b"",
        "srv/größe": made.noise(70_000),
        "srv/deep/er/still": b"deep\n",
        "srv/holes": bytes(200_000) + b"end",
    }
    source = made.write_tree(folder / "source", files)
    (source / "etc" / "link").symlink_to("../../../etc/passwd")
    small = 2 * made.MIB
    ext4 = made.ext(folder / "ext4", source, size=small)
    plain = made.ext(
        folder / "ext4-without-checksums", source, "-O", "^metadata_csum", "-b", "1024", size=small
    )
    ext2 = made.ext(folder / "ext2", source, kind="ext2", size=small)
    (source / "etc" / "link").unlink()
    fat12 = made.fat(folder / "fat12", source, size=small)
    fat16 = made.fat(folder / "fat16", source, "-F", "16", "-s", "1", size=5 * made.MIB)
    ntfs = made.ntfs(folder / "ntfs", files, size=2 * small)
    (folder / "contents").mkdir()
    xfs = made.xfs(folder / "xfs", files, folder / "contents")
    table = made.partitioned(folder / "gpt", "gpt", [plain, fat12])
    data = ext2.read_bytes()
    extents = len(data) // made.EXTENT
    lvm = folder / "lvm"
    half = extents // 2
    segments = [([(0, 3)], half), ([(0, half + 5)], extents - half)]
    made.lvm([lvm], extents + 10, [made.Lv("root", data, segments)])
    return [ext4, plain, ext2, fat12, fat16, ntfs, xfs, table, lvm]


@dataclass(frozen=True)
class Seed:
    """A disk of which mutants are made; ``used`` are the sectors that hold something."""

    name: str
    path: Path
    used: list[int]

    @staticmethod
    def of(path: Path) -> Seed:
        data = path.read_bytes()
        used = [at for at in range(0, len(data), SECTOR) if data[at : at + SECTOR].strip(b"\0")]
        return Seed(path.name, path, used)


@contextmanager
def mutated(seed: Seed, number: int) -> Iterator[Disk]:
    """Yield a seed's disk with something wrong in it; afterwards it is again as it was."""
    dice = random.Random(number)
    before: list[tuple[int, bytes]] = []
    size = seed.path.stat().st_size
    with seed.path.open("r+b", buffering=0) as file:
        try:
            for _ in range(dice.choice((1, 1, 2, 4, 16))):
                _change(file, seed, dice, before)
            cut = dice.randrange(size) if dice.random() < 0.05 else size
            with seed.path.open("rb", buffering=0) as opened:
                yield Disk(seed.name, opened.fileno(), cut)
        finally:
            for at, data in reversed(before):
                os.pwrite(file.fileno(), data, at)


def _change(file: FileIO, seed: Seed, dice: random.Random, before: list[tuple[int, bytes]]) -> None:
    # what says where all else is stands near the begin
    sectors = seed.used[:64] if dice.random() < 0.5 else seed.used
    start = dice.choice(sectors)
    at = start + dice.randrange(SECTOR)
    kind = dice.randrange(5)
    if kind == 0:
        old = os.pread(file.fileno(), 1, at)
        new = bytes([old[0] ^ 1 << dice.randrange(8)])
    elif kind == 1:
        form = dice.choice(("<H", "<I", "<Q", ">H", ">I", ">Q"))
        width = struct.calcsize(form)
        at -= at % width
        new = struct.pack(form, dice.choice(EXTREMES) & (1 << 8 * width) - 1)
    elif kind == 2:
        new = dice.randbytes(dice.choice((1, 2, 4, 8, 64)))
    elif kind == 3:
        at, new = start, os.pread(file.fileno(), SECTOR, dice.choice(seed.used))
    else:
        at, new = start, bytes([dice.choice((0, 0xFF))]) * dice.choice((16, SECTOR))
    new = new[: seed.path.stat().st_size - at]
    before.append((at, os.pread(file.fileno(), len(new), at)))
    os.pwrite(file.fileno(), new, at)


class Forked:
    """What ``Reader`` uses of a process, over one that was forked from this one."""

    def __init__(self, asked: str) -> None:
        questions, answers = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.dup2(questions[0], 0)
                os.dup2(answers[1], 1)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                sys.argv = ["child", asked]
                signal.setitimer(signal.ITIMER_PROF, 0)
                child.main()
            finally:
                os._exit(1)
        os.close(questions[0])
        os.close(answers[1])
        self.stdin = os.fdopen(questions[1], "wb", buffering=0)
        self.stdout = os.fdopen(answers[0], "rb", buffering=0)
        self._code: int | None = None

    def kill(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


class ForkedReader(Reader):
    """A reader whose process begins where this one stands: the libraries are loaded, once."""

    def _start(self, asked: str) -> Any:
        return Forked(asked)
