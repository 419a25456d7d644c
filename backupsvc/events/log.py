"""A channel that is always there: events as lines of the log, one an operation, one a night."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import structlog

from backupsvc.clock import iso
from backupsvc.events import Listener
from policies.outcomes import Event, Outcome, said

if TYPE_CHECKING:
    from backupsvc.settings import Settings

_TIMES = ("at", "ended")


def tell(event: Event) -> None:
    """Given an event, write its line."""
    fields = {name: iso(value) if name in _TIMES else value for name, value in said(event).items()}
    level = logging.getLevelNamesMapping()[event.level.upper()]
    structlog.stdlib.get_logger(__name__).log(
        level, "outcome" if isinstance(event, Outcome) else "night", **fields
    )


def channel(settings: Settings) -> Listener:
    """Given the settings, return the listener."""
    return tell
