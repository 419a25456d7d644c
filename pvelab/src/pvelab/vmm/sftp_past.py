"""SFTP on a node of a scaled lab: OpenSSH's own server, with the archives in it that are only
computed.

Run by ``node_commands`` instead of the server itself, and without any package of the service. It
stands between client and server
and passes every packet on, but for two things: listings of the dump directory begin with the
computed archives, which the lab tells over a socket (``pvelab.past``), and before one of those is
opened or looked at the lab is asked to write it.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

OPEN, LSTAT, OPENDIR, READDIR, STAT, HANDLE, NAME = 3, 7, 11, 12, 17, 102, 104
_SIZE, _PERMISSIONS, _TIMES = 1, 4, 8
_MODE = 0o100640
_AT_ONCE = 100  # names in one packet: far below the 34,000 bytes that every client takes
_NAMES = (OPEN, LSTAT, STAT)


class Proxy:
    """One session. ``dump`` is the node's dump directory, ``past`` the lab's socket."""

    def __init__(
        self, dump: str, past: str, node: str, client: IO[bytes], server: IO[bytes]
    ) -> None:
        self._dump, self._past, self._node = os.path.realpath(dump), past, node
        self._client, self._server, self._mutex = client, server, threading.Lock()
        self._opening: set[bytes] = set()
        self._listings: dict[bytes, list[bytes]] = {}

    def ask(self, packet: bytes) -> None:
        """Given a client's packet, answer it or pass it on."""
        kind, number, rest = packet[0], packet[1:5], packet[5:]
        if kind in _NAMES:
            path = os.fsdecode(_string(rest))
            folder, name = os.path.split(path)
            # the lab writes a computed archive the moment that a client names it
            if (
                name.startswith("vzdump-")
                and os.path.realpath(folder) == self._dump
                and not Path(path).exists()
            ):
                self._talk(f"MAKE {self._node} {name}")
        elif kind == OPENDIR and os.path.realpath(os.fsdecode(_string(rest))) == self._dump:
            self._opening.add(number)
        elif kind == READDIR and (rows := self._listings.get(_string(rest))):
            some, rows[:_AT_ONCE] = rows[:_AT_ONCE], []
            self.tell(bytes([NAME]) + number + struct.pack(">I", len(some)) + b"".join(some))
            return
        _write(self._server, packet)

    def tell(self, packet: bytes) -> None:
        """Given a packet for the client, note the handle of a listing that it may bring, and pass
        it on.
        """
        if packet[0] == HANDLE and packet[1:5] in self._opening:
            self._opening.discard(packet[1:5])
            rows: list[bytes] = []
            for line in self._talk(f"LIST {self._node}").splitlines():
                name, size, mtime = line.split("\t")
                flags, at = _SIZE | _PERMISSIONS | _TIMES, int(mtime)
                attributes = struct.pack(">IQIII", flags, int(size), _MODE, at, at)
                long = f"-rw-r-----    1 root     root     {size:>10} {mtime} {name}"
                rows.append(_packed(name.encode()) + _packed(long.encode()) + attributes)
            self._listings[_string(packet[5:])] = rows
        with self._mutex:
            _write(self._client, packet)

    def _talk(self, request: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lab:
            lab.connect(self._past)
            lab.sendall(f"{request}\n".encode())
            with lab.makefile("rb") as answer:
                return answer.read().decode()


def _string(data: bytes) -> bytes:
    (length,) = struct.unpack(">I", data[:4])
    return data[4 : 4 + length]


def _packed(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def _write(stream: IO[bytes], packet: bytes) -> None:
    stream.write(_packed(packet))
    stream.flush()


def _packets(stream: IO[bytes]) -> Iterator[bytes]:
    while len(head := stream.read(4)) == 4:
        (length,) = struct.unpack(">I", head)
        yield stream.read(length)


def main(server: str, dump: str, past: str, node: str) -> int:
    """Carry a session to its end; return the server's exit code."""
    with subprocess.Popen([server], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as real:
        assert real.stdin is not None
        assert real.stdout is not None
        answers, proxy = real.stdout, Proxy(dump, past, node, sys.stdout.buffer, real.stdin)

        def back() -> None:
            for packet in _packets(answers):
                proxy.tell(packet)

        thread = threading.Thread(target=back, daemon=True)
        thread.start()
        for packet in _packets(sys.stdin.buffer):
            proxy.ask(packet)
        real.stdin.close()
        thread.join()
    return real.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
