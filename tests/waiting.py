"""Waiting for something to happen: what decides is the event, and a limit only ends a hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# how long something takes on a machine that has other things to do is nobody's promise; pytest's
# own limit is a bit longer
HANGS = 240.0


def wait_until(
    condition: Callable[[], Any],
    what: object = "",
    pause: float = 0.05,
    moves: Callable[[], object] = lambda: None,
) -> Any:
    """Return the condition's value once it is true. Fail with ``what`` (or what it returns) when it
    seems never to come: what hangs is that of which ``moves`` returns the same for so long.
    """
    end, stood = time.monotonic() + HANGS, moves()
    while not (found := condition()):
        if (stands := moves()) != stood:
            end, stood = time.monotonic() + HANGS, stands
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(pause)
    return found
