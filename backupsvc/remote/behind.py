"""Writing a remote file by SFTP with many requests under way: the other half of ``ahead``, with the
same inner calls of paramiko.

paramiko's own file writes 32 KiB a request, waits for each answer, or, pipelined, tells of a fault
only at the end.
"""

from __future__ import annotations

import errno
from typing import Any

import paramiko
from paramiko.message import Message
from paramiko.sftp import (
    CMD_EXTENDED,
    CMD_HANDLE,
    CMD_OPEN,
    CMD_STATUS,
    CMD_WRITE,
    SFTP_FLAG_CREATE,
    SFTP_FLAG_EXCL,
    SFTP_FLAG_WRITE,
    int64,
)

REQUEST = 128 * 1024  # bytes; OpenSSH takes up to 255 KiB at once
UNDER_WAY = 48  # requests: 6 MiB, a 1 Gb/s line with 50 ms
_OK, _NO_SUCH_FILE, _PERMISSION_DENIED, _UNSUPPORTED = 0, 2, 3, 8  # draft-ietf-secsh-filexfer-02, 7
_ERRNO = {
    _NO_SUCH_FILE: errno.ENOENT,
    _PERMISSION_DENIED: errno.EACCES,
    _UNSUPPORTED: errno.EOPNOTSUPP,
}


class SftpFault(OSError):
    """What a server answered to a request that it did not do. ``errno`` where the answer tells it,
    else None.
    """


class Answers:
    """Requests that are under way, and what has come of them. paramiko calls it back as it does its
    own files.
    """

    def __init__(self, sftp: paramiko.SFTPClient) -> None:
        self._sftp: Any = sftp  # its inner calls are in no type stub
        self._waiting: set[int] = set()
        self._last: tuple[int, Message] | None = None
        self._fault: SftpFault | None = None

    def ask(self, kind: int, *values: object) -> None:
        """Send a request. Its answer is awaited with the others."""
        self._waiting.add(self._sftp._async_request(self, kind, *values))

    def settle(self, most: int) -> tuple[int, Message] | None:
        """Wait until at most so many requests are under way; return the last answer that came.
        Raise SftpFault for a bad one.
        """
        while len(self._waiting) > most:
            self._sftp._read_response()
        if self._fault:
            raise self._fault
        return self._last

    def _async_response(self, kind: int, message: Message, number: int) -> None:
        """Given the answer to a request, keep it: paramiko calls this from within
        ``_read_response``.
        """
        self._waiting.discard(number)
        self._last = kind, message
        if kind == CMD_STATUS and (code := message.get_int()) != _OK:
            said = message.get_text() or f"SFTP status {code}"
            self._fault = self._fault or (
                SftpFault(_ERRNO[code], said) if code in _ERRNO else SftpFault(said)
            )


def create(sftp: paramiko.SFTPClient, path: str, mode: int) -> paramiko.SFTPFile:
    """Given a path, open a new file there with that mode, never one that is there. Raise OSError if
    the server refuses.

    paramiko's own ``open`` names no mode, and then a server makes files that everybody may read.
    """
    attributes = paramiko.SFTPAttributes()
    attributes.st_mode = mode
    inner: Any = sftp
    kind, message = inner._request(
        CMD_OPEN, path, SFTP_FLAG_WRITE | SFTP_FLAG_CREATE | SFTP_FLAG_EXCL, attributes
    )
    if kind != CMD_HANDLE:
        raise SftpFault("the server answered with something else than a handle")
    return paramiko.SFTPFile(sftp, message.get_binary(), "wb")


class Behind:
    """A remote file, written from an offset on; what it is given is under way when ``write``
    returns.
    """

    def __init__(self, sftp: paramiko.SFTPClient, remote: paramiko.SFTPFile, offset: int) -> None:
        self._sftp, self._remote, self._offset = sftp, remote, offset
        self._answers = Answers(sftp)

    def write(self, data: bytes) -> None:
        """Add bytes. Raise SftpFault for a piece that the server did not write, be it an earlier
        one.
        """
        for first in range(0, len(data), REQUEST):
            piece = data[first : first + REQUEST]
            self._answers.settle(UNDER_WAY - 1)
            self._answers.ask(CMD_WRITE, self._remote.handle, int64(self._offset), piece)
            self._offset += len(piece)

    def sync(self) -> None:
        """Return when all is written, and on the server's disk if it can tell
        (fsync@openssh.com).
        """
        self._answers.settle(0)
        extended(self._sftp, "fsync@openssh.com", self._remote.handle)


def extended(sftp: paramiko.SFTPClient, request: str, *values: object) -> Message | None:
    """Given an extension's name and what it is given, return its answer, None if the server does
    not know it. Raise SftpFault.
    """
    answers = Answers(sftp)
    answers.ask(CMD_EXTENDED, request, *values)
    try:
        answer = answers.settle(0)
    except SftpFault as fault:
        if fault.errno == errno.EOPNOTSUPP:
            return None
        raise
    return answer[1] if answer else None
