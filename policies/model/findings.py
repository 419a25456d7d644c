"""What is wrong with a site, as it is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How loudly a finding speaks."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the facts show to be wrong. ``id`` is stable; ``action`` is the reader's next
    step.

    ``under``: the node whose silence it follows from; it then has no action of its own.
    """

    id: str
    severity: Severity
    subject: str
    detail: str
    action: str
    vmid: int | None = None
    under: str = ""
