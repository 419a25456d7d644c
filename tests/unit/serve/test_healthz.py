"""/healthz over real sockets."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import pytest

from backupsvc.errors import Unreachable, UsageError
from backupsvc.serve import healthz
from tests.waiting import HANGS

STATE: dict[str, Any] = {"status": "ok"}


def good() -> tuple[bool, dict[str, Any]]:
    return True, STATE


def bad() -> tuple[bool, dict[str, Any]]:
    return False, STATE | {"status": "failing"}


def status(address: str, path: str = "/healthz") -> int:
    connection = http.client.HTTPConnection(address, timeout=HANGS)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_the_status_is_200_when_good_and_503_when_not() -> None:
    with healthz.answering("127.0.0.1:0", good) as address:
        assert status(address) == 200 and status(address, "/healthz?x") == 200
        assert status(address, "/") == 404
        assert healthz.ask(address) == STATE
    with healthz.answering("127.0.0.1:0", bad) as address:
        assert status(address) == 503
        assert healthz.ask(address)["status"] == "failing"


def test_a_unix_socket_does_as_well_and_one_that_was_left_behind_is_no_obstacle(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "h")
    for _ in range(2):
        with healthz.answering(path, good) as address:
            assert address == path and healthz.ask(path) == STATE
        assert Path(path).exists()


def test_an_address_that_is_taken_is_told_with_the_way_out() -> None:
    with healthz.answering("127.0.0.1:0", good) as address:
        with (
            pytest.raises(UsageError, match="Address already in use") as caught,
            healthz.answering(address, good),
        ):
            pass
        assert "--listen" in caught.value.hint


@pytest.mark.parametrize(
    "listen", ["8470", "localhost", "127.0.0.1:", ":8470", "127.0.0.1:99999", "127.0.0.1:x"]
)
def test_what_is_no_address_is_wrong_usage(listen: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        healthz.ask(listen)


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        healthz.ask(str(tmp_path / "none"))
