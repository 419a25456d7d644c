"""What systemd wants to hear from a service of Type=notify (sd_notify(3)): datagrams to NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence
from contextlib import suppress


class Notifier:
    """Tells systemd how the service does; without NOTIFY_SOCKET it tells nobody.

    It takes systemd's variables out of the environment, so that no child speaks in the service's name.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        meant = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        timeout = int(environment.pop("WATCHDOG_USEC", 0)) / 1e6 if meant else 0.0
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._interval = timeout / 3
        self._next = 0.0
        self._said = ""

    def ready(self) -> None:
        """Say that the service is up."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1")

    def status(self, word: str, reasons: Sequence[str]) -> None:
        """Say how the service does, and why; again only when the word changes, for reasons count seconds."""
        if word != self._said:
            self._said = word
            self._send("STATUS=" + "; ".join((word, *reasons)))

    def alive(self, now: float) -> None:
        """Given the monotonic time, feed the watchdog, if there is one and it is due."""
        if self._interval and now >= self._next:
            self._next = now + self._interval
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(self._address)
            sender.send(text.encode())
