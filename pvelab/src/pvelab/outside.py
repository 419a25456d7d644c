"""What users see of the modelled guests: their pages, each on a port of the host's loopback.

A modelled guest has no network. Its first page answers here while its machine runs, and refuses
whoever comes while it does not; a guest that does not answer for any other reason is not modelled.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from pvelab.guests import power
from pvelab.images.site import GUESTS, Service
from pvelab.kernel import Lab

_PATIENCE = 0.5  # seconds that a client may take for its request
_RESET = struct.pack("ii", 1, 0)  # closed with a reset, as by a host without that service
_LOOK = 0.2


class Outside:
    """The pages of a lab's modelled guests. ``start`` it when they run."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._ended = lab, threading.Event()
        self._doors = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._serve, name="outside", daemon=True)

    def start(self) -> dict[str, str]:
        """Open the doors; return where each page is: ``ADDRESS:PORT`` -> ``127.0.0.1:PORT``."""
        found = {}
        for seed in GUESTS:
            page = next((one for one in seed.services if one.kind == "http"), None)
            if page is None or self._lab.guests.get(seed.vmid) is None:
                continue
            door = socket.create_server(("127.0.0.1", 0))
            door.setblocking(False)
            self._doors.register(door, selectors.EVENT_READ, self._answer(seed.vmid, page))
            address = seed.nics[0].address.partition("/")[0]
            found[f"{address}:{page.port}"] = f"127.0.0.1:{door.getsockname()[1]}"
        self._thread.start()
        return found

    def stop(self) -> None:
        """Close the doors."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        for key in list(self._doors.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._doors.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._doors.select(_LOOK):
                with suppress(OSError):  # whoever knocked may have gone
                    client, _ = key.fileobj.accept()  # type: ignore[union-attr]
                    with client:
                        key.data(client)

    def _answer(self, vmid: int, page: Service) -> Callable[[socket.socket], None]:
        body = page.text.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"

        def answer(client: socket.socket) -> None:
            if power.machine_of(self._lab, vmid) is None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return
            client.settimeout(_PATIENCE)
            client.recv(4096)
            client.sendall(head.encode() + body)

        return answer
