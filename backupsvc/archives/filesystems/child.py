"""The process that reads disks which somebody else has written. It takes its limits before all
else, reads what it is asked for, and answers on its standard output.
"""

from __future__ import annotations

import codecs
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from backupsvc.archives.filesystems.blocks import Blocks, Disk
from backupsvc.archives.filesystems.entries import FileSystem
from backupsvc.archives.filesystems.landlock import end_with_parent, shut
from backupsvc.archives.filesystems.volumes import Found, find
from backupsvc.archives.filesystems.wire import (
    ASK,
    DATA,
    END,
    FAIL,
    HOLE,
    ITEM,
    LENGTH,
    MAX_FRAME,
    START,
    frame,
    json_frame,
    read_frame,
)

BATCH = 100
FILES = 8  # besides the disks


def main() -> None:
    """Answer until nobody asks any more. The one argument is JSON: the disks and the limits."""
    told = json.loads(sys.argv[1])
    confine(told)
    try:
        # all that is imported is imported here: later nothing can be opened
        from backupsvc.archives.filesystems import tsk, xfs
    except ImportError as error:
        write(json_frame(FAIL, ["missing", str(error)]))
        return
    lock_up(told)
    disks = [Disk(name, descriptor, size) for name, descriptor, size in told["disks"]]
    server = Server(
        disks,
        lambda name, blocks: (
            xfs.XfsFileSystem(blocks) if name == "xfs" else tsk.TskFileSystem(blocks, name)
        ),
    )
    while (asked := read_frame(take)) is not None:
        kind, payload = asked
        if kind != ASK:
            return
        try:
            for one in server.answer(json.loads(payload)):
                write(one)
            write(frame(END))
        except (BrokenPipeError, KeyboardInterrupt):
            return
        except Exception as error:  # noqa: BLE001 - whatever the libraries raise is said, and told as one
            write(json_frame(FAIL, ["failed", f"{type(error).__name__}: {error}"[:500]]))


def confine(told: Any) -> None:
    """Take the limits: memory and time of the processor, no core, and no file can be written."""
    end_with_parent()
    for what, most in (
        (resource.RLIMIT_AS, told["memory"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(what, (most, most))
    # at the first it is told by SIGXCPU, at the second killed
    resource.setrlimit(resource.RLIMIT_CPU, (told["cpu"], told["cpu"] + 1))


def lock_up(told: Any) -> None:
    """Take away what was needed for the imports: no further file, no further process, no network.

    A kernel without Landlock leaves the limits.
    """
    for codec in ("ascii", "utf-8", "utf-16-le"):
        codecs.lookup(codec)  # the first use of one opens a file
    shut()
    most = max(descriptor for _, descriptor, _ in told["disks"]) + FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


class Server:
    """Answers questions about some disks. ``opener`` is given a file system's name and its bytes."""

    def __init__(self, disks: list[Disk], opener: Callable[[str, Blocks], FileSystem]) -> None:
        self._disks, self._opener = disks, opener
        self._volumes: dict[tuple[str, int], Found] = {}
        self._opened: dict[tuple[str, int], FileSystem] = {}

    def answer(self, asked: Any) -> Iterator[bytes]:
        """Given a question, yield the frames of its answer, all but the last."""
        what, *rest = asked
        if what == "volumes" or not self._volumes:
            self._volumes = {(one.disk, one.number): one for one in find(self._disks)}
        if what == "volumes":
            for volume in self._volumes.values():
                yield json_frame(ITEM, volume.as_json())
            return
        disk, number, of = rest
        key = disk, number
        if key not in self._opened:
            volume = self._volumes[key]
            if not volume.readable or volume.blocks is None or volume.signature is None:
                raise OSError("there is no file system in it that can be read")
            self._opened[key] = self._opener(volume.signature.name, volume.blocks)
        system = self._opened[key]
        if what == "open":
            yield json_frame(ITEM, system.replay())
        elif what == "entries":
            entries = iter(system.entries(system.root if of is None else of))
            # a frame for each name would cost the pipe more than the names themselves
            while batch := [one.as_json() for one in islice(entries, BATCH)]:
                made = json_frame(ITEM, batch)
                if len(made) > MAX_FRAME:
                    raise OSError("names that are too long")
                yield made
        else:
            content = system.content(of)
            yield json_frame(START, content.size)
            for piece in content.pieces:
                yield (
                    frame(HOLE, LENGTH.pack(piece))
                    if isinstance(piece, int)
                    else frame(DATA, piece)
                )


def take(size: int) -> bytes:
    """Return exactly so many bytes of standard input, fewer at its end."""
    parts = []
    while size and (part := os.read(0, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write(data: bytes) -> None:
    """Write all of it to standard output."""
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]


if __name__ == "__main__":
    main()
