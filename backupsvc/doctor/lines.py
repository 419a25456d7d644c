"""What a line of ``doctor`` says."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, FAILED = "ok", "warning", "failed"
# it follows from a node that does not answer, of which the first line has said everything
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at: ``action`` is the reader's next step where it is not ok. Both
    may have several lines.
    """

    name: str
    status: str
    detail: str
    action: str = ""
    exit_code: int = 0
