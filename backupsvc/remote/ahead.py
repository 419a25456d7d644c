"""Reading a remote file by SFTP with many requests under way, and little memory.

paramiko's own ``prefetch`` keeps a list of every request of the file (a hundred bytes for each 32
KiB of it), takes the first lull for the end of its work and then asks piece by piece, and kept
within a limit it sleeps between requests. This reader sends its requests itself, from the thread
that reads. It uses the same inner calls of paramiko 5 as that package's own file class.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import paramiko
from paramiko.message import Message
from paramiko.sftp import CMD_DATA, CMD_READ, int64

# bytes; OpenSSH answers up to 255 KiB at once, servers that answer less are asked for less from
# then on. Measured on loopback, beside other work: 32 KiB 41 MiB/s, 64 KiB 68, 128 KiB 111, 255 KiB
# 118
REQUEST = 128 * 1024
UNDER_WAY = 48  # requests: 6 MiB, a 1 Gb/s line with 50 ms


@dataclass(slots=True)
class _Piece:
    """One request: where, how much, and its answer as soon as it is there (b"" at the end of the
    file).
    """

    offset: int
    length: int
    data: bytes | None = None
    error: Exception | None = None


class Ahead:
    """A remote file, read from ``start`` to its end. paramiko calls it back as it does its own
    files.
    """

    def __init__(
        self, sftp: paramiko.SFTPClient, remote: paramiko.SFTPFile, size: int, start: int = 0
    ) -> None:
        self._sftp: Any = sftp  # its inner calls are in no type stub
        self._remote, self._size = remote, size
        self._pieces: deque[_Piece] = deque()
        self._waiting: dict[int, _Piece] = {}
        self._next, self._left, self._length = start, b"", REQUEST

    def read(self, size: int) -> bytes:
        """Given a number of bytes, return as many, fewer only at the end. Raise what paramiko
        raises when the line breaks.
        """
        parts, missing = [], size
        while missing > 0 and (data := self._left or self._piece()):
            part, self._left = data[:missing], data[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _piece(self) -> bytes:
        """The next bytes of the file, b"" at its end."""
        while len(self._pieces) < UNDER_WAY and self._next < self._size:
            piece = _Piece(self._next, min(self._length, self._size - self._next))
            self._next += piece.length
            self._pieces.append(piece)
            self._send(piece)
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        while piece.data is None and piece.error is None:
            self._sftp._read_response()
        if piece.error is not None:
            raise piece.error
        data = piece.data or b""
        # allowed anywhere: the rest is asked for before everything else
        if data and len(data) < piece.length:
            rest = _Piece(piece.offset + len(data), piece.length - len(data))
            self._pieces.appendleft(rest)
            self._send(rest)
            # not for less than a page: one short answer would slow all that follow
            self._length = min(self._length, max(len(data), 4096))
        if not data:  # shorter than it was when it was opened
            self._pieces.clear()
            self._next = self._size
        return data

    def _send(self, piece: _Piece) -> None:
        number = self._sftp._async_request(
            self, CMD_READ, self._remote.handle, int64(piece.offset), piece.length
        )
        self._waiting[number] = piece

    def _async_response(self, kind: int, message: Message, number: int) -> None:
        """Given the answer to a request, keep it: paramiko calls this from within
        ``_read_response``.
        """
        piece = self._waiting.pop(number)
        if kind == CMD_DATA:
            piece.data = message.get_string()
            return
        try:
            self._sftp._convert_status(message)
            piece.data = b""
        except EOFError:
            piece.data = b""
        except OSError as error:
            piece.error = error
