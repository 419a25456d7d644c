"""Everything that can go wrong: two families, one for who runs a lab, one for who asks its API.

PvelabError                 base; carries .hint (the reader's next action) and .exit_code          exit 1
├── UsageError              wrong usage: an option, or what is asked of a lab that cannot be       exit 2
├── Unreachable             a lab, or what it needs of the network, cannot be reached              exit 3
├── StartFailed             a lab, a node or a guest did not come up, or a lab does not end        exit 1
├── QemuError               QEMU refuses or dies (pvelab.vmm.qmp)                                  exit 1
├── AgentSilent             a guest's agent does not answer (pvelab.vmm.agent)                     exit 1
└── AgentFailure            a guest's agent refuses (pvelab.vmm.agent)                             exit 1

LabError                    an answer of the API that is an error, in PVE's words
TaskDied, TaskVanished      how a task ends badly
"""

from __future__ import annotations

from collections.abc import Mapping


class PvelabError(Exception):
    """Base of what is raised on purpose for whoever runs a lab. ``message`` says what happened,
    ``hint`` what to do.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class UsageError(PvelabError):
    """The command line is wrong, or asks for what cannot be."""

    exit_code = 2


class Unreachable(PvelabError):
    """No lab runs, or what it takes to make one cannot be fetched."""

    exit_code = 3


class StartFailed(PvelabError):
    """A lab, a node or a guest did not come up, or a lab's server does not end."""


class LabError(Exception):
    """An answer that is an error: its HTTP status, PVE's text (first line = reason phrase) and the
    map of parameter errors.
    """

    def __init__(self, status: int, reason: str, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.errors = status, reason, dict(errors or {})


class TaskDied(Exception):
    """A task ends with ``TASK ERROR: <text>``."""


class TaskVanished(Exception):
    """A task's process ends without its last line, so that its exit status reads ``unexpected
    status``.
    """


def parameter_error(**errors: str) -> LabError:
    """Return PVE's 400 for wrong parameters. Underscores in names stand for hyphens."""
    named = {name.replace("_", "-"): text for name, text in errors.items()}
    return LabError(400, "Parameter verification failed.", named)
