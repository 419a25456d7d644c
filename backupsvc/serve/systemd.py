"""What systemd wants to hear from a service of Type=notify (sd_notify(3)): datagrams to
NOTIFY_SOCKET.

Nothing here waits. A reader that stands still leaves room for a few datagrams
(net.unix.max_dgram_qlen, mostly ten), and then a blocking send would hold up the supervisor with
its children and its own end.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping, Sequence

from backupsvc.visible import one_line


class Notifier:
    """Tells systemd how the service does; without NOTIFY_SOCKET it tells nobody.

    It takes systemd's variables out of the environment, so that no child speaks in the service's
    name. What cannot be sent at once is dropped, and counted in ``dropped``; that the service is
    up, and how it does, is said again when the next call comes.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        meant = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        timeout = int(environment.pop("WATCHDOG_USEC", 0)) / 1e6 if meant else 0.0
        # an abstract socket is written with an @ (sd_notify(3))
        self._address = "\0" + path[1:] if path.startswith("@") else path
        # thrice within systemd's time: for one that is dropped the next makes up
        self._interval = timeout / 3
        self._next = 0.0
        self._said = ""
        self._owes_ready = False
        self.dropped = 0

    def ready(self) -> None:
        """Say that the service is up."""
        self._owes_ready = not self._send("READY=1")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1")

    def status(self, word: str, reasons: Sequence[str]) -> None:
        """Say how the service does, and why; again only when the word changes, for reasons count
        seconds.

        A reason quotes what others wrote, and each line of a datagram is an order to systemd
        (MAINPID=...): it goes as one line.
        """
        if word != self._said and self._send("STATUS=" + one_line("; ".join((word, *reasons)))):
            self._said = word

    def alive(self, now: float) -> None:
        """Given the monotonic time, feed the watchdog if it is due, and say that the service is up
        if that is owed.
        """
        if self._owes_ready:
            self.ready()
        if self._interval and now >= self._next and self._send("WATCHDOG=1"):
            self._next = now + self._interval

    def _send(self, text: str) -> bool:
        """Send it if that takes no time; return False if it was dropped. A systemd that is not
        there misses nothing.
        """
        if not self._address:
            return True
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            try:
                sender.connect(self._address)
                sender.send(text.encode())
            except OSError:
                self.dropped += 1
                return False
        return True
