"""What came of an operation, and of a night, in the few words that a log, a notification and a health check need.

Read from what the operation remembers, once it has ended. Decisions here: how loud to say it, and whether a night was good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from policies import freezing
from policies.model import Operation, OperationState, Verdict

_TESTS = ("prove#", "again#", "sample#")  # how a night calls its restore tests
_NAMED = 5  # guests that a sentence names before it only counts


class Level(StrEnum):
    """How loud something is said."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class NightVerdict(StrEnum):
    """What a night was worth. SIMULATED: all is well with it, but its guests are only modelled, so it shows nothing."""

    GOOD = "good"
    SIMULATED = "simulated"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one operation ended. ``operation`` is its id: whoever hears of it twice knows it by that.

    ``vmid`` is None where it is about no guest, ``upid`` its main PVE task's, ``verdict`` a restore test's, ``seconds`` from its
    opening to its end, ``ended`` epoch seconds, ``error`` the sentence that it failed with.
    """

    operation: str
    kind: str
    vmid: int | None
    node: str | None
    upid: str | None
    state: OperationState
    verdict: str | None
    seconds: int
    ended: int
    error: str | None = None
    frozen: bool = False

    @property
    def level(self) -> Level:
        """How loud: what a person must look at is a warning, what did not come about an error."""
        if self.state in (OperationState.FAILED, OperationState.MISSED) or self.verdict == Verdict.FAILED:
            return Level.ERROR
        fine = self.verdict in (None, Verdict.PROVEN, Verdict.SIMULATED) and not self.frozen
        return Level.INFO if fine and self.state is OperationState.DONE else Level.WARNING


@dataclass(frozen=True, slots=True)
class Night:
    """How a night ended: one line for all of it.

    ``at`` is when it was due (epoch seconds); ``expected`` how many guests were to be backed up, None if it did not come so far;
    ``missing`` those of them whose backup did not end. ``tests`` counts its restore tests, ``proven`` those that proved their
    archive, ``simulated`` those of modelled guests; ``failed_guests`` are the VMIDs without a good backup.
    """

    operation: str
    job: str
    at: int
    state: OperationState
    verdict: NightVerdict
    expected: int | None
    ok: int
    failed: int
    missing: int
    tests: int
    proven: int
    not_proven: int
    simulated: int
    retention: str
    seconds: int
    ended: int
    error: str | None = None
    failed_guests: tuple[int, ...] = ()

    @property
    def level(self) -> Level:
        """How loud."""
        loud = {NightVerdict.FAILED: Level.ERROR, NightVerdict.DEGRADED: Level.WARNING}
        return loud.get(self.verdict, Level.INFO)

    @property
    def good(self) -> bool:
        """Whether nobody need look at it."""
        return self.verdict in (NightVerdict.GOOD, NightVerdict.SIMULATED)

    @property
    def reason(self) -> str:
        """What was not good about it, in one sentence without its time."""
        if self.state is not OperationState.DONE:
            return f"the last night of job {self.job} {_ended(self.state)}{f': {self.error}' if self.error else ''}"
        said = [] if self.expected else ["no guest was to be backed up: its job covers none that the token can see"]
        if bad := self.failed + self.missing:
            named = ", ".join(str(vmid) for vmid in self.failed_guests[:_NAMED])
            more = ", ..." if len(self.failed_guests) > _NAMED else ""
            said.append(f"{bad} of {self.expected} guests have no good backup ({named}{more})")
        if self.retention not in ("done", "none"):
            said.append(f"retention: {self.retention}")
        if self.not_proven:
            said.append(f"{self.not_proven} of {self.tests} restore tests proved nothing")
        return f"the last night of job {self.job}: {'; '.join(said) or 'nothing was wrong'}"


Event = Outcome | Night


def of(operation: Operation, main_task: str | None = None) -> Outcome:
    """Given an ended operation, and as what it remembers its main PVE task if it has one, return what came of it."""
    data: Any = operation.data
    error = data.get("error") or {}
    ended = operation.finished if operation.finished is not None else operation.updated
    upid = data.get(f"{main_task}_upid") if main_task else None
    return Outcome(
        operation.id,
        operation.kind,
        operation.subject,
        node(operation),
        str(upid) if upid else None,
        operation.state,
        (data.get("proof") or {}).get("verdict"),
        max(0, ended - operation.created),
        ended,
        operation.error or error.get("message"),
        freezing.left(data) is not None,
    )


def node(operation: Operation) -> str | None:
    """Given an operation, return the node on which it works, or worked: that of its copy, or of its archive; None if of none."""
    data: Any = operation.data
    scratch, archive = (data.get(key) or {} for key in ("scratch", "archive"))
    found = scratch.get("node") or data.get("node") or archive.get("node")
    return str(found) if found else None


def of_night(night: Operation, pieces: Iterable[Operation]) -> Night:
    """Given an ended night and the operations that it opened, return what came of it."""
    data: Any = night.data
    names = {str(id): str(name) for name, id in (data.get("children") or {}).items()}
    called = [(names.get(piece.id, ""), piece) for piece in pieces]
    backups = {piece.subject: piece for name, piece in called if name.startswith("backup#")}
    again = {piece.subject for name, piece in called if name.startswith("again#")}  # whose first test decided nothing
    judged = [(name, piece) for name, piece in called if not (name.startswith("prove#") and piece.subject in again)]
    tests = Counter(_verdict(piece) for name, piece in judged if name.startswith(_TESTS))
    retention = next((_retention(piece) for name, piece in called if name == "prune"), "none")
    vmids = data.get("vmids")
    wanted: Sequence[int] = sorted((vmid for vmid in backups if vmid is not None) if vmids is None else vmids)
    good = [vmid for vmid in wanted if (piece := backups.get(vmid)) and _saved(piece)]
    ended = [vmid for vmid in wanted if (piece := backups.get(vmid)) and piece.state is not OperationState.OPEN]
    proven, simulated = tests[Verdict.PROVEN], tests[Verdict.SIMULATED]
    counts = {"ok": len(good), "failed": len(ended) - len(good), "missing": len(wanted) - len(ended)}
    counts |= {"tests": tests.total(), "proven": proven, "simulated": simulated}
    counts["not_proven"] = tests.total() - proven - simulated
    finished = night.finished if night.finished is not None else night.updated
    return Night(
        operation=night.id,
        job=str(data.get("job", "")),
        at=int(data.get("at") or night.created),
        state=night.state,
        verdict=_judge(night.state, counts, retention),
        expected=None if vmids is None and not wanted else len(wanted),
        retention=retention,
        seconds=max(0, finished - night.created),
        ended=finished,
        error=night.error,
        failed_guests=tuple(vmid for vmid in wanted if vmid not in good),
        **counts,
    )


def said(event: Event) -> dict[str, Any]:
    """Given an event, return it as the fields of one line: what is empty or zero by nature of its kind is left out."""
    found = {field.name: getattr(event, field.name) for field in fields(event)}
    if isinstance(event, Outcome) and not event.frozen:
        found.pop("frozen")
    found["failed_guests"] = ",".join(str(vmid) for vmid in found.pop("failed_guests", ()))
    plain = {name: str(value) if isinstance(value, StrEnum) else value for name, value in found.items()}
    return {name: value for name, value in plain.items() if value not in (None, "")}


def _judge(state: OperationState, counts: Mapping[str, int], retention: str) -> NightVerdict:
    bad = counts["failed"] + counts["missing"]
    if state is not OperationState.DONE or not counts["ok"]:
        return NightVerdict.FAILED
    if bad or counts["not_proven"] or retention not in ("done", "none"):
        return NightVerdict.DEGRADED
    return NightVerdict.SIMULATED if counts["simulated"] else NightVerdict.GOOD


def _retention(prune: Operation) -> str:
    """How it ended; ``partial`` if it was done and not every storage could be listed."""
    return "partial" if prune.state is OperationState.DONE and prune.data.get("not_listed") else str(prune.state)


def _saved(backup: Operation) -> bool:
    return backup.state is OperationState.DONE and freezing.left(backup.data) is None


def _verdict(test: Operation) -> str:
    proof: Any = test.data.get("proof") or {}
    return str(proof.get("verdict")) if test.state is OperationState.DONE and proof else str(test.state)


def _ended(state: OperationState) -> str:
    return {OperationState.MISSED: "was missed", OperationState.CANCELLED: "was cancelled"}.get(state, "failed")
