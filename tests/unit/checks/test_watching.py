"""Asking a service from outside, ten times a second: real sockets on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backupsvc.checks import outside
from backupsvc.checks.watching import FIRST, Watch, listen
from backupsvc.clock import SystemClock
from policies.ha.drill_measure import EVERY
from policies.model import CheckSpec

ARP = """IP address       HW type     Flags       HW address            Mask     Device
192.168.10.8     0x1         0x2         BC:24:11:00:00:08     *        eth0
192.168.10.9     0x1         0x0         00:00:00:00:00:00     *        eth0
broken
"""


@contextmanager
def door() -> Iterator[int]:
    """A listener that accepts and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def spec(port: int) -> CheckSpec:
    return CheckSpec("tcp", f"tcp {port}", {"port": port})


def test_a_service_that_answers_is_heard_each_time() -> None:
    with door() as port:
        heard, detail = listen(spec(port), 108, "127.0.0.1", {}, SystemClock())
    assert len(heard) >= FIRST and all(one.good for one in heard) and detail == ""


def test_one_that_refuses_is_not_and_what_came_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
        heard, detail = listen(spec(port), 108, "127.0.0.1", {}, SystemClock())
    assert len(heard) >= FIRST and not any(one.good for one in heard)
    assert "refused" in detail


def test_a_question_that_hangs_keeps_no_other_from_being_asked_and_is_waited_for() -> None:
    clock = SystemClock()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:  # accepts, and says nothing
        port = int(mute.getsockname()[1])
        asked = CheckSpec("http", "http", {"port": port})
        with Watch(asked, 108, "127.0.0.1", {}, clock) as watch:
            while len(watch.heard()[0]) < 3:
                clock.sleep(EVERY)
            _, until = watch.heard()
        heard, lasted = watch.heard()
    assert not any(one.good for one in heard) and "no answer within 1 s" in watch.detail
    # of those under way nothing was said before they ended
    assert until < lasted and len(heard) > 3
    times = sorted(one.at for one in heard)
    assert times[1] - times[0] < heard[0].took


def test_an_address_is_reached_where_the_settings_say() -> None:
    with door() as port:
        for routes in (
            {"192.0.2.8:80": f"127.0.0.1:{port}"},
            {"192.0.2.8": f"127.0.0.1:{port}"},
            {"192.0.2.8": "127.0.0.1"},
        ):
            wanted = port if "127.0.0.1" in routes.values() else 80
            outside.connector(routes)("192.0.2.8", wanted, 2.0).close()
        outside.connector({})("127.0.0.1", port, 2.0).close()


def test_whose_hardware_answers_is_seen_where_this_machine_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "arp"
    table.write_text(ARP)
    monkeypatch.setattr(outside, "_ARP", table)
    assert outside.neighbour({}, "192.168.10.8") == "bc:24:11:00:00:08"
    assert outside.neighbour({}, "192.168.10.9") is None
    assert outside.neighbour({}, "10.0.0.1") is None
    # behind a forwarded port stands the one who forwards
    assert outside.neighbour({"192.168.10.8:80": "203.0.113.5:80"}, "192.168.10.8") is None
    monkeypatch.setattr(outside, "_ARP", tmp_path / "none")
    assert outside.neighbour({}, "192.168.10.8") is None
