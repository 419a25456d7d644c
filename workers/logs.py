"""The log of beat and of workers: the service's own form instead of Celery's, and whoever is to
hear what came of operations.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from celery.signals import setup_logging

from backupsvc import events, logs
from backupsvc.settings import load_settings


def set_up(loglevel: int | str | None = None, **_: Any) -> None:
    """Given Celery's --loglevel, set the log up; BACKUPSVC_LOG__LEVEL counts more."""
    settings = load_settings()
    asked = (
        logging.getLevelName(loglevel).lower()
        if isinstance(loglevel, int)
        else str(loglevel or "").lower()
    )
    by_option = asked in logs.LEVELS and "level" not in settings.log.model_fields_set
    level = asked if by_option else settings.log.level
    logs.configure(
        process=process_name(sys.argv),
        level=level,
        form=settings.log.format,
        secrets=settings.secrets,
    )
    for listener in events.channels(settings):
        events.listen(listener)


setup_logging.connect(set_up)


def process_name(words: Sequence[str]) -> str:
    """Given a Celery command's words, return what its lines are called: ``beat``, or ``worker-``
    and the queue it consumes.
    """
    if "beat" in words:
        return "beat"
    for option in ("--queues", "-Q"):
        if option in words[:-1]:
            return f"worker-{words[words.index(option) + 1]}"
    return "worker"
