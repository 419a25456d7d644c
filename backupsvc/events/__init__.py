"""The one place where it is told what came of operations: whoever wants to hear of it listens here.

Each module in this package is a channel by which somebody hears of it, such as the log
(``events.log``): its ``channel`` takes the settings and returns a listener, or None where they do
not ask for it. An outcome is told at least once: its row in the catalog is struck off only after
all have heard (``engine.telling``), so that a listener may hear it twice, and knows it by the
operation's id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from backupsvc.errors import BackupsvcError
from policies.outcomes import Event

if TYPE_CHECKING:
    from backupsvc.settings import Settings

Listener = Callable[[Event], None]

_listeners: list[Listener] = []
_log = logging.getLogger(__name__)


def listen(listener: Listener) -> None:
    """Let a listener hear every event of this process from now on. One that listens already, or its
    equal, is not added again.

    It is called where operations end and by the tick: it must be quick, and raise nothing but
    BackupsvcError.
    """
    if listener not in _listeners:
        _listeners.append(listener)


def channels(settings: Settings) -> Iterator[Listener]:
    """Given the settings, yield the listener of every channel that they ask for: those of a process
    that tells of outcomes.
    """
    for module in iter_modules(__path__):
        listener: Listener | None = import_module(f"{__name__}.{module.name}").channel(settings)
        if listener:
            yield listener


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let a listener hear every event of this process until this is left."""
    listen(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def anybody() -> bool:
    """Return whether anybody listens in this process."""
    return bool(_listeners)


def emit(event: Event) -> None:
    """Tell all who listen. One who fails keeps nobody else from hearing, and no operation from
    ending.
    """
    # as they are now: who hears may stop listening
    for listener in tuple(_listeners):
        try:
            listener(event)
        except BackupsvcError as error:
            _log.error(
                "%s was not told of operation %s: %s",
                listener.__module__,
                event.operation,
                error.message,
            )
