"""What systemd is told, over a real datagram socket in systemd's place."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupsvc.serve.systemd import Notifier
from tests.waiting import HANGS


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """NOTIFY_SOCKET's value, and the socket behind it."""
    name = str(tmp_path / "n") if request.param == "path" else f"@backupsvc-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0"))
        listener.settimeout(HANGS)
        yield name, listener


def test_systemd_hears_ready_status_watchdog_and_stopping(
    systemd: tuple[str, socket.socket],
) -> None:
    name, listener = systemd
    environment = {
        "NOTIFY_SOCKET": name,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    notifier = Notifier(environment)
    assert environment == {"HOME": "/"}, "no child may speak in our name"
    notifier.ready()
    notifier.status("failing", ["queue steps has consumed nothing for 91 s"])
    notifier.status("failing", ["queue steps has consumed nothing for 92 s"])
    for now in (100.0, 105.0, 109.9, 110.0):
        notifier.alive(now)
    notifier.stopping()
    heard = [listener.recv(100).decode() for _ in range(5)]
    assert heard == [
        "READY=1",
        "STATUS=failing; queue steps has consumed nothing for 91 s",
        "WATCHDOG=1",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_another_processs_watchdog_is_not_fed(systemd: tuple[str, socket.socket]) -> None:
    name, listener = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"})
    notifier.alive(100.0)
    notifier.stopping()
    assert listener.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_is_said_and_a_systemd_that_went_away_is_no_error(
    tmp_path: Path,
) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def fill(name: str) -> int:
    """Send to a socket that nobody reads until it takes no more; return how many it took."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.connect(name.replace("@", "\0"))
        for taken in range(100_000):
            try:
                sender.send(b"x")
            except BlockingIOError:
                return taken
    raise AssertionError("it takes everything")


def test_a_systemd_that_stands_still_holds_nothing_up_and_is_told_later_what_still_counts(
    systemd: tuple[str, socket.socket],
) -> None:
    name, listener = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
    taken = fill(name)

    def speak() -> None:
        notifier.ready()
        notifier.status("ok", [])
        notifier.alive(100.0)
        notifier.stopping()

    speaking = threading.Thread(target=speak, daemon=True)
    speaking.start()
    speaking.join(20)
    assert not speaking.is_alive(), "it waits for a reader"
    assert notifier.dropped >= 4
    for _ in range(taken):
        assert listener.recv(100) == b"x"
    notifier.status("ok", [])
    notifier.alive(101.0)
    assert [listener.recv(100) for _ in range(3)] == [b"STATUS=ok", b"READY=1", b"WATCHDOG=1"]


def test_what_others_wrote_gives_systemd_no_orders(systemd: tuple[str, socket.socket]) -> None:
    name, listener = systemd
    Notifier({"NOTIFY_SOCKET": name}).status(
        "degraded", ["the last night failed: x\nMAINPID=1\x1b[2J"]
    )
    assert listener.recv(200) == rb"STATUS=degraded; the last night failed: x\nMAINPID=1\x1b[2J"
