"""A Proxmox VE API on loopback, over real TLS: it answers what a test scripts, replays what a real
server answered, or serves a fake cluster.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote

from tests.fakes.cluster import VirtualCluster
from tests.fakes.recorded import RECORDED
from tests.fakes.state import Refusal
from tests.fakes.tls import Certificate

SECRET = "5ecre700-1111-2222-3333-444455556666"
TOKEN = f"svc@pve!b1={SECRET}"


@dataclass(frozen=True)
class Request:
    """What arrived: path without /api2/json, decoded parameters of query and body, headers."""

    method: str
    path: str
    params: dict[str, Any]
    headers: dict[str, str]
    raw_path: str = ""
    body: str = ""


@dataclass(frozen=True)
class Reply:
    """What is answered. ``raw`` replaces the JSON body; ``drop`` closes the connection instead."""

    data: Any = None
    status: int = 200
    reason: str = "OK"
    message: str | None = None
    errors: dict[str, str] | None = None
    raw: str | None = None
    drop: bool = False
    location: str = ""
    delay: float = 0.0
    beside: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> str:
        if self.raw is not None:
            return self.raw
        extra = {**self.beside, **({"message": self.message} if self.message is not None else {})}
        return json.dumps(
            {"data": self.data, **extra, **({"errors": self.errors} if self.errors else {})}
        )


def refuse(status: int, text: str) -> Reply:
    """An error as PVE sends it: the text in the reason phrase and in the body."""
    return Reply(status=status, reason=text.splitlines()[0], message=text + "\n")


def _said(cluster: VirtualCluster, request: Request) -> Reply:
    """What a fake cluster answers to a request."""
    try:
        said = cluster.answer(request.method, request.path.strip("/"), request.params)
    except Refusal as refusal:
        return replace(refuse(refusal.status, refusal.text), errors=refusal.errors)
    return Reply(said.data, beside=said.beside)


Responder = Reply | Callable[[Request], Any]


@dataclass
class FakePve:
    """Routes by (method, path); each holds a list of replies, of which the last stays. What has no
    route is answered by ``cluster``.
    """

    certificate: Certificate
    cluster: VirtualCluster | None = None
    routes: dict[tuple[str, str], list[Responder]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def on(self, method: str, path: str, *replies: Any) -> None:
        """Given replies (a Reply, a function of the request, or plain data), answer one after
        another; the last stays.
        """
        made = [
            reply if isinstance(reply, Reply) or callable(reply) else Reply(reply)
            for reply in replies
        ]
        self.routes[method, path] = made

    def replay(self, scene: str, *numbers: int) -> None:
        """Given a recorded scene and numbers in it, answer the same requests with the recorded
        answers, in that order.
        """
        (file,) = RECORDED.glob(f"{scene}_*.json")
        exchanges = {exchange["n"]: exchange for exchange in json.loads(file.read_text())}
        for number in numbers:
            asked, said = exchanges[number]["request"], exchanges[number]["response"]
            raw = json.dumps(said["json"]) if "json" in said else said.get("text", "")
            key = (asked["method"], unquote(asked["path"].removeprefix("/api2/json")))
            self.routes.setdefault(key, []).append(
                Reply(status=said["status"], reason=said["reason"], raw=raw)
            )

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        replies = self.routes.get((request.method, request.path))
        if not replies and self.cluster is not None:
            return _said(self.cluster, request)
        if not replies:
            return refuse(501, f"Method '{request.method} {request.path}' not implemented")
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        made = reply(request) if callable(reply) else reply
        return made if isinstance(made, Reply) else Reply(made)

    def sent(self, method: str, path: str) -> list[dict[str, Any]]:
        """The parameters of every request of that kind."""
        return [
            request.params
            for request in self.requests
            if (request.method, request.path) == (method, path)
        ]

    def changes(self) -> list[tuple[str, str]]:
        """Every request that was not a reading."""
        return [
            (request.method, request.path) for request in self.requests if request.method != "GET"
        ]

    def start(self) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                path, _, query = self.path.removeprefix("/api2/json").partition("?")
                params: dict[str, Any] = {}
                for name, value in parse_qsl(body, keep_blank_values=True) + parse_qsl(
                    query, keep_blank_values=True
                ):
                    params[name] = [*_listed(params[name]), value] if name in params else value
                request = Request(
                    self.command, unquote(path), params, dict(self.headers), self.path, body
                )
                reply = fake.answer(request)
                if reply.delay:
                    threading.Event().wait(reply.delay)
                if reply.drop:
                    self.close_connection = True
                    return
                raw = reply.body().encode()
                self.send_response(reply.status, reply.reason)
                self.send_header("Content-Length", str(len(raw)))
                if reply.location:
                    self.send_header("Location", reply.location)
                if raw:
                    self.send_header("Content-Type", "application/json;charset=UTF-8")
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PUT = do_DELETE = _serve

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on the terminal."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that refuses the certificate goes away
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.chain)
        self.http.socket = context.wrap_socket(
            self.http.socket, server_side=True, do_handshake_on_connect=False
        )
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.http.server_address[1]}"

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
