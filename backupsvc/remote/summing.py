"""A file's SHA-256, taken by the machine that has it: nothing of the file travels."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import paramiko

from backupsvc.remote.connections import LINE_BROKE

T = TypeVar("T")

SILENT = 300.0  # seconds without an answer: a disk that syncs much at once takes long
LEAST = 4 << 20  # bytes a second that a machine reads and hashes at least
_HASH = re.compile(r"([0-9a-f]{64})[ *-]*\n([0-9]{1,18})\n")
# Synced, and dropped from the page cache, so that the disk is read. Where a tool is not GNU's, it
# is read all the same.
_COMMAND = (
    'f={path}; sync "$f" 2>&-; dd if="$f" iflag=nocache count=0 2>&-; nice sha256sum < "$f" && '
    'stat -c %s "$f"'
)


class Begin(Protocol):
    """Begin something on an SSH connection (open a channel), and return the result."""

    def __call__(self, use: Callable[[paramiko.SSHClient], T], /) -> T:
        """Raise what ``use`` raises, and what the connection does."""
        ...


@dataclass(frozen=True, slots=True)
class Summed:
    """A file's size in bytes and its SHA-256."""

    size: int
    sha256: str


def summed_there(begin: Begin, path: str, size: int, alive: Callable[[], None]) -> Summed | None:
    """Given a connection, a file's path there and about how many bytes it has, return what
    ``sha256sum`` says there, None if the login is no shell, or has no such command.

    ``alive`` is called again and again meanwhile; what it raises ends the waiting.
    """
    command = _COMMAND.format(path=shlex.quote(path))
    until = time.monotonic() + SILENT + size / LEAST
    # who lets nobody run anything may say so in any way; SFTP then tells whether it lives
    with suppress(*LINE_BROKE):
        _, out, _ = begin(lambda client: client.exec_command(command, timeout=SILENT))
        # where SFTP is all there is, its server runs now, and ends at once
        out.channel.shutdown_write()
        while not (ended := out.channel.exit_status_ready()) and time.monotonic() < until:
            alive()
            time.sleep(0.02 if size < LEAST else 0.5)
        said = out.read(200).decode(errors="replace") if ended else ""
        out.channel.close()
        if found := _HASH.fullmatch(said):
            return Summed(int(found[2]), found[1])
    return None
