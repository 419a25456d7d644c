"""The websocket that carries a guest's screen over the API's own port, as pveproxy does
(PVE::APIServer::AnyEvent).

The handshake is a call of the API like any other: ``vncwebsocket`` decides, and its refusal goes
out with its status and reason. Then binary frames pass both ways between the client and the port of
a ``vncproxy`` task. No other path has a websocket.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Response as Handshake
from websockets.server import ServerProtocol

from pvelab.reason import DROPPED, REASON_HEADER, ReasonProtocol
from pvelab.wire import Reply, Request

_PIECE = 65536
_CONNECT_WITHIN = 5.0  # seconds
_LARGEST_MESSAGE = 1024 * 1024


class _ReasonHandshake(ServerProtocol):
    """Turns the application's reason header into the reason phrase of a refused handshake, or into
    a connection that is cut.
    """

    cut: Callable[[], None]

    def send_response(self, response: Handshake) -> None:
        reason = response.headers.pop(REASON_HEADER, None)
        if reason == DROPPED:
            self.cut()
        elif reason is not None:
            response.reason_phrase = bytes.fromhex(reason).decode("latin-1")
        super().send_response(response)


class ConsoleProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket with PVE's reason phrases and without compression. Give it to uvicorn as
    ``ws=ConsoleProtocol``.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = handshake = _ReasonHandshake(max_size=_LARGEST_MESSAGE)
        handshake.cut = lambda: self.transport.abort()


class ApiProtocol(ReasonProtocol):
    """The API's protocol, which lets one path become a websocket. Give it to uvicorn as
    ``http=ApiProtocol``.
    """

    def _should_upgrade_to_ws(self) -> bool:
        return bool(self.scope["path"].endswith("/vncwebsocket"))


async def serve(
    socket: WebSocket,
    ask: Callable[[Request], Awaitable[Reply]],
    response: Callable[[Reply], Response],
) -> None:
    """Given a websocket that asks to be opened, have the API decide and carry it until one side
    closes.

    ``ask`` answers a request as the API does, ``response`` makes a response of its reply.
    """
    scope = socket.scope
    headers = {name.lower(): value for name, value in socket.headers.items()}
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    reply = await ask(Request("GET", path, query, headers))
    if reply.status != 200:
        return await socket.send_denial_response(response(reply))
    port = int(json.loads(reply.body)["data"]["port"])
    try:
        # a listener that lets nobody in must not hold the caller for ever
        async with asyncio.timeout(_CONNECT_WITHIN):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return await socket.send_denial_response(
            response(Reply(500, f"connect to 'localhost:{port}' failed"))
        )
    await socket.accept("binary" if "binary" in scope["subprotocols"] else None)
    both = [
        asyncio.create_task(_to_screen(socket, writer)),
        asyncio.create_task(_from_screen(reader, socket)),
    ]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in both:
            one.cancel()
        writer.close()
        with suppress(WebSocketDisconnect, RuntimeError):  # it is the client that closed
            await socket.close()


async def _to_screen(socket: WebSocket, writer: asyncio.StreamWriter) -> None:
    with suppress(WebSocketDisconnect, ConnectionError):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            writer.write(message.get("bytes") or message.get("text", "").encode())
            await writer.drain()


async def _from_screen(reader: asyncio.StreamReader, socket: WebSocket) -> None:
    with suppress(WebSocketDisconnect, ConnectionError):
        while piece := await reader.read(_PIECE):
            await socket.send_bytes(piece)
