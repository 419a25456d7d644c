"""The API over TLS on ports of its own: uvicorn in the lab's process, an event loop in a thread for
each port.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading

import uvicorn

from pvelab import certificates as tls
from pvelab.app import make_app
from pvelab.certificates import Certificates
from pvelab.console import ApiProtocol, ConsoleProtocol
from pvelab.kernel import Lab

_ADDRESS = "127.0.0.1"
_MAX_CUT, _MAX_STOP = 5.0, 10.0


class ApiServer:
    """Serves a lab's API on loopback: as ``node`` does, or for the whole cluster when none is
    named.

    ``port`` is known and held from the start, and refuses connections until ``start`` returns.
    """

    def __init__(self, lab: Lab, certificates: Certificates, port: int = 0, node: str = "") -> None:
        self._socket = _hold(port) or _hold(0)
        if self._socket is None:
            raise OSError(f"no port is free on {_ADDRESS}")
        self.port: int = self._socket.getsockname()[1]
        self._config = uvicorn.Config(
            make_app(lab, node),
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
        self._serving: _Serving | None = None

    def start(self) -> None:
        """Start to serve, for the first time or after ``cut``."""
        if self._socket is None:
            raise OSError(f"port {self.port} of {_ADDRESS} was taken by somebody else meanwhile")
        self._serving = _Serving(self._config, self._socket)

    def cut(self) -> None:
        """Break every connection off and refuse new ones, as a host without power does; the port
        stays held.
        """
        if self._serving:
            self._serving.cut()
            self._serving, self._socket = None, _hold(self.port)

    def stop(self) -> None:
        """Stop serving and wait for the last answers, three seconds at most."""
        if self._serving:
            self._serving.stop()
            self._serving = None
        if self._socket:
            self._socket.close()


class _Serving:
    """One stretch of serving, from a held socket to its close. Its making returns when connections
    are accepted.
    """

    def __init__(self, config: uvicorn.Config, held: socket.socket) -> None:
        self._server, self._held = uvicorn.Server(config), held
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="api", daemon=True
        )
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the lab's API did not start: see the lab's log")
            self._thread.join(0.01)

    async def _run(self) -> None:
        # for cut, which is called on other threads
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._held])

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(_MAX_STOP)

    def cut(self) -> None:
        """End at once. The thread is not waited for: the call that ends it may be running on it."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._break_off, done)
        done.wait(_MAX_CUT)

    def _break_off(self, done: threading.Event) -> None:
        for listener in self._server.servers:
            listener.close()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        self._server.should_exit = self._server.force_exit = True
        done.set()


class Front:
    """Every port of a lab: ``own``, which answers while the lab runs, and each node's, which dies
    and returns with its node.

    A scaled lab has its own port alone: tens of nodes would mean tens of threads and certificates
    that nobody asks.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab, kept, first = lab, lab.settings.get("ports", {}), next(iter(lab.nodes))
        everybody = [name for node in lab.nodes.values() for name in (node.name, node.ip)]
        own = tls.ensure(lab.etc, [_ADDRESS, "localhost", *everybody])
        single = "scale" in lab.settings
        self.own = ApiServer(lab, own, int(lab.settings.get("port", 0)) if single else 0)
        self.nodes: dict[str, ApiServer] = {}
        prints = dict.fromkeys(lab.nodes, own.fingerprint)
        for node in () if single else lab.nodes.values():
            mine = tls.ensure(lab.etc, [_ADDRESS, "localhost", node.name, node.ip], node.name)
            # the one port that older labs had is the first node's
            port = kept.get(node.name, lab.settings.get("port", 0) if node.name == first else 0)
            self.nodes[node.name], prints[node.name] = (
                ApiServer(lab, mine, int(port), node.name),
                mine.fingerprint,
            )
        lab.settings["fingerprints"] = prints
        self.ca_file = own.ca_file

    @property
    def port(self) -> int:
        """The port that everything is pointed at which knows only one: the first node's, or that of
        the whole cluster.
        """
        return next(iter(self.nodes.values()), self.own).port

    @property
    def ports(self) -> dict[str, int]:
        """Each node's own port; none in a lab that has one for the cluster."""
        return {name: server.port for name, server in self.nodes.items()}

    def start(self) -> None:
        """Serve on every port but those of dead nodes."""
        self.own.start()
        for name, server in self.nodes.items():
            if self._lab.nodes[name].online:
                server.start()
        self._lab.node_listeners.append(self._switch)

    def stop(self) -> None:
        """Stop serving on every port."""
        for server in (self.own, *self.nodes.values()):
            server.stop()

    def _switch(self, name: str, alive: bool) -> None:
        if server := self.nodes.get(name):
            (server.start if alive else server.cut)()


def _hold(port: int) -> socket.socket | None:
    """Bind a port (0: any) without listening on it, so that it refuses connections and nobody else
    gets it; None if taken.
    """
    # named as TCP so that asyncio switches Nagle's algorithm off: else every answer costs a delayed
    # ACK (measured: 46 ms)
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((_ADDRESS, port))
    except OSError:
        held.close()
        return None
    return held
