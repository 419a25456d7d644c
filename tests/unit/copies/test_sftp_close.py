"""The end of an SFTP session whose line broke."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import paramiko
import pytest

from backupsvc.copies.sftp import SftpTarget


@pytest.mark.parametrize(
    "error", [EOFError(), OSError("Socket is closed"), paramiko.SSHException()]
)
def test_a_session_whose_line_broke_is_ended_without_a_word(error: Exception) -> None:
    def close() -> None:
        raise error

    line: Any = SimpleNamespace(peer=SimpleNamespace(user="u", host="h", port=22))
    target = SftpTarget("offsite", "/copies", line)
    session: Any = SimpleNamespace(close=close)
    target._opened = session
    target.close()
    target.close()
    assert target._opened is None
