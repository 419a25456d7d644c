"""What has come of a job's run: in one line, as an outcome, and which operations it opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from backupsvc.catalog import Catalog
from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.operations.backup import memory as backup
from backupsvc.operations.copy import memory as copy
from backupsvc.operations.copy_recheck import memory as copy_recheck
from backupsvc.operations.job_run.memory import recall
from backupsvc.operations.prune import memory as prune
from backupsvc.operations.recheck import memory as recheck
from backupsvc.operations.restore_test import memory as restore_test
from policies import outcomes
from policies.model import Operation, OperationState
from policies.outcomes import Facts, JobRunOutcome, NightFacts

KIND = "night"
# of the kinds that a night opens, by their names
FACTS: Mapping[str, Callable[[Operation], Facts]] = {
    "backup": backup.facts,
    "prune": prune.facts,
    "restore-test": restore_test.facts,
    "copy": copy.facts,
    "recheck": recheck.facts,
    "copy-recheck": copy_recheck.facts,
}


def job_run_summary(operation: Operation) -> str | None:
    """Given a night, return in one line what has come of it so far; None if nothing has come of it
    yet.
    """
    said = recall(operation).results
    parts = [
        said[name]
        for name in (
            "backups",
            "copies",
            "retention",
            "tests",
            "rechecks",
            "catalog",
            "config",
            "bundle",
            "rehearsal",
        )
        if said.get(name)
    ]
    return "; ".join(parts) or None


def children(catalog: Catalog, operation: Operation) -> list[Operation]:
    """Given an operation, return those that it opened: only a night opens others, and waits for
    them.
    """
    if operation.kind != KIND:
        return []
    return [
        found for id in recall(operation).children.values() if (found := catalog.operations.get(id))
    ]


def failed_children(catalog: Catalog, job_run: Operation) -> list[Operation]:
    """Given a night, return those of its operations that ended and are not done."""
    good = (OperationState.OPEN, OperationState.DONE)
    return [child for child in children(catalog, job_run) if child.state not in good]


def last_job_runs(
    catalog: Catalog, jobs: Iterable[str], known: Mapping[str, JobRunOutcome]
) -> dict[str, JobRunOutcome]:
    """Given jobs' ids, return the last ended night of each that had one, by its operation's id.
    ``known`` is asked first.
    """
    ended = (catalog.operations.last_ended(KIND, f"{job}@") for job in jobs)
    return {
        found.id: known.get(found.id) or job_run_outcome(catalog, found) for found in ended if found
    }


def job_run_outcome(catalog: Catalog, ended: Operation) -> JobRunOutcome:
    """Given an ended night, return what came of it, by the operations that it opened. One whose
    memory another version wrote is not called good: which operations it opened is not known.
    """
    try:
        memory = recall(ended)
    except MemoryUnreadable as error:
        unread = NightFacts((ended.occurrence or "").partition("@")[0], ended.created)
        told = replace(ended, error=ended.error or error.message)
        return outcomes.of_job_run(told, unread, ())
    names = {id: name for name, id in memory.children.items()}
    known = NightFacts(memory.job, memory.at or ended.created, memory.vmids, names)
    pieces: list[tuple[Operation, Facts]] = []
    for piece in children(catalog, ended):
        try:
            pieces.append((piece, FACTS[piece.kind](piece)))
        except MemoryUnreadable:
            # how it ended stands beside its memory, and counts
            pieces.append((piece, Facts()))
    return outcomes.of_job_run(ended, known, pieces)
