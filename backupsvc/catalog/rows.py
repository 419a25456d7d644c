"""Rows to values and back: the border between the tables and the frozen values of
policies/model/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from sys import intern  # of a million rows, each would hold words of its own that a hundred share
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row

from policies.bookkeeping import Bookkeeping
from policies.model import (
    Archive,
    CheckResult,
    GuestType,
    Operation,
    OperationState,
    Outcome,
    Proof,
    Rung,
    Stage,
    Suspicion,
    SuspicionKind,
    Transition,
    Verdict,
)

# what people said of an archive stands in a table of its own (lineages.py)
ARCHIVE_COLUMNS = tuple(field.name for field in fields(Archive) if field.name != "decided")
_archive_columns = attrgetter(*ARCHIVE_COLUMNS)
# looked up in dicts: over a million rows, calling the enums would take several times as long
_TYPES, _RUNGS = {one.value: one for one in GuestType}, {one.value: one for one in Rung}
# and one number for all archives of a guest: 32 bytes each
_VMIDS: dict[int | None, int | None] = {}
BOOK = TypeAdapter(Bookkeeping)
EVIDENCE = ("stages", "checks", "stripped", "asserted", "reasons", "cause")
_SIMPLE_PROOF = (
    "operation",
    "vmid",
    "volid",
    "node",
    "archive_ctime",
    "started",
    "ended",
    "rto",
    "scratch_vmid",
    "scratch_node",
)


def archive_of(row: Row[Any]) -> Archive:
    """Given a row of the table archive, return its value."""
    return archive_from(_archive_columns(row))


def archive_from(values: Sequence[Any]) -> Archive:
    """Given the columns of ``ARCHIVE_COLUMNS`` in their order, return the archive."""
    volid, node, storage, vmid, type, ctime, size, format, protected, notes, name, rung, *rest = (
        values
    )
    proven_at, sha256, shared, operation, holds_disk, uuid, born, *judged = rest
    changed, damaged, checked_at, suspicious, macs = judged
    return Archive(
        volid,
        intern(node),
        intern(storage),
        _VMIDS.setdefault(vmid, vmid),
        _TYPES[type] if type else None,
        ctime,
        size,
        intern(format),
        protected,
        notes,
        intern(name),
        _RUNGS[rung],
        proven_at,
        sha256,
        shared,
        operation,
        None if holds_disk is None else bool(holds_disk),
        intern(uuid) if uuid else None,
        born,
        changed or "",
        damaged or "",
        checked_at,
        suspicions_of(suspicious) if suspicious else (),
        intern(macs or ""),
    )


def suspicions_of(text: str) -> tuple[Suspicion, ...]:
    """Given suspicions as their column keeps them, return them."""
    return tuple(
        Suspicion(**{**one, "kind": SuspicionKind(one["kind"])}) for one in json.loads(text)
    )


def suspicions_row(suspicions: Sequence[Suspicion]) -> str | None:
    """Given suspicions, return them as their column keeps them, None where there are none."""
    return json.dumps([asdict(one) for one in suspicions]) if suspicions else None


def operation_of(row: Row[Any]) -> Operation:
    """Given a row of the table operation, return its value."""
    return Operation(
        id=row.id,
        kind=row.kind,
        subject=row.subject,
        state=OperationState(row.state),
        step=row.step,
        memory=row.data,
        created=row.created,
        updated=row.updated,
        finished=row.finished,
        occurrence=row.occurrence,
        lease_owner=row.lease_owner,
        lease_until=row.lease_until,
        attempts=row.attempts,
        error=row.error,
        due=row.due,
        rank=row.rank,
        cancel=row.cancel,
        book=BOOK.validate_python(row.book),
    )


def book_row(book: Bookkeeping) -> Any:
    """Given an operation's bookkeeping, return it as its column keeps it: what is as it was at
    first is left out.
    """
    return BOOK.dump_python(book, mode="json", exclude_defaults=True)


def transition_of(row: Row[Any]) -> Transition:
    """Given a row of the table transition, return its value."""
    return Transition(row.operation, row.seq, row.step, row.event, row.at, row.upid, row.detail)


def proof_of(row: Row[Any]) -> Proof:
    """Given a row of the table proof, return its value."""
    kept = row.evidence
    return Proof(
        **{name: getattr(row, name) for name in _SIMPLE_PROOF},
        verdict=Verdict(row.verdict),
        rung=Rung(row.rung),
        stages=tuple(Stage(**stage) for stage in kept["stages"]),
        checks=tuple(
            CheckResult(**{**check, "outcome": Outcome(check["outcome"])})
            for check in kept["checks"]
        ),
        stripped=tuple(kept["stripped"]),
        asserted=tuple(kept["asserted"]),
        reasons=tuple(kept["reasons"]),
        cause=kept.get("cause"),
    )


def proof_row(proof: Proof) -> dict[str, Any]:
    """Given a proof, return its row: what is asked for in columns, the rest as one JSON value."""
    plainly = asdict(proof)
    row = {name: plainly[name] for name in _SIMPLE_PROOF}
    return row | {
        "verdict": proof.verdict.value,
        "rung": proof.rung.value,
        "evidence": plain({name: plainly[name] for name in EVIDENCE}),
    }


def plain(value: object) -> Any:
    """Given JSON-like data, return it in plain dicts and lists, as the JSON columns need it."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value
