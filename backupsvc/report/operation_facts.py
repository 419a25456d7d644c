"""What the catalog's operations tell of a site: the nights, the backups, and the copies that moved
or were left over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from backupsvc.engine.memory import MemoryUnreadable
from backupsvc.operations.backup.memory import recall as recall_backup
from backupsvc.operations.job_run.memory import recall as recall_night
from backupsvc.operations.replace.memory import ReplaceMemory
from backupsvc.operations.replace.memory import recall as recall_replace
from backupsvc.operations.restore.memory import RestoreMemory
from backupsvc.operations.restore.memory import recall as recall_restore
from backupsvc.operations.restore.result import restore_outcome
from backupsvc.operations.restore_test.memory import recall as recall_test
from backupsvc.pve import leftovers
from backupsvc.report.gaps import Gaps, bound
from policies import freezing
from policies.compliance.facts import (
    BackupOutcome,
    BroughtBack,
    How,
    JobRun,
    MovedCopy,
    Standing,
    TakenBack,
)
from policies.freezing import LeftFrozen, Thaw
from policies.model import Guest, Operation, OperationState, Policy
from policies.orphans import Orphan, orphans

if TYPE_CHECKING:
    from backupsvc.catalog import Catalog
    from backupsvc.pve import Pve

T = TypeVar("T")
MAX_JOB_RUNS = 500  # of an hourly job, three weeks


def job_runs(catalog: Catalog, gaps: Gaps) -> tuple[JobRun, ...]:
    """Return the occurrences of jobs that the catalog knows, the newest opened first."""
    found = catalog.operations.find(kind="night", limit=MAX_JOB_RUNS)
    known = _recalled(found, recall_night, gaps)
    return tuple(
        JobRun(memory.job, memory.at or item.created, item.state is OperationState.MISSED)
        for item, memory in known
    )


def moved_copies(catalog: Catalog, gaps: Gaps) -> tuple[MovedCopy, ...]:
    """Return the copies that were moved in mid-test, of the latest restore tests."""
    tests = catalog.operations.find(kind="restore-test", limit=MAX_JOB_RUNS)
    return tuple(
        MovedCopy(test.subject, test.id, move.from_node, move.to_node, move.at)
        for test, memory in _recalled(tests, recall_test, gaps)
        if test.subject is not None and (move := memory.moved) is not None
    )


def restores(catalog: Catalog, gaps: Gaps) -> tuple[BroughtBack, ...]:
    """Return the restores onto production that have ended, whatever came of them, the latest opened
    first; then the replacements and their undoings.
    """
    ended = catalog.operations.find(kind="restore", limit=MAX_JOB_RUNS)
    found = [
        _brought_back(operation, operation.subject, memory)
        for operation, memory in _recalled(ended, recall_restore, gaps)
        if operation.subject is not None and operation.finished is not None
    ]
    undoings = list(
        _recalled(
            catalog.operations.find(kind="replace-undo", limit=MAX_JOB_RUNS), recall_replace, gaps
        )
    )
    taken_back: dict[str | None, TakenBack] = {}
    for operation, memory in undoings:
        known = taken_back.get(memory.undo_of)
        if (known is None and memory.begun) or operation.state is OperationState.DONE:
            taken_back[memory.undo_of] = TakenBack(
                operation.id, operation.state, operation.finished
            )
    replaced = _recalled(
        catalog.operations.find(kind="replace", limit=MAX_JOB_RUNS), recall_replace, gaps
    )
    for operation, memory in (*replaced, *undoings):
        if operation.subject is None or operation.finished is None:
            continue
        undone = memory.undo_of is not None
        vmid, other = (memory.old, operation.subject) if undone else (operation.subject, memory.old)
        one = _brought_back(operation, vmid, memory)
        found.append(
            replace(
                one,
                by=memory.typed_by or one.by,
                # what an undoing brings back lies where it lay
                node=memory.old_node if undone else one.node,
                original=other,
                seconds=float(operation.finished - operation.created),
                how=How.UNDO if undone else How.REPLACE,
                said=(*one.said, *memory.left),
                taken_back=None if undone else taken_back.get(operation.id),
                undoes=memory.undo_of or "",
                standing=_standing(operation, memory),
            )
        )
    return tuple(found)


def _brought_back(operation: Operation, vmid: int, memory: RestoreMemory) -> BroughtBack:
    archive, given, judged = memory.archive, memory.confirmed, memory.judged
    told = restore_outcome(operation, memory)
    return BroughtBack(
        vmid,
        memory.name,
        operation.id,
        operation.book.asked_by,
        memory.node,
        archive.volid,
        archive.ctime,
        operation.finished or 0,
        operation.state,
        # as it was when it was chosen: what was proven since would embellish the choice
        archive.proven_at is not None,
        told["started"],
        str(judged.health) if judged else "",
        judged.reasons if judged else tuple(filter(None, (operation.error,))),
        told["restored_seconds"],
        memory.original,
        memory.clone,
        *((given.words, given.by, given.at) if given else ()),
    )


def _standing(operation: Operation, memory: ReplaceMemory) -> Standing | None:
    if operation.state is OperationState.DONE:
        return None
    if memory.undo_of is not None or operation.book.cleanup_error is not None:
        return Standing.NOT_KNOWN
    return Standing.OLD if memory.judged is None else Standing.NEW


def orphaned_copies(
    pve: Pve,
    catalog: Catalog,
    policy: Policy,
    guests: Sequence[Guest],
    asked: Collection[str],
    gaps: Gaps,
) -> tuple[Orphan, ...]:
    """Return the copies that the catalog has forgotten: the cluster is asked before the catalog, so
    what ends in between is none.
    """
    there = [guest for guest in guests if guest.node in asked and guest.node not in gaps.silent]
    found = gaps.ask("copies", "", bound(leftovers.copies, pve, policy.scratch, there)) or []
    known = {copy.operation: catalog.operations.get(copy.operation) for copy in found}
    forgotten = orphans(
        found,
        open_operations={
            id
            for id, operation in known.items()
            if operation and operation.state is OperationState.OPEN
        },
        # a lease that is held is a tear-down still to come
        cleaned={copy.vmid for copy in found if catalog.leases.holder(copy.vmid) is not None},
        service=catalog.identity.get() if found else "",
    )
    confirmed = gaps.ask("copies", "", bound(leftovers.confirmed, pve, forgotten))
    # Without PVE's word that our token restored it none is called ours (law 1).
    return tuple(replace(one, ours=False) for one in forgotten) if confirmed is None else confirmed


def backup_outcomes(operations: Iterable[Operation]) -> Mapping[int, list[BackupOutcome]]:
    """Given backups, return how those that have ended did, by guest."""
    found: dict[int, list[BackupOutcome]] = defaultdict(list)
    for operation in operations:
        if operation.subject is not None and operation.state in (
            OperationState.DONE,
            OperationState.FAILED,
        ):
            succeeded = operation.state is OperationState.DONE
            found[operation.subject].append(
                BackupOutcome(
                    operation.created, succeeded, operation.error or "", operation.finished or 0
                )
            )
    return found


def left_frozen(operations: Iterable[Operation], gaps: Gaps) -> Mapping[int, LeftFrozen]:
    """Given backups, return the guests that their dumps left frozen, as far as they remember."""
    looks: dict[int, list[Thaw | None]] = defaultdict(list)
    for operation, memory in _recalled(operations, recall_backup, gaps):
        if operation.subject is not None:
            looks[operation.subject].append(memory.thaw)
    return {vmid: left for vmid, found in looks.items() if (left := freezing.latest(found))}


def _recalled(
    operations: Iterable[Operation], recall: Callable[[Operation], T], gaps: Gaps
) -> Iterator[tuple[Operation, T]]:
    """Each operation with what it remembers. One that another version wrote, or that was damaged,
    is a gap: it must not hide what the others know.
    """
    for operation in operations:
        try:
            yield operation, recall(operation)
        except MemoryUnreadable as error:
            gaps.note("operation", operation.id, error.message)
