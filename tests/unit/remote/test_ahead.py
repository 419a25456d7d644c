"""Reading ahead: requests under way before the first answer is awaited, short answers, ends and
errors.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paramiko.message import Message
from paramiko.sftp import CMD_DATA, CMD_STATUS

from backupsvc.remote.ahead import REQUEST, UNDER_WAY, Ahead


class Server:
    """Stands where paramiko's SFTP client stands: keeps requests in order and answers one at each
    ``_read_response``.
    """

    def __init__(self, data: bytes, most: int = 1 << 20) -> None:
        self.data, self.most, self.fails_at = data, most, -1
        self.asked: deque[tuple[int, Any, int, int]] = deque()
        self.numbers = 0
        self.lengths: list[int] = []
        self.deepest = 0

    def _async_request(
        self, reader: Any, kind: int, handle: bytes, offset: int, length: int
    ) -> int:
        self.numbers += 1
        self.asked.append((self.numbers, reader, int(offset), length))
        self.lengths.append(length)
        self.deepest = max(self.deepest, len(self.asked))
        return self.numbers

    def _read_response(self) -> None:
        number, reader, offset, length = self.asked.popleft()
        if 0 <= self.fails_at < offset + length:
            reader._async_response(CMD_STATUS, Message(b"permission"), number)
            return
        data = self.data[offset : offset + min(length, self.most)]
        message = Message()
        message.add_string(data)
        message.rewind()
        reader._async_response(CMD_DATA if data else CMD_STATUS, message, number)

    def _convert_status(self, message: Message) -> None:
        if self.fails_at >= 0:
            raise PermissionError("not allowed")
        raise EOFError


class Handle:
    handle = b"h"


def reader(server: Server, size: int | None = None) -> Ahead:
    return Ahead(server, Handle(), len(server.data) if size is None else size)  # type: ignore[arg-type]


def test_many_requests_are_under_way_before_the_first_answer() -> None:
    server = Server(bytes(UNDER_WAY * 2 * REQUEST))
    assert len(reader(server).read(1)) == 1
    assert server.deepest == UNDER_WAY and server.lengths[0] == REQUEST


@given(st.binary(max_size=5000), st.integers(1, 7000), st.integers(1, 5000))
def test_whatever_a_server_answers_at_once_the_file_arrives_whole(
    data: bytes, most: int, chunk: int
) -> None:
    ahead = reader(Server(data, most))
    assert b"".join(iter(lambda: ahead.read(chunk), b"")) == data


def test_a_server_that_answers_less_is_asked_for_less() -> None:
    server = Server(bytes(200 * REQUEST), most=32 * 1024)
    ahead = reader(server)
    while ahead.read(REQUEST):
        pass
    assert server.lengths[-1] <= 32 * 1024
    # the rest of a short answer is asked for only at the beginning
    assert len(server.lengths) < 200 * 4 + UNDER_WAY * 5


def test_a_file_that_became_shorter_ends_where_it_ends() -> None:
    ahead = reader(Server(b"abc"), size=10 * REQUEST)
    assert ahead.read(100) == b"abc"
    assert ahead.read(100) == b""


def test_an_error_of_the_server_is_raised() -> None:
    server = Server(bytes(REQUEST))
    server.fails_at = 0
    with pytest.raises(PermissionError):
        reader(server).read(10)
