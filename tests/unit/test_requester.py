"""Who asks is written down with what is asked."""

from __future__ import annotations

import getpass
import os
import socket

import pytest

from backupsvc import requester

HOST = socket.gethostname()


def test_a_person_is_named_with_the_host_and_with_whoever_called_sudo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert requester.person() == f"root@{HOST}"
    monkeypatch.setenv("SUDO_USER", "alice")
    assert requester.person() == f"root@{HOST} (sudo by alice)"
    monkeypatch.setenv("SUDO_USER", "root")
    assert requester.person() == f"root@{HOST}"


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert requester.person() == f"uid {os.getuid()}@{HOST}"


def test_what_is_due_by_itself_is_asked_for_by_beat() -> None:
    assert requester.schedule() == f"beat@{HOST}"
