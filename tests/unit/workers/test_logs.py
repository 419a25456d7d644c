"""What a Celery process is called in its log, and which level counts."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from backupsvc import events, logs
from backupsvc.events import log
from workers.logs import process_name, set_up


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["celery", "--app", "workers.app", "--quiet", "beat", "--loglevel", "info"], "beat"),
        (
            ["celery", "-A", "workers.app", "worker", "--queues", "steps", "--loglevel", "info"],
            "worker-steps",
        ),
        (["celery", "-A", "workers.app", "worker", "-Q", "polls"], "worker-polls"),
        (["celery", "-A", "workers.app", "worker"], "worker"),
        (["celery", "worker", "-Q"], "worker"),
    ],
)
def test_a_process_is_called_by_what_it_does(words: list[str], name: str) -> None:
    assert process_name(words) == name


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    yield
    root.handlers[:] = kept
    root.setLevel(level)
    for name in logs.PLUMBING:
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()
    events._listeners.clear()


@pytest.mark.parametrize(
    ("option", "variable", "level"),
    [
        (logging.WARNING, None, logging.WARNING),
        (None, None, logging.INFO),
        ("ERROR", None, logging.ERROR),
        (logging.WARNING, "debug", logging.DEBUG),
        (logging.DEBUG, "error", logging.ERROR),
    ],
)
def test_the_variable_counts_more_than_celerys_option(
    option: int | str | None, variable: str | None, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKUPSVC_LOG__LEVEL", raising=False)
    if variable:
        monkeypatch.setenv("BACKUPSVC_LOG__LEVEL", variable)
    set_up(loglevel=option)
    set_up(loglevel=option)
    assert logging.getLogger().level == level
    assert events._listeners == [log.tell], "once, however often Celery sets its log up"
