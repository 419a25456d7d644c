"""What an engine tells while it works, and who is told: progress on a terminal, a process's log,
whoever comes later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from policies.model import Operation


@dataclass(frozen=True, slots=True)
class StepEvent:
    """One thing that happened to an operation: ``kind`` is step, wait, done, failed, say or end;
    ``seconds`` a step's length.

    ``node`` is where the operation works, if its kind knows.
    """

    operation: Operation
    kind: str
    step: str
    text: str = ""
    seconds: float = 0.0
    node: str | None = None


Observer = Callable[[StepEvent], None]
