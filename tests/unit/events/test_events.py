"""Whoever listens hears, and one who fails keeps nobody else from it."""

from __future__ import annotations

import pytest

from backupsvc import events
from backupsvc.errors import Unreachable
from policies.model import OperationState
from policies.outcomes import Event, Outcome

OUTCOME = Outcome("01A", "backup", 108, "clovis", None, OperationState.DONE, None, 3, 1_773_086_400)


def test_all_who_listen_hear_once_and_nobody_after_they_left() -> None:
    heard: list[Event] = []
    with events.listening(heard.append):
        assert events.anybody()
        events.emit(OUTCOME)
    events.emit(OUTCOME)
    assert heard == [OUTCOME] and not events.anybody()


def test_a_listener_that_fails_keeps_nobody_else_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise Unreachable("the mail server does not answer")

    with events.listening(broken), events.listening(heard.append):
        events.emit(OUTCOME)
    assert heard == [OUTCOME]
    assert "operation 01A: the mail server does not answer" in caplog.text
