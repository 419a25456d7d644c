"""Several archives verified side by side: reading one keeps a core busy, so each has a process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backupsvc.archives.verify import Verification, verify_file
from backupsvc.errors import ArchiveError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

PROGRESS_S = 0.2  # seconds between two words of a process about how far it has read

# how many bytes of which file have been read
Told = Callable[[Path, int], None]


@dataclass(frozen=True, slots=True)
class _Reader:
    """A process that reads one file, and where its answer comes in."""

    path: Path
    process: ForkProcess
    answers: Connection


def verify_files(
    paths: Sequence[Path], jobs: int, told: Told = lambda path, done: None
) -> Iterator[Verification]:
    """Given the paths of archives, read up to ``jobs`` of them at a time and yield what was found,
    in their order. ``told`` hears how many bytes of a file have been read.

    Raise ArchiveError if one cannot be read, or its process was killed; none is left running then,
    nor when whoever asked goes away.
    """
    if jobs == 1 or len(paths) == 1:
        for path in paths:
            yield verify_file(path, on_progress=lambda done, path=path: told(path, done))  # type: ignore[misc]
        return
    import multiprocessing  # loaded where there are several: a command reads one, nearly always

    waiting, reading = list(enumerate(paths)), dict[int, _Reader]()
    found = dict[int, Verification]()
    try:
        for number in range(len(paths)):
            while number not in found:
                while waiting and len(reading) < jobs:
                    next_number, path = waiting.pop(0)
                    answers, theirs = multiprocessing.Pipe(duplex=False)
                    process = multiprocessing.get_context("fork").Process(
                        target=_read, args=(path, theirs), daemon=True
                    )
                    process.start()
                    # the process has its own: when that is gone nobody will answer any more
                    theirs.close()
                    reading[next_number] = _Reader(path, process, answers)
                found |= _heard(reading, told)
            yield found.pop(number)
    finally:
        for reader in reading.values():
            reader.process.terminate()
            reader.process.join()


def _heard(reading: dict[int, _Reader], told: Told) -> dict[int, Verification]:
    """Wait for the next word of any of them; take those that are done out, and return what they
    found.
    """
    from multiprocessing.connection import wait

    done = dict[int, Verification]()
    ready = wait([reader.answers for reader in reading.values()])
    for number, reader in list(reading.items()):
        if reader.answers not in ready:
            continue
        try:
            word = reader.answers.recv()
        except EOFError:
            reader.process.join()
            code = reader.process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise ArchiveError(
                f"{reader.path} was not read to its end, so nothing is known of it: the process "
                f"that read it {how}",
                "Verify it again; if the machine has little memory left, fewer at a time (--jobs 1).",
            ) from None
        if isinstance(word, int):
            told(reader.path, word)
            continue
        reader.process.join()
        reader.answers.close()
        del reading[number]
        if isinstance(word, ArchiveError):
            raise word
        done[number] = word
    return done


def _read(path: Path, answers: Connection) -> None:
    """Read one file in a process of its own, and send what was found, or what it failed with."""
    # Ctrl-C is for whoever asked, who ends this process; a person wants one answer to it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    last = time.monotonic()

    def progress(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_S:
            last = time.monotonic()
            answers.send(done)

    with suppress(BrokenPipeError):  # whoever asked is gone
        try:
            answers.send(verify_file(path, on_progress=progress))
        except ArchiveError as error:
            answers.send(error)
