"""What the nodes' SFTP asks a scaled lab: which archives of the past a node has, and to write one
of them.

A unix socket in the lab's run directory; a request is a line: ``LIST node`` (answered by a line an
archive: name, size, time, with tabs between) or ``MAKE node file``.
"""

from __future__ import annotations

import socketserver
import threading
from pathlib import Path

from pvelab.guests.history import History
from pvelab.guests.names import parse_name
from pvelab.kernel import Lab

_STORAGE = "local"  # what lies in a node's /var/lib/vz/dump


class PastServer:
    """Answers from its making on until ``close``."""

    def __init__(self, lab: Lab, history: History, path: Path) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                words = self.rfile.readline().decode().split()
                if words[:1] == ["LIST"]:
                    self.wfile.write(listed(history, words[1]).encode())
                elif words[:1] == ["MAKE"] and (name := parse_name(words[2], lab.tz)):
                    history.materialise(words[1], _STORAGE, name)

        self._path = path
        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="past", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._path.unlink()


def listed(history: History, node: str) -> str:
    """Return a line for each computed archive in a node's dump directory."""
    rows = history.archives(node, _STORAGE)
    return "".join(f"{row.name.file}\t{row.size}\t{row.ctime}\n" for row in rows)
