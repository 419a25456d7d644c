"""TCP links that can be cut: what stands between a worker and its Redis or its database, on
loopback.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Link:
    """Listens on a port of its own and passes everything on to a target: a unix socket's path, or
    (host, port).
    """

    def __init__(self, target: Path | tuple[str, int]) -> None:
        self._target, self._open, self._pairs = target, True, set[socket.socket]()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection off, and refuse new ones."""
        with self._lock:
            self._open = False
            for end in self._pairs:
                _close(end)
            self._pairs.clear()

    def mend(self) -> None:
        """Pass on again."""
        self._open = True

    def close(self) -> None:
        """Cut it for good."""
        self.cut()
        _close(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._join(near)

    def _join(self, near: socket.socket) -> None:
        try:
            far = self._connect() if self._open else None
        except OSError:
            far = None
        if far is None:
            _close(near)
            return
        with self._lock:
            self._pairs |= {near, far}
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, tuple):
            return socket.create_connection(self._target)
        far = socket.socket(socket.AF_UNIX)
        far.connect(str(self._target))
        return far


@contextmanager
def link(target: Path | tuple[str, int]) -> Iterator[Link]:
    """Yield a link to a target, and cut it at the end."""
    made = Link(target)
    try:
        yield made
    finally:
        made.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _close(source)
    _close(sink)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
