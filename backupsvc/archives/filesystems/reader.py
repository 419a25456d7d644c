"""The parent's side: starts the process that reads the disks, asks it, and believes nothing that
``told`` does not let pass.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from backupsvc.archives.filesystems import told
from backupsvc.archives.filesystems.blocks import Disk
from backupsvc.archives.filesystems.limits import Limits
from backupsvc.archives.filesystems.told import Entry, Volume
from backupsvc.archives.filesystems.wire import (
    ASK,
    DATA,
    END,
    FAIL,
    HOLE,
    ITEM,
    LENGTH,
    START,
    json_frame,
    read_frame,
)
from backupsvc.errors import ArchiveError, UsageError
from policies.error_kinds import ErrorKind

MAX_VOLUMES = 2048
# -I takes no PYTHONPATH, and the process must be of this very version: so its place is told
ROOT = Path(__file__).parents[3]
COMMAND = (
    sys.executable,
    "-I",
    "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    "from backupsvc.archives.filesystems.child import main; main()",
)
HINT = (
    "Its file system is damaged or of a kind that is not read. Restore the guest from this archive "
    "under another VMID, or take another archive."
)


class NotRead(ArchiveError):
    """One file or folder cannot be read; the rest may be."""

    kind = ErrorKind.NOT_READ


class ReaderLost(ArchiveError):
    """The process that reads ended, hung or talked nonsense; nothing more can be asked of it.

    ``path`` is what it was reading in the guest, "" if that is not known.
    """

    kind = ErrorKind.READER_LOST

    def __init__(self, message: str, hint: str = "", *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message, hint)
        self.path = path


class Reader:
    """Reads the volumes of some disks, for use in a ``with`` statement.

    ``command`` is what is run instead of the child, for tests.
    """

    def __init__(
        self, disks: Sequence[Disk], limits: Limits | None = None, command: Sequence[str] = COMMAND
    ) -> None:
        self._disks, self._limits, self._command = disks, limits or Limits(), command
        self._answers = self._delivered = 0
        self._waited = 0.0
        self._about = ""

    def __enter__(self) -> Reader:
        limits = self._limits
        size = sum(disk.size for disk in self._disks)
        asked = {
            "disks": [[disk.name, disk.descriptor, disk.size] for disk in self._disks],
            "memory": limits.memory,
            "cpu": limits.cpu_for(size),
        }
        # it gets the disks and nothing else: no environment, none of our descriptors, no terminal
        self._process = subprocess.Popen(
            [*self._command, json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            pass_fds=[disk.descriptor for disk in self._disks],
            start_new_session=True,
            bufsize=0,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def volumes(self) -> list[Volume]:
        """Return the volumes of all disks. Raise ReaderLost, UsageError if the readers are not
        installed.
        """
        self._about = "the disks"
        names = {disk.name for disk in self._disks}
        with self._believing():
            found = [told.volume(one) for one in self._items(["volumes"], MAX_VOLUMES)]
            # of two with one number, another would be opened than the one that was shown
            keys = {(one.disk, one.number) for one in found if one.disk in names}
            if len(keys) < len(found):
                raise ValueError("a volume of no disk, or one told twice")
        return found

    def replay(self, volume: Volume) -> bool | None:
        """Given a volume, return whether its journal holds changes that are not at their place;
        None if that cannot be told. Raise NotRead, ReaderLost.
        """
        with self._believing():
            found = self._items(self._of("open", volume), 1)
            own = told.flag_or_none(found[0]) if found else None
        return volume.replay if own is None else own

    def entries(self, volume: Volume, folder: int | None = None) -> list[Entry]:
        """Given a volume and a folder's id, None for its root, return what is in it. Raise NotRead,
        ReaderLost.
        """
        most = self._limits.entries
        found: list[Entry] = []
        with self._believing():
            for batch in self._items(self._of("entries", volume, folder), most):
                found += [told.entry(one) for one in told.items(batch, most - len(found))]
        return found

    def content(self, volume: Volume, file: Entry) -> Iterator[bytes | int]:
        """Given a file, yield its bytes in order, a number for so many zeros. Raise NotRead if they
        are not as many as its entry says, ReaderLost.
        """
        left, started = file.size, False
        with self._believing():
            for kind, payload in self._answer(self._of("content", volume, file.id)):
                if kind == START and not started:
                    started = told.file_size(told.parsed(payload)) == file.size
                    if started:
                        continue
                piece: bytes | int = payload
                if kind == HOLE and len(payload) == LENGTH.size:
                    piece, kind = LENGTH.unpack(payload)[0], DATA
                count = piece if isinstance(piece, int) else len(piece)
                left -= count
                if not started or kind != DATA or not count or left < 0:
                    raise ValueError("what it sends is not the file that it told of")
                yield piece
        if left:
            raise NotRead(f"{left} of {file.size} bytes are missing", HINT)

    def _of(self, what: str, volume: Volume, of: int | None = None) -> list[Any]:
        self._about = f"{volume.filesystem} of volume {volume.number} of {volume.disk}"
        return [what, volume.disk, volume.number, of]

    def _items(self, asked: list[Any], most: int) -> list[Any]:
        found: list[Any] = []
        for kind, payload in self._answer(asked):
            if kind != ITEM or len(found) >= most:
                raise ValueError("too much, or what was not asked")
            found.append(told.parsed(payload))
        return found

    def _answer(self, asked: list[Any]) -> Iterator[tuple[bytes, bytes]]:
        """Ask, and yield the frames of the answer but its last. Raise NotRead, ReaderLost, and
        ValueError for what is no answer.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # then it has ended, which the answer will show
            self._process.stdin.write(json_frame(ASK, asked))
        while (found := read_frame(self._take)) is not None:
            kind, payload = found
            if kind in (END, FAIL):
                self._answers += 1
            if kind == END:
                return
            if kind == FAIL:
                what, text = told.failure(told.parsed(payload))
                if what == "missing":
                    raise UsageError(
                        "the readers of file systems are not installed",
                        "pip install 'backupsvc[files]'",
                    )
                raise NotRead(f"{self._about}: {text}", HINT)
            yield kind, payload
        code = self._process.wait()
        how = f"it ended with {code}"
        if code == -signal.SIGXCPU:
            how = "it took too much time of the processor"
        elif code < 0:
            with suppress(ValueError):  # a number that Python has no name for
                how = f"it was ended by {signal.Signals(-code).name}"
        raise self._lost(how)

    @contextmanager
    def _believing(self) -> Iterator[None]:
        """What is no answer ends the process: nothing that it says from then on counts."""
        try:
            yield
        except ValueError as error:
            raise self._lost(f"it talks nonsense ({error})") from error

    def _take(self, size: int) -> bytes:
        assert self._process.stdout is not None
        descriptor, parts = self._process.stdout.fileno(), []
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while size:
            # only the time that it lets us wait counts, not what we do with its answer
            start = time.monotonic()
            left = self._limits.wait_for(self._answers, self._delivered) - self._waited
            ready = waiting.poll(max(0.0, left) * 1000)
            self._waited += time.monotonic() - start
            if not ready:
                raise self._lost("it did not come to an end")
            part = os.read(descriptor, size)
            if not part:
                break
            self._delivered += len(part)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _lost(self, why: str) -> ReaderLost:
        self._end()
        return ReaderLost(f"the reader of {self._about} was lost: {why}", HINT)

    def _end(self) -> None:
        # killed, not asked: it may be taken over by the image that it reads
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
