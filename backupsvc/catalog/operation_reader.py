"""What the catalog answers about operations. Reading needs no lease: whoever asks sees what was last
written, and by whom it is driven.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, case, func, or_, select

from backupsvc.catalog.database import Database
from backupsvc.catalog.retry import retried
from backupsvc.catalog.rows import operation_of, transition_of
from backupsvc.catalog.tables import OPERATION, TRANSITION
from policies.model import Operation, OperationState, Transition

OPEN = OperationState.OPEN.value

# Built once: to build a statement takes longer than to have it answered, and these are asked for at
# every turn and every tick.
_ID = select(OPERATION).where(OPERATION.c.id == bindparam("id"))
_OCCURRENCE = select(OPERATION).where(OPERATION.c.occurrence == bindparam("key"))
_EXCLUSIVE = select(OPERATION).where(
    OPERATION.c.exclusive_key == bindparam("key"), OPERATION.c.state == OPEN
)
_HISTORY = (
    select(TRANSITION)
    .where(TRANSITION.c.operation == bindparam("id"), TRANSITION.c.seq > bindparam("after"))
    .order_by(TRANSITION.c.seq)
)
_DUE = (
    select(OPERATION.c.id)
    .where(
        OPERATION.c.state == OPEN,
        OPERATION.c.due <= bindparam("now"),
        or_(OPERATION.c.lease_until.is_(None), OPERATION.c.lease_until <= bindparam("now")),
    )
    .order_by(OPERATION.c.due, OPERATION.c.number)
    .limit(bindparam("limit"))
)
_DRIVEN = select(OPERATION.c.id, OPERATION.c.lease_owner).where(
    OPERATION.c.state == OPEN, OPERATION.c.lease_until > bindparam("now")
)


@cache
def _found(columns: tuple[str, ...], since: bool, limited: bool) -> Select[Any]:
    """The statement of ``find``: the columns that must have a value, and what else was given."""
    query = select(OPERATION).where(*(OPERATION.c[name] == bindparam(name) for name in columns))
    query = query.where(OPERATION.c.created >= bindparam("since")) if since else query
    query = query.order_by(OPERATION.c.number.desc())
    return query.limit(bindparam("limit")) if limited else query


class OperationReader:
    """The questions that ``OperationRepository`` answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @retried
    def get(self, id: str) -> Operation | None:
        """Given an operation's id, return it, or None."""
        return self._one(_ID, id=id)

    @retried
    def by_occurrence(self, key: str) -> Operation | None:
        """Given an occurrence's key, return the operation that was opened for it, or None."""
        return self._one(_OCCURRENCE, key=key)

    @retried
    def by_exclusive_key(self, key: str) -> Operation | None:
        """Given a key that one open operation may have at a time, return the one that has it, or
        None.
        """
        return self._one(_EXCLUSIVE, key=key)

    def _one(self, query: Select[Any], **asked: str) -> Operation | None:
        with self._database.read() as connection:
            row = connection.execute(query, asked).first()
        return operation_of(row) if row else None

    @retried
    def find(
        self,
        *,
        kind: str | None = None,
        subject: int | None = None,
        state: OperationState | None = None,
        since: int = 0,
        limit: int | None = None,
    ) -> list[Operation]:
        """Return the operations of that kind, guest and state (None: any) opened since then (epoch
        seconds), newest first.
        """
        wanted = {"kind": kind, "subject": subject, "state": state and state.value}
        columns = tuple(name for name, value in wanted.items() if value is not None)
        query = _found(columns, bool(since), limit is not None)
        asked = wanted | {"since": since, "limit": limit}
        with self._database.read() as connection:
            return [operation_of(row) for row in connection.execute(query, asked)]

    @retried
    def ids_like(self, part: str, limit: int) -> list[str]:
        """Given the beginning or the end of an id, return the ids that it fits, newest first.
        ``part`` holds no wildcard.
        """
        fits = or_(OPERATION.c.id.like(f"{part}%"), OPERATION.c.id.like(f"%{part}"))
        query = select(OPERATION.c.id).where(fits).order_by(OPERATION.c.number.desc()).limit(limit)
        with self._database.read() as connection:
            return [row.id for row in connection.execute(query)]

    @retried
    def open_child_ids(self, occurrence: str | None) -> list[str]:
        """Given an operation's occurrence, return the ids of the open operations that it opened, in
        the order of opening.

        Their occurrences are its own, a # and a name (``operations.pieces``). An operation without
        one has opened none.
        """
        if occurrence is None:
            return []
        query = (
            select(OPERATION.c.id)
            .where(OPERATION.c.state == OPEN, _begins(f"{occurrence}#"))
            .order_by(OPERATION.c.number)
        )
        with self._database.read() as connection:
            return [row.id for row in connection.execute(query)]

    @retried
    def last_ended(self, kind: str, prefix: str) -> Operation | None:
        """Given a kind and how occurrences begin (up to their time), return the ended one whose
        occurrence was the last.
        """
        # so that an index serves
        states = [state.value for state in OperationState if state is not OperationState.OPEN]
        ended = (OPERATION.c.kind == kind, OPERATION.c.state.in_(states), _begins(prefix))
        # The time in the key counts, not the row's number: an occurrence that was missed is written
        # down late.
        query = select(OPERATION).where(*ended).order_by(OPERATION.c.occurrence.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return operation_of(row) if row else None

    @retried
    def still_open(self, ids: Iterable[str]) -> set[str]:
        """Given operations' ids, return those that are open, by one query."""
        wanted = list(ids)
        query = select(OPERATION.c.id).where(OPERATION.c.state == OPEN)
        with self._database.read() as connection:
            return {row.id for row in connection.execute(query)} & set(wanted) if wanted else set()

    @retried
    def transitions(self, id: str, after: int = 0) -> list[Transition]:
        """Given an operation, return its history after line ``after``, oldest first."""
        with self._database.read() as connection:
            return [
                transition_of(row)
                for row in connection.execute(_HISTORY, {"id": id, "after": after})
            ]

    @retried
    def upids_of_others(self, id: str, upids: Iterable[str]) -> set[str]:
        """Given PVE tasks, return those that the history of another operation names: they are not
        this one's to adopt.
        """
        named = (TRANSITION.c.upid.in_(list(upids)), TRANSITION.c.operation != id)
        with self._database.read() as connection:
            return {row.upid for row in connection.execute(select(TRANSITION.c.upid).where(*named))}

    @retried
    def due(self, now: int, limit: int) -> list[str]:
        """Return the ids of open operations that nobody drives and whose time has come, the longest
        due first.
        """
        with self._database.read() as connection:
            return [row.id for row in connection.execute(_DUE, {"now": now, "limit": limit})]

    @retried
    def drivers(self, now: int) -> dict[str, str]:
        """Return the open operations that are being driven, each with its driver."""
        with self._database.read() as connection:
            return {row.id: row.lease_owner for row in connection.execute(_DRIVEN, {"now": now})}

    @retried
    def backlog(self, now: int) -> tuple[int, int | None]:
        """Return how many operations are open, and since when the first of those that nobody drives
        has been or will be due.
        """
        free = or_(OPERATION.c.lease_owner.is_(None), OPERATION.c.lease_until <= now)
        # 0 is a row from before operations had a time to be due
        due = func.min(case((free, func.nullif(OPERATION.c.due, 0))))
        query = select(func.count(), due).where(OPERATION.c.state == OperationState.OPEN.value)
        with self._database.read() as connection:
            count, oldest = connection.execute(query).one()
        return int(count), oldest


def _begins(prefix: str) -> ColumnElement[bool]:
    """Occurrences that begin so, letter by letter: SQLite's LIKE knows no capitals, and % and _ are
    letters here.
    """
    return func.substr(OPERATION.c.occurrence, 1, len(prefix)) == prefix
