"""The log of the service's processes: one line a message, one form of time (ISO 8601, UTC), one
renderer for all of them.

As text a line is ``time=... level=... process=... event=...`` and more ``key=value`` (logfmt); as
JSON an object a line. Secrets that this process knows never get into it, and nothing in it moves a
terminal's cursor.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter

from backupsvc.clock import iso

LEVELS = ("debug", "info", "warning", "error")
# What libraries tell of their own work. "celery" is also the parent of its tasks', worker's and
# beat's loggers.
PLUMBING = (
    "celery",
    "kombu",
    "amqp",
    "billiard",
    "redis",
    "paramiko",
    "urllib3",
    "requests",
    "alembic",
    "sqlalchemy",
    "asyncio",
)
_FIRST = ("time", "level", "process", "event")
_STARTS = (f"{_FIRST[0]}=", f'{{"{_FIRST[0]}"')
_HIDDEN = "***"
_Fields = MutableMapping[str, Any]


def configure(
    *,
    process: str,
    level: str = "info",
    form: str = "text",
    secrets: Collection[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Given a process's name, let all that it logs be written in the one form, to ``stream``
    (standard error).

    ``level`` is one of LEVELS; what libraries say of themselves is heard from warning on, unless it
    is ``debug``. ``form`` is ``text`` or ``json``. ``secrets`` are struck out wherever they stand.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(process, form, secrets))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in PLUMBING:
        logging.getLogger(name).setLevel(
            logging.NOTSET if level == "debug" else max(logging.WARNING, root.level)
        )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def rendered(line: str) -> bool:
    """Given a line that a process wrote, return whether it is one of its log's, in the one form."""
    return line.startswith(_STARTS)


def _formatter(process: str, form: str, secrets: Collection[str]) -> logging.Formatter:
    def stamp(_: Any, __: str, fields: _Fields) -> _Fields:
        record: logging.LogRecord = fields["_record"]
        by = getattr(record, "process_name", process)
        head = {
            "time": iso(record.created),
            "level": record.levelname.lower(),
            "process": by,
            "event": fields["event"],
        }
        if not record.name.startswith("backupsvc"):
            fields["logger"] = record.name
        return {**head, **fields}

    def clean(_: Any, __: str, fields: _Fields) -> _Fields:
        return {name: _clean(value, secrets) for name, value in fields.items()}

    as_logfmt = structlog.processors.LogfmtRenderer(key_order=_FIRST, bool_as_flag=False)

    def text(logger: Any, name: str, fields: _Fields) -> str:
        trace = str(fields.pop("exception", ""))
        fields = {
            key: _shown(value) if isinstance(value, str) else value for key, value in fields.items()
        }
        # a traceback follows on lines of its own, indented: no line of it is taken for one of ours
        traced = (f"  {_shown(part)}" for part in trace.splitlines())
        return "\n".join((as_logfmt(logger, name, fields), *traced))

    return ProcessorFormatter(
        processors=[
            stamp,
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            # after a traceback has become text: it may hold a secret as well (law 7)
            clean,
            structlog.processors.JSONRenderer() if form == "json" else text,
        ]
    )


def _clean(value: Any, secrets: Collection[str]) -> Any:
    if not isinstance(value, str):
        return (
            value
            if value is None or isinstance(value, bool | int | float)
            else _clean(str(value), secrets)
        )
    for secret in secrets:
        value = value.replace(secret, _HIDDEN)
    return value


def _shown(text: str) -> str:
    """What cannot be printed (a terminal's escape, a line's end) as a person can read it. JSON's
    own escapes do that.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
