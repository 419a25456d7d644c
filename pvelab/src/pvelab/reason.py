"""The reason phrase: PVE puts its error text there, uvicorn only the standard phrase. This carries
ours through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

REASON_HEADER = "x-lab-reason"
DROPPED = "dropped"


def carried(reason: str) -> str:
    """Given a reason phrase, return it as a header can carry it: PVE's texts may end in a blank,
    which no header value may.
    """
    return reason.encode("latin-1", "replace").hex()


class _ReasonConnection(h11.Connection):
    """Turns the application's reason header into the reason phrase of the status line, or into a
    connection that is cut.
    """

    cut: Callable[[], None]

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        if isinstance(event, h11.Response):
            headers = [
                (name, value) for name, value in event.headers if name != REASON_HEADER.encode()
            ]
            reasons = [value for name, value in event.headers if name == REASON_HEADER.encode()]
            if reasons == [DROPPED.encode()]:
                self.cut()
            elif reasons:
                event = h11.Response(
                    status_code=event.status_code,
                    headers=headers,
                    reason=bytes.fromhex(reasons[0].decode()),
                )
        return super().send_with_data_passthrough(event)


class ReasonProtocol(H11Protocol):
    """uvicorn's HTTP protocol with PVE's reason phrases. Give it to uvicorn as
    ``http=ReasonProtocol``.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # a path with a long volume name and a token's header stay far below this
        self.conn = connection = _ReasonConnection(h11.SERVER, 256 * 1024)
        connection.cut = lambda: self.transport.abort()
