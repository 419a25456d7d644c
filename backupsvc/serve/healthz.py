"""``/healthz`` over HTTP, on a loopback address or a unix socket: 200 while work is consumed, else
503, with the reasons.

A bad night (``degraded``) is 200 too: whoever restarts what answers 503 must not restart a service
because backups failed.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backupsvc.errors import Unreachable, UsageError

_TIMEOUT_S = 5.0
Report = Callable[[], tuple[bool, dict[str, Any]]]


@contextmanager
def answering(listen: str, report: Report) -> Iterator[str]:
    """Given where to listen and what tells the state, answer until left; yield the address. Raise
    UsageError if it is taken.
    """
    kind, address = _parse(listen)
    if kind == socket.AF_UNIX:
        # left by one that was killed; the state directory's lock says that none is alive
        Path(listen).unlink(missing_ok=True)
    # http.server asks the class, so each address has one of its own
    server_class = type("Server", (_Server,), {"address_family": kind})
    try:
        server = server_class(address, type("Answer", (_Answer,), {"report": staticmethod(report)}))
    except OSError as error:
        raise UsageError(
            f"/healthz cannot listen on {listen}: {error.strerror}",
            "choose another address with --listen",
        ) from None
    threading.Thread(target=server.serve_forever, name="healthz", daemon=True).start()
    try:
        yield listen if kind == socket.AF_UNIX else "{}:{}".format(*server.server_address[:2])
    finally:
        server.shutdown()
        server.server_close()


def ask(listen: str) -> dict[str, Any]:
    """Given where a serve listens, return what its /healthz says. Raise Unreachable if there is no
    answer.
    """
    kind, address = _parse(listen)
    connection = http.client.HTTPConnection("localhost", timeout=_TIMEOUT_S)
    try:
        connection.sock = socket.socket(kind)
        connection.sock.settimeout(_TIMEOUT_S)
        connection.sock.connect(address)
        connection.request("GET", "/healthz")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(
            f"`backupsvc serve` does not answer on {listen}: {error}",
            "start it, or name its address with --listen",
        ) from None
    finally:
        connection.close()
    return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def server_bind(self) -> None:
        """Bind, without the look-up of our own name that HTTPServer does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", 0


class _Answer(BaseHTTPRequestHandler):
    report: Report
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        """Answer /healthz; there is nothing else here."""
        if self.path.partition("?")[0] != "/healthz":
            self._answer(404, {"error": "only /healthz is here"})
            return
        good, state = self.report()
        self._answer(200 if good else 503, state)

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content, indent=2).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a probe each few seconds is no news."""

    def address_string(self) -> str:
        """A unix socket's peer has no address."""
        return "client"


def _parse(listen: str) -> tuple[socket.AddressFamily, Any]:
    """Given host:port, [host]:port or a path, return the address family and the address. Raise
    UsageError if it is neither.
    """
    if "/" in listen:
        return socket.AF_UNIX, listen
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(
            f"--listen {listen} is no address", "write 127.0.0.1:8470, or the path of a unix socket"
        )
    host = host.strip("[]")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))
