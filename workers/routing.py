"""Which queue a task goes to, so that looking never waits behind doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backupsvc.serve.queues import POLLS, STEPS

_STEPS = {"workers.tasks.advance"}


def route(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    **rest: Any,
) -> dict[str, str]:
    """Given a task's name and arguments, return its queue: a canary goes to the one that it is
    about, a step to the long ones.
    """
    if name == "workers.pulse.beat":
        # it shows that a queue is consumed only if it went through that one
        return {"queue": str(args[0])}
    return {"queue": STEPS if name in _STEPS else POLLS}
