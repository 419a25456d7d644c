"""The API over TLS on a port of its own: uvicorn in the lab's process, its event loop in a thread."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading

import uvicorn

from backupsvc.lab.app import make_app
from backupsvc.lab.certificates import Certificates
from backupsvc.lab.console import ApiProtocol, ConsoleProtocol
from backupsvc.lab.kernel import Lab


class ApiServer:
    """Serves a lab's API on loopback. ``port`` is known from the start; ``start`` returns when it accepts connections."""

    def __init__(self, lab: Lab, certificates: Certificates, port: int = 0) -> None:
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            make_app(lab),
            http=ApiProtocol,
            ws=ConsoleProtocol,
            ws_ping_interval=None,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=str(certificates.certificate),
            ssl_keyfile=str(certificates.key),
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="api", daemon=True)

    def start(self) -> None:
        """Start to serve."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the lab's API did not start: see the lab's log")
            self._thread.join(0.01)

    def stop(self) -> None:
        """Stop serving and wait for the last answers, three seconds at most."""
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))


def _listen(port: int) -> socket.socket:
    """Listen on the wanted port (a restarted lab's old one), else on any."""
    for wanted in (port, 0):
        # named as TCP so that asyncio switches Nagle's algorithm off: else every answer costs a delayed ACK (measured: 46 ms)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
        except OSError:
            listener.close()
            continue
        listener.listen(128)
        return listener
    raise OSError("no port is free on 127.0.0.1")
