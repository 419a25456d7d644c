"""Whoever listens hears, and one who fails keeps nobody else from it."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from backupsvc import events
from backupsvc.errors import Unreachable
from backupsvc.events import log
from backupsvc.settings import load_settings
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


def test_a_listener_that_fails_keeps_nobody_else_from_hearing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise Unreachable("the mail server does not answer")

    with events.listening(broken), events.listening(heard.append):
        events.emit(OUTCOME)
    assert heard == [OUTCOME]
    assert "operation 01A: the mail server does not answer" in caplog.text


def test_every_module_of_the_package_is_a_channel_and_the_log_is_always_one() -> None:
    names = [module.name for module in iter_modules(events.__path__)]
    assert "log" in names
    assert all(callable(import_module(f"backupsvc.events.{name}").channel) for name in names)
    assert log.tell in list(events.channels(load_settings()))


def test_a_channel_that_lies_there_hears_if_the_settings_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "def channel(settings):\n    return print if settings.simulated else None\n"
    (tmp_path / "by_print.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(events, "__path__", [*events.__path__, str(tmp_path)])
    try:
        assert print not in events.channels(load_settings(simulated=False))
        assert print in events.channels(load_settings(simulated=True))
    finally:
        sys.modules.pop("backupsvc.events.by_print", None)
