"""What the engine itself keeps of an operation, of whatever kind: what was asked, when each step
began, tries, errors and tasks.

What the kind's own steps found out is its memory, which only that kind reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from policies.error_kinds import ErrorKind
from policies.moments import Moment


@dataclass(frozen=True, slots=True)
class StepError:
    """The error that a step ended with. ``exit_code`` is what a command ends with for it."""

    step: str
    message: str
    hint: str = ""
    kind: ErrorKind = ErrorKind.OTHER
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A PVE task that a step starts once: when that was intended, its UPID once it is known.

    ``asked`` is when it was itself asked about last (epoch seconds), ``told`` whether its end
    stands in the history, ``stopped`` whether PVE was asked to stop it.
    """

    intended: Moment | None = None
    upid: str | None = None
    asked: float | None = None
    told: bool = False
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """An operation's bookkeeping.

    ``asked`` is the memory that it was opened with (None: by a version that did not keep it),
    ``timeout_s`` the seconds until its ``deadline`` (epoch seconds). ``entered`` says when each
    step began, ``seconds`` how long those lasted that are over, ``tasks`` the PVE tasks by the
    steps' own names for them. ``tries`` and ``failing_since`` count the failures of the present
    step that may pass, ``backs`` how often it went back. ``waits`` is what it waits for now,
    ``said`` what the present step tells at its end, ``cancelled`` why it was cancelled.
    """

    asked: Mapping[str, Any] | None = None
    asked_by: str = ""
    retry_of: str | None = None
    timeout_s: int | None = None
    deadline: int | None = None
    entered: Mapping[str, Moment] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    tasks: Mapping[str, TaskRecord] = field(default_factory=dict)
    tries: int = 0
    failing_since: Moment | None = None
    backs: int = 0
    waits: str = ""
    said: str = ""
    cancelled: str = ""
    error: StepError | None = None
    cleanup_error: StepError | None = None

    def failed_at(self, *steps: str) -> bool:
        """Whether it is one of these steps that has failed."""
        return self.error is not None and self.error.step in steps

    def task(self, name: str) -> TaskRecord:
        """Given a step's own name for a PVE task, return what is known of it."""
        return self.tasks.get(name) or TaskRecord()

    def upid(self, name: str) -> str | None:
        """Given a step's own name for a PVE task, return its UPID, None while it is not known."""
        return self.task(name).upid

    @property
    def worst(self) -> StepError | None:
        """The error that counts: that of the cleanup, else that of the first step that failed."""
        return self.cleanup_error or self.error
