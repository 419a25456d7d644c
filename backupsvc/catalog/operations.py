"""What the catalog knows of operations: where each stands, who drives it, when it is due, and its
history.

Whoever drives an operation holds a lease on its row. Every write names the driver and succeeds only
while the lease is its own (compare-and-set), so that a driver that slept through its lease and
wakes up can no longer change anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog import ulid
from backupsvc.catalog.fences import Fence, hold
from backupsvc.catalog.operation_reader import OPEN as OPEN
from backupsvc.catalog.operation_reader import OperationReader
from backupsvc.catalog.retry import repeatable, retried
from backupsvc.catalog.rows import book_row, operation_of, plain
from backupsvc.catalog.tables import ARCHIVE_PIN, OPERATION, TRANSITION
from backupsvc.catalog.untold import HEAD_START, note_untold
from backupsvc.errors import LeaseLost, OperationFailed
from policies.bookkeeping import Bookkeeping
from policies.error_kinds import ErrorKind
from policies.model import Operation, OperationState


@dataclass(frozen=True, slots=True)
class Driver:
    """Who drives an operation, for how long its lease is prolonged by each write (seconds), and the
    time (epoch seconds).
    """

    owner: str
    ttl: int
    now: int


@dataclass(frozen=True, slots=True)
class Note:
    """A line for an operation's history, before it has its number."""

    step: str
    event: str
    upid: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """All that an operation remembers: its kind's memory as it is written down, and the engine's
    bookkeeping.
    """

    memory: Mapping[str, object]
    book: Bookkeeping

    def row(self) -> dict[str, Any]:
        """Return it as its columns keep it."""
        return {"data": plain(self.memory), "book": book_row(self.book)}


@dataclass(frozen=True, slots=True)
class NewOperation:
    """An operation to open. ``exclusive_key`` is one that only one open operation may have;
    ``rank`` its place among those who wait for a lock.

    ``lock`` is the one that it waits for from the first moment, before anybody has looked at it.
    """

    kind: str
    subject: int | None
    step: str
    memory: Mapping[str, object]
    book: Bookkeeping = field(default_factory=Bookkeeping)
    occurrence: str | None = None
    exclusive_key: str | None = None
    rank: int = 0
    lock: str | None = None


_column = OPERATION.c

# Built once: to build a statement takes longer than to have it carried out, and these are part of
# every turn, or of every tick. Parameters have names that no column has.
_CLAIM = (
    update(OPERATION)
    .where(
        _column.id == bindparam("its_id"),
        _column.state == OPEN,
        or_(
            _column.lease_owner.is_(None),
            _column.lease_until <= bindparam("now"),
            _column.lease_owner == bindparam("its_driver"),
        ),
    )
    .values(
        lease_owner=bindparam("its_driver"),
        lease_until=bindparam("until"),
        attempts=case(
            (
                # Its own driver counts, too, if it comes back after the lease ran out: it slept, or
                # was stopped. One that gave the lease back was not lost.
                and_(
                    _column.lease_owner.is_not(None),
                    or_(
                        _column.lease_owner != bindparam("its_driver"),
                        _column.lease_until <= bindparam("now"),
                    ),
                ),
                _column.attempts + 1,
            ),
            else_=_column.attempts,
        ),
    )
    .returning(*OPERATION.c)
)
_MINE = update(OPERATION).where(
    _column.id == bindparam("its_id"),
    _column.lease_owner == bindparam("its_driver"),
    _column.state == OPEN,
)
_LAST_LINE = select(func.max(TRANSITION.c.seq)).where(TRANSITION.c.operation == bindparam("its_id"))
_LINE = insert(TRANSITION)
_POSTPONE = update(OPERATION).where(
    _column.id.in_(bindparam("ids", expanding=True)),
    _column.state == OPEN,
    _column.lease_owner.is_(None),
)
_CAP_DUE = (
    update(OPERATION)
    .where(_column.state == OPEN, _column.due > bindparam("most"))
    .values(due=bindparam("now"))
)
_CAP_LEASE = (
    update(OPERATION)
    .where(_column.state == OPEN, _column.lease_until > bindparam("most"))
    .values(lease_until=0)
)


class EndAsked(OperationFailed):
    """Somebody asked that an operation end, so that it opens no more others. The message is why it
    shall end.
    """

    kind = ErrorKind.END_ASKED


class OperationRepository(OperationReader):
    """The catalog's operations, with their transitions (append-only)."""

    # --- opening ----------------------------------------------------------------------------------

    def open(self, new: NewOperation, at: int, driver: Driver | None = None) -> Operation | None:
        """Given an operation that no other opens, record it, driven by ``driver`` from its first
        moment if there is one; due now.

        Return None if its occurrence was opened before, or while an open operation has its
        ``exclusive_key`` (law 9).
        """
        return self._insert(self._open_row(new, at, driver))

    def open_child(
        self, new: NewOperation, at: int, parent: Fence, driver: Driver | None = None
    ) -> Operation | None:
        """Given an operation that another opens, record it as ``open`` does.

        ``parent`` is the one that opens it, with its driver: in the same transaction it must be
        open, driven by that driver, and nobody may have asked that it end. Raise LeaseLost or
        EndAsked, and open nothing, where that is not so.
        """
        return self._insert(self._open_row(new, at, driver), parent=parent)

    def record_missed(self, new: NewOperation, at: int, why: str) -> Operation | None:
        """Given an occurrence whose time has passed, record that it was missed; None if it is
        recorded already, or was opened.
        """
        state = OperationState.MISSED.value
        return self._insert(
            self._row(new, at) | {"state": state, "due": at, "finished": at, "error": why},
            untold=at,
        )

    def _open_row(self, new: NewOperation, at: int, driver: Driver | None) -> dict[str, Any]:
        return (
            self._row(new, at)
            | {"state": OPEN, "due": at}
            | (self._lease(driver) if driver else {})
        )

    def _row(self, new: NewOperation, at: int) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": ulid.new(at),
            "kind": new.kind,
            "subject": new.subject,
            "step": new.step,
            "attempts": 0,
        }
        row |= Kept(new.memory, new.book).row() | {
            "created": at,
            "updated": at,
            "occurrence": new.occurrence,
        }
        return row | {"exclusive_key": new.exclusive_key, "rank": new.rank, "lock": new.lock}

    @repeatable
    def _insert(
        self, row: dict[str, Any], untold: int | None = None, parent: Fence | None = None
    ) -> Operation | None:
        # A unique key that is taken is an answer, not a failure: that occurrence was opened, or
        # another open operation has the exclusive key (law 9).
        with suppress(IntegrityError), self._database.write() as connection:
            if parent:
                _goes_on(connection, parent)
            connection.execute(insert(OPERATION).values(row))
            if untold is not None:
                note_untold(connection, row["id"], untold)
        # there also if an earlier try of this call wrote it, and only its answer was lost
        return self.get(str(row["id"]))

    # --- driving ----------------------------------------------------------------------------------

    @repeatable
    def claim(self, id: str, driver: Driver) -> Operation | None:
        """Given an open operation that nobody drives, make the driver its own and return it as it
        is now; None if that failed.

        Compare-and-set: of any number that try at once exactly one wins. Its own driver may claim
        again, which renews. A lease that has run out is anybody's; taking one over means that its
        driver was lost, and ``attempts`` counts those.
        """
        asked = {
            "its_id": id,
            "its_driver": driver.owner,
            "now": driver.now,
            "until": driver.now + driver.ttl,
        }
        with self._database.write() as connection:
            row = connection.execute(_CLAIM, asked).first()
        return operation_of(row) if row else None

    @repeatable
    def renew_all(self, driver: Driver) -> dict[str, str | None]:
        """Prolong every lease of the driver; return its operations, each with why it shall end, or
        None.
        """
        mine = (OPERATION.c.lease_owner == driver.owner, OPERATION.c.state == OPEN)
        statement = (
            update(OPERATION)
            .where(*mine)
            .values(self._lease(driver))
            .returning(OPERATION.c.id, OPERATION.c.cancel)
        )
        with self._database.write() as connection:
            return {row.id: row.cancel for row in connection.execute(statement)}

    @retried
    def record(
        self,
        id: str,
        driver: Driver,
        *,
        step: str | None = None,
        kept: Kept | None = None,
        note: Note | None = None,
        park: int | None = None,
    ) -> None:
        """Given an operation that the driver holds, write down in one transaction what is given,
        and renew the lease.

        ``step`` is its next step (which forgets the lost drivers of the one before), ``kept`` all
        that it remembers, ``note`` a line of its history. With ``park`` the lease is given back,
        and the operation is due at that time (epoch seconds). Raise LeaseLost, and write nothing,
        if somebody else drives it by now, or it has ended.
        """
        values: dict[str, Any] = {"updated": driver.now} | self._lease(driver)
        values |= kept.row() if kept is not None else {}
        values |= {"step": step, "attempts": 0} if step is not None else {}
        values |= (
            {"due": park, "lease_owner": None, "lease_until": None} if park is not None else {}
        )
        with self._database.write() as connection:
            self._change(connection, id, driver, values)
            if note:
                self._append(connection, id, note, driver.now)

    @retried
    def finish(
        self,
        id: str,
        driver: Driver,
        state: OperationState,
        *,
        kept: Kept,
        error: str | None,
        note: Note | None,
    ) -> Operation:
        """Given an open operation that the driver holds, end it in ``state``, for ever. Raise
        LeaseLost as ``record`` does.

        That this is still to be told is noted with it (``catalog.untold``).
        """
        if state is OperationState.OPEN:
            raise ValueError("an operation cannot end in the state open")
        values = {
            "state": state.value,
            "updated": driver.now,
            "finished": driver.now,
            "error": error,
        } | kept.row()
        with self._database.write() as connection:
            self._change(
                connection, id, driver, values | {"lease_owner": None, "lease_until": None}
            )
            if note:
                self._append(connection, id, note, driver.now)
            # in the same transaction, so that no pin outlives its operation, and nothing has to be
            # swept up
            connection.execute(delete(ARCHIVE_PIN).where(ARCHIVE_PIN.c.operation == id))
            note_untold(connection, id, driver.now + HEAD_START)
            row = connection.execute(select(OPERATION).where(OPERATION.c.id == id)).one()
        return operation_of(row)

    def _lease(self, driver: Driver) -> dict[str, Any]:
        return {"lease_owner": driver.owner, "lease_until": driver.now + driver.ttl}

    def _change(
        self, connection: Connection, id: str, driver: Driver, values: Mapping[str, Any]
    ) -> None:
        mine = {"its_id": id, "its_driver": driver.owner}
        if connection.execute(_MINE, {**values, **mine}).rowcount == 1:
            return
        # only for the sentence: that nothing was written is certain by now
        row = connection.execute(select(OPERATION.c.state).where(OPERATION.c.id == id)).first()
        if row is None:
            raise OperationFailed(
                f"there is no operation {id} in the catalog",
                "list them with `backupsvc operations list`",
                operation=id,
            )
        how = "is driven by another process" if row.state == OPEN else f"has ended ({row.state})"
        raise LeaseLost(
            f"operation {id} {how}", f"see `backupsvc operations show {id}`", operation=id
        )

    def _append(self, connection: Connection, id: str, note: Note, at: int) -> None:
        # The update of the operation's row came first, so that two writers number their lines one
        # after the other.
        last = connection.execute(_LAST_LINE, {"its_id": id}).scalar()
        row = {
            "operation": id,
            "seq": (last or 0) + 1,
            "step": note.step,
            "event": note.event,
            "at": at,
            "upid": note.upid,
        }
        connection.execute(_LINE, row | {"detail": plain(note.detail)})

    # --- what is due ------------------------------------------------------------------------------

    @repeatable
    def postpone(self, ids: Sequence[str], due: int) -> None:
        """Given operations that nobody drives, make them due at another time: their drivers have
        been told.
        """
        if not ids:
            return
        with self._database.write() as connection:
            connection.execute(_POSTPONE, {"ids": list(ids), "due": due})

    @repeatable
    def cap_future_times(self, now: int, most: int) -> None:
        """Make due now what is due more than ``most`` seconds ahead, and let leases that last so
        long run out.

        Nothing waits so long: those times were written down before the clock was set back.
        """
        with self._database.write() as connection:
            connection.execute(_CAP_DUE, {"most": now + most, "now": now})
            connection.execute(_CAP_LEASE, {"most": now + most})

    @repeatable
    def expire(self, id: str, owner: str, due: int) -> None:
        """Given an operation whose driver is known to be gone, let its lease run out now; it is due
        at ``due``.
        """
        with self._database.write() as connection:
            held = (
                OPERATION.c.id == id,
                OPERATION.c.lease_owner == owner,
                OPERATION.c.state == OPEN,
            )
            connection.execute(update(OPERATION).where(*held).values(lease_until=0, due=due))

    @repeatable
    def request_cancel(self, id: str, why: str, at: int) -> Operation | None:
        """Given an open operation, ask whoever drives it to end it, and make it due; None if it is
        not open.
        """
        with self._database.write() as connection:
            is_open = (OPERATION.c.id == id, OPERATION.c.state == OPEN)
            statement = (
                update(OPERATION)
                .where(*is_open)
                .values(cancel=func.coalesce(OPERATION.c.cancel, why), due=at)
            )
            row = connection.execute(statement.returning(*OPERATION.c)).first()
        return operation_of(row) if row else None


def _goes_on(connection: Connection, parent: Fence) -> None:
    """Make sure that an operation is its driver's and goes on, until the end of the transaction:
    who asks that it end waits.
    """
    hold(connection, parent)
    cancel = connection.execute(
        select(OPERATION.c.cancel).where(OPERATION.c.id == parent[0])
    ).scalar()
    if cancel is not None:
        raise EndAsked(str(cancel), operation=parent[0])
