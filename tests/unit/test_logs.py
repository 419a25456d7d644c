"""One form for all lines: text or JSON, ISO time in UTC, no secret, no plumbing, nothing that moves
the cursor.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from backupsvc import logs
from backupsvc.events import log
from backupsvc.settings import load_settings
from policies.model import OperationState
from policies.outcomes import Outcome

LINE = re.compile(
    r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ level=(debug|info|warning|error) process=steps event="
)
OUTCOME = Outcome(
    "01A",
    "backup",
    108,
    "clovis",
    "UPID:1",
    OperationState.FAILED,
    None,
    3,
    1_773_086_400,
    'no "space" left',
)
Set = Callable[..., io.StringIO]


@pytest.fixture
def set_up() -> Iterator[Set]:
    """Set the log up, and put everything back afterwards."""
    root = logging.getLogger()
    kept = (
        root.handlers[:],
        root.level,
        {name: logging.getLogger(name).level for name in logs.PLUMBING},
    )

    def configure(**how: Any) -> io.StringIO:
        stream = io.StringIO()
        logs.configure(process="steps", stream=stream, **how)
        return stream

    yield configure
    root.handlers[:] = kept[0]
    root.setLevel(kept[1])
    for name, level in kept[2].items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


def test_an_outcome_is_one_line_of_keys_and_values(set_up: Set) -> None:
    stream = set_up()
    log.tell(OUTCOME)
    line = stream.getvalue()
    assert line.count("\n") == 1 and LINE.match(line)
    assert line.partition(" level=")[2].rstrip() == (
        "error process=steps event=outcome operation=01A kind=backup vmid=108 node=clovis "
        "upid=UPID:1 state=failed seconds=3 "
        'ended=2026-03-09T20:00:00Z error="no \\"space\\" left"'
    )
    assert logs.rendered(line)


def test_as_json_a_line_is_one_object_with_the_same_keys(set_up: Set) -> None:
    stream = set_up(form="json")
    log.tell(OUTCOME)
    found = json.loads(stream.getvalue())
    assert list(found)[:4] == ["time", "level", "process", "event"]
    assert (found["vmid"], found["error"], found["ended"]) == (
        108,
        'no "space" left',
        "2026-03-09T20:00:00Z",
    )
    assert logs.rendered(stream.getvalue())


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_libraries_and_our_own_loggers_say_has_the_same_form(set_up: Set, form: str) -> None:
    stream = set_up(form=form)
    logging.getLogger("celery.worker").warning("connection %s lost", 3)
    logging.getLogger("backupsvc.catalog.database").info("a sentence")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2 and all(logs.rendered(line) for line in lines)
    assert (
        "connection 3 lost" in lines[0] and "celery.worker" in lines[0] and "logger" not in lines[1]
    )


def test_plumbing_is_heard_from_warning_on_and_wholly_when_debugging(set_up: Set) -> None:
    stream = set_up()
    for name in ("celery.app.trace", "celery.beat", "kombu.connection", "paramiko.transport"):
        logging.getLogger(name).info("plumbing")
    assert stream.getvalue() == ""
    stream = set_up(level="debug")
    logging.getLogger("celery.app.trace").info("plumbing")
    assert "plumbing" in stream.getvalue()


def test_a_level_of_error_silences_warnings_of_all(set_up: Set) -> None:
    stream = set_up(level="error")
    logging.getLogger("celery").warning("x")
    logging.getLogger("backupsvc").warning("x")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("form", ["text", "json"])
def test_law_7_no_secret_gets_into_a_line_or_a_traceback(set_up: Set, form: str) -> None:
    stream = set_up(form=form, secrets={"s3cr3t"})
    try:
        raise ValueError("token s3cr3t")
    except ValueError:
        logging.getLogger("celery").exception("failed with s3cr3t")
    structlog.stdlib.get_logger("backupsvc").info("x", url="redis://:s3cr3t@host")
    text = stream.getvalue()
    assert "s3cr3t" not in text and text.count("***") == 4 and "ValueError" in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_would_move_a_cursor_or_fake_a_line_is_made_visible(set_up: Set, form: str) -> None:
    stream = set_up(form=form)
    logging.getLogger("backupsvc").warning(
        "guest \x1b[2Jevil\ntime=2026-01-01T00:00:00Z level=info process=x event=all-is-well\u202e"
    )
    text = stream.getvalue()
    assert text.count("\n") == 1 and "\x1b" not in text
    assert "\u202e" not in text


def test_a_traceback_follows_its_line_indented(set_up: Set) -> None:
    stream = set_up()
    try:
        raise ValueError("x")
    except ValueError:
        logging.getLogger("backupsvc").exception("it broke")
    lines = stream.getvalue().splitlines()
    assert (
        LINE.match(lines[0]) and len(lines) > 2 and all(line.startswith("  ") for line in lines[1:])
    )


def test_law_7_every_secret_of_the_settings_is_known_to_be_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BACKUPSVC_PVE__TOKEN", "svc@pve!b1=t0ken")
    monkeypatch.setenv("BACKUPSVC_PVE__RESTORE_TOKEN", "svc@pve!b2=r3store")
    monkeypatch.setenv("BACKUPSVC_BROKER__URL", "redis://:br%40ker@127.0.0.1/0")
    monkeypatch.setenv("BACKUPSVC_CATALOG__URL", "postgresql+psycopg://user:c4talog@127.0.0.1/x")
    assert load_settings().secrets == {"t0ken", "r3store", "br%40ker", "br@ker", "c4talog"}


def test_law_7_settings_without_secrets_strike_nothing_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKUPSVC_STATE_DIR", str(tmp_path))
    for name in ("PVE__TOKEN", "PVE__RESTORE_TOKEN", "BROKER__URL", "CATALOG__URL"):
        monkeypatch.delenv(f"BACKUPSVC_{name}", raising=False)
    assert load_settings().secrets == frozenset()
