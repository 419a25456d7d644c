"""What came of an operation, and of a night, in the few words that a log, a notification and a
health check need.

Read from the facts that its kind knows of it, once it has ended. Decisions here: how loud to say
it, and whether a night was good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from policies.model import Operation, OperationState, Verdict
from policies.restore_verdict import Health

_TESTS = ("prove#", "again#", "sample#")  # how a night calls its restore tests
_COPIES = "copy#"  # and its copies
_RECHECKS = ("recheck#", "copy-recheck#")  # and its readings of older archives and copies
_NAMED = 5  # guests that a sentence names before it only counts


class Level(StrEnum):
    """How loud something is said."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class JobRunVerdict(StrEnum):
    """What a night was worth. SIMULATED: all is well with it, but its guests are only modelled, so
    it shows nothing.
    """

    GOOD = "good"
    SIMULATED = "simulated"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one operation ended. ``operation`` is its id: whoever hears of it twice knows it by that.

    ``vmid`` is None where it is about no guest, ``upid`` its main PVE task's, ``verdict`` a restore
    test's, ``seconds`` from its opening to its end, ``ended`` epoch seconds, ``error`` the sentence
    that it failed with.
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
        if (
            self.state in (OperationState.FAILED, OperationState.MISSED)
            or self.verdict == Verdict.FAILED
        ):
            return Level.ERROR
        good = (None, Verdict.PROVEN, Verdict.SIMULATED, Health.RUNNING)
        fine = self.verdict in good and not self.frozen
        return Level.INFO if fine and self.state is OperationState.DONE else Level.WARNING


@dataclass(frozen=True, slots=True)
class JobRunOutcome:
    """How a night ended: one line for all of it.

    ``at`` is when it was due (epoch seconds); ``expected`` how many guests were to be backed up,
    None if it did not come so far; ``missing`` those of them whose backup did not end. ``tests``
    counts its restore tests, ``proven`` those that proved their archive, ``simulated`` those of
    modelled guests; ``failed_guests`` are the VMIDs without a good backup. ``copies`` counts the
    copies that were begun, ``not_copied`` those of them that are not there. ``reread``
    counts the archives and copies that were read anew, ``not_good`` those of them that are damaged
    or could not be read.
    """

    operation: str
    job: str
    at: int
    state: OperationState
    verdict: JobRunVerdict
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
    copies: int = 0
    not_copied: int = 0
    reread: int = 0
    not_good: int = 0

    @property
    def level(self) -> Level:
        """How loud."""
        loud = {JobRunVerdict.FAILED: Level.ERROR, JobRunVerdict.DEGRADED: Level.WARNING}
        return loud.get(self.verdict, Level.INFO)

    @property
    def good(self) -> bool:
        """Whether nobody need look at it."""
        return self.verdict in (JobRunVerdict.GOOD, JobRunVerdict.SIMULATED)

    @property
    def reason(self) -> str:
        """What was not good about it, in one sentence without its time."""
        if self.state is not OperationState.DONE:
            how = {
                OperationState.MISSED: "was missed",
                OperationState.CANCELLED: "was cancelled",
            }.get(self.state, "failed")
            why = f": {self.error}" if self.error else ""
            return f"the last night of job {self.job} {how}{why}"
        said = (
            []
            if self.expected
            else ["no guest was to be backed up: its job covers none that the token can see"]
        )
        if bad := self.failed + self.missing:
            named = ", ".join(str(vmid) for vmid in self.failed_guests[:_NAMED])
            more = ", ..." if len(self.failed_guests) > _NAMED else ""
            said.append(f"{bad} of {self.expected} guests have no good backup ({named}{more})")
        if self.retention not in ("done", "none"):
            said.append(f"retention: {self.retention}")
        if self.not_copied:
            said.append(f"{self.not_copied} of {self.copies} copies were not made")
        if self.not_good:
            said.append(
                f"{self.not_good} of {self.reread} archives and copies that were read anew are "
                "damaged or could not be read"
            )
        if self.not_proven:
            said.append(f"{self.not_proven} of {self.tests} restore tests proved nothing")
        return f"the last night of job {self.job}: {'; '.join(said) or 'nothing was wrong'}"


Event = Outcome | JobRunOutcome


@dataclass(frozen=True, slots=True)
class Facts:
    """What the kind of an operation knows of one for its outcome. ``node`` is where it works or
    worked: that of its copy, or of its archive; ``upid`` its main PVE task's; ``partial`` whether
    it is done, but not everywhere; the rest as in Outcome.
    """

    node: str | None = None
    upid: str | None = None
    verdict: str | None = None
    frozen: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class NightFacts:
    """What a night remembers: its job, when it was due (epoch seconds), the guests to be backed up
    (None: it did not come so far), and what it called the operations that it opened, by their ids.
    """

    job: str
    at: int
    vmids: tuple[int, ...] | None = None
    names: Mapping[str, str] = field(default_factory=dict)


def of(operation: Operation, facts: Facts) -> Outcome:
    """Given an ended operation and what its kind knows of it, return what came of it."""
    error = operation.book.error
    ended = operation.finished if operation.finished is not None else operation.updated
    return Outcome(
        operation.id,
        operation.kind,
        operation.subject,
        facts.node,
        facts.upid,
        operation.state,
        facts.verdict,
        max(0, ended - operation.created),
        ended,
        operation.error or (error.message if error else None),
        facts.frozen,
    )


def of_job_run(
    job_run: Operation, known: NightFacts, pieces: Iterable[tuple[Operation, Facts]]
) -> JobRunOutcome:
    """Given an ended night, what it remembers, and the operations that it opened with their facts,
    return what came of it.
    """
    called = [(known.names.get(piece.id, ""), piece, facts) for piece, facts in pieces]
    retention = next(
        (
            # done, but not every storage could be listed
            "partial" if piece.state is OperationState.DONE and facts.partial else str(piece.state)
            for name, piece, facts in called
            if name == "prune"
        ),
        "none",
    )
    wanted, good, counts = _counts(called, known.vmids)
    bad = ("failed", "missing", "not_proven", "not_copied", "not_good")
    if job_run.state is not OperationState.DONE or not good:
        verdict = JobRunVerdict.FAILED
    elif any(counts[name] for name in bad) or retention not in ("done", "none"):
        verdict = JobRunVerdict.DEGRADED
    else:
        verdict = JobRunVerdict.SIMULATED if counts["simulated"] else JobRunVerdict.GOOD
    finished = job_run.finished if job_run.finished is not None else job_run.updated
    return JobRunOutcome(
        operation=job_run.id,
        job=known.job,
        at=known.at,
        state=job_run.state,
        verdict=verdict,
        expected=None if known.vmids is None and not wanted else len(wanted),
        retention=retention,
        seconds=max(0, finished - job_run.created),
        ended=finished,
        error=job_run.error,
        failed_guests=tuple(vmid for vmid in wanted if vmid not in good),
        **counts,
    )


def said(event: Event) -> dict[str, Any]:
    """Given an event, return it as the fields of one line: what is empty or zero by nature of its
    kind is left out.
    """
    found = {field.name: getattr(event, field.name) for field in fields(event)}
    if isinstance(event, Outcome) and not event.frozen:
        found.pop("frozen")
    if isinstance(event, JobRunOutcome) and not event.copies:
        found.pop("copies")
        found.pop("not_copied")
    if isinstance(event, JobRunOutcome) and not event.reread:
        found.pop("reread")
        found.pop("not_good")
    found["failed_guests"] = ",".join(str(vmid) for vmid in found.pop("failed_guests", ()))
    plain = {
        name: str(value) if isinstance(value, StrEnum) else value for name, value in found.items()
    }
    return {name: value for name, value in plain.items() if value not in (None, "")}


def _counts(
    called: Sequence[tuple[str, Operation, Facts]], vmids: Collection[int] | None
) -> tuple[list[int], list[int], dict[str, int]]:
    """The guests that were to be backed up, those that were, and the counts of the night by their
    names in its outcome.
    """
    # whether each guest's backup was good, None while it has not ended; one that left its guest
    # frozen was not, though PVE ended it well
    backups = {
        piece.subject: piece.state is OperationState.DONE and not facts.frozen
        if piece.state is not OperationState.OPEN
        else None
        for name, piece, facts in called
        if name.startswith("backup#")
    }
    wanted = sorted(vmid for vmid in (backups if vmids is None else vmids) if vmid is not None)
    good = [vmid for vmid in wanted if backups.get(vmid)]
    ended = [vmid for vmid in wanted if backups.get(vmid) is not None]
    # whose first test decided nothing: the second one's verdict stands for both
    again = {piece.subject for name, piece, _ in called if name.startswith("again#")}
    tests = Counter(
        facts.verdict if piece.state is OperationState.DONE and facts.verdict else str(piece.state)
        for name, piece, facts in called
        if name.startswith(_TESTS) and not (name.startswith("prove#") and piece.subject in again)
    )
    proven, simulated = tests[Verdict.PROVEN], tests[Verdict.SIMULATED]
    copies = [piece for name, piece, _ in called if name.startswith(_COPIES)]
    readings = [piece for name, piece, _ in called if name.startswith(_RECHECKS)]
    return (
        wanted,
        good,
        {
            "ok": len(good),
            "failed": len(ended) - len(good),
            "missing": len(wanted) - len(ended),
            "tests": tests.total(),
            "proven": proven,
            "simulated": simulated,
            "not_proven": tests.total() - proven - simulated,
            "copies": len(copies),
            "not_copied": sum(piece.state is not OperationState.DONE for piece in copies),
            "reread": len(readings),
            "not_good": sum(piece.state is not OperationState.DONE for piece in readings),
        },
    )
