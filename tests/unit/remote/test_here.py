"""What this machine can ask of an address, asked of itself: a port that is open, one that refuses."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from backupsvc.remote.here import Here
from policies.silence import Heard, Way
from tests.unit.remote.sshd import free_port

HERE = "127.0.0.1"


@pytest.fixture
def open_port() -> Iterator[int]:
    with socket.create_server((HERE, 0)) as server:
        yield server.getsockname()[1]


def test_what_is_open_and_what_refuses_is_told_as_soon_as_all_have_answered(open_port: int) -> None:
    closed, began = free_port(), time.monotonic()
    assert Here().knock(HERE, [open_port, closed], 60.0) == {
        open_port: Heard.OPEN,
        closed: Heard.REFUSED,
    }
    assert time.monotonic() - began < 60.0
    with Here().connect(HERE, open_port, 5.0) as sock:
        assert sock.gettimeout() == 5.0
    with pytest.raises(ConnectionRefusedError):
        Here().connect(HERE, closed, 5.0)


def test_what_gives_no_answer_in_its_time_is_nothing_heard() -> None:
    with socket.create_server((HERE, 0), backlog=0) as server:
        port = server.getsockname()[1]
        assert Here().knock(HERE, [], 60.0) == {}
        assert Here().knock(HERE, [port], 0.0)[port] in (Heard.NOTHING, Heard.OPEN)


def test_its_own_kernel_tells_of_the_neighbour_and_of_the_way_to_it() -> None:
    table = Here().neighbour(HERE)
    assert table is None or table.way is Way.OWN  # None: no `ip`, and no files either


def test_a_machine_that_does_not_tell_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: Any, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("sh", 5)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert Here().neighbour(HERE) is None
