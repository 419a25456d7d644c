"""A websocket over TLS that one thread alone reads and writes.

The ``websockets`` library's threaded client reads in one thread and writes in another, and a TLS
connection of Python 3.11 is not
made for that: what the server sends right after its handshake (its session tickets) wakes the
reader, which then holds the connection while the request is to be written. Rarely, both then wait
for ever.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.waiting import HANGS


class Websocket:
    """An open websocket: ``send`` and ``receive`` return when they are done."""

    def __init__(self, runner: asyncio.Runner, opened: ClientConnection) -> None:
        self._runner, self._opened = runner, opened

    @property
    def subprotocol(self) -> str | None:
        """What both sides agreed to speak."""
        return self._opened.subprotocol

    def send(self, content: bytes) -> None:
        """Send one binary message."""
        self._runner.run(self._opened.send(content))

    def receive(self) -> bytes:
        """Return the next message, b"" once the server has closed. Raise TimeoutError after long
        silence.
        """
        try:
            return bytes(self._runner.run(asyncio.wait_for(self._opened.recv(), HANGS)))  # type: ignore[arg-type]
        except ConnectionClosed:
            return b""


@contextmanager
def opened(address: str, context: ssl.SSLContext, token: str) -> Iterator[Websocket]:
    """Open a websocket with an API token. Raise InvalidStatus if the server refuses."""

    async def start() -> ClientConnection:
        return await connect(
            address,
            ssl=context,
            subprotocols=["binary"],  # type: ignore[list-item]
            additional_headers={"Authorization": f"PVEAPIToken={token}"},
            proxy=None,
            open_timeout=HANGS,
            ping_interval=None,
        )

    with asyncio.Runner() as runner:
        connection = runner.run(start())
        try:
            yield Websocket(runner, connection)
        finally:
            runner.run(connection.close())
