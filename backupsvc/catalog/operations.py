"""What the catalog knows of operations: where each stands, who drives it, its history, and which scratch VMIDs it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, case, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from backupsvc.catalog import ulid
from backupsvc.catalog.database import Database
from backupsvc.catalog.rows import operation_of, plain, transition_of
from backupsvc.catalog.tables import OPERATION, TRANSITION, VMID_LEASE
from backupsvc.errors import OperationFailed
from policies.model import Operation, OperationState, Transition


class OperationStore:
    """The catalog's operations, their transitions (append-only) and their leases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_operation(
        self, kind: str, subject: int | None, step: str, data: Mapping[str, object], at: int, occurrence: str | None = None
    ) -> Operation | None:
        """Given what it is and its first step, record a new open operation; return None if that occurrence exists (law 9)."""
        row = {"id": ulid.new(at), "kind": kind, "subject": subject, "state": OperationState.OPEN.value, "step": step}
        row |= {"data": plain(data), "created": at, "updated": at, "occurrence": occurrence, "attempts": 0}
        try:
            with self._database.write() as connection:
                connection.execute(insert(OPERATION).values(row))
        except IntegrityError:
            return None
        return self.operation(str(row["id"]))

    def operation(self, id: str) -> Operation | None:
        """Given an operation's id, return it, or None."""
        with self._database.read() as connection:
            row = connection.execute(select(OPERATION).where(OPERATION.c.id == id)).first()
        return operation_of(row) if row else None

    def occurrence(self, key: str) -> Operation | None:
        """Given an occurrence's key, return the operation that was opened for it, or None."""
        with self._database.read() as connection:
            row = connection.execute(select(OPERATION).where(OPERATION.c.occurrence == key)).first()
        return operation_of(row) if row else None

    def operations(
        self,
        *,
        kind: str | None = None,
        subject: int | None = None,
        state: OperationState | None = None,
        limit: int | None = None,
    ) -> list[Operation]:
        """Return the operations of that kind, guest and state (None: any), newest first."""
        wanted = {"kind": kind, "subject": subject, "state": state and state.value}
        query = select(OPERATION).where(*(OPERATION.c[name] == value for name, value in wanted.items() if value is not None))
        with self._database.read() as connection:
            return [operation_of(row) for row in connection.execute(query.order_by(OPERATION.c.number.desc()).limit(limit))]

    def claim(self, id: str, owner: str, now: int, ttl: int) -> bool:
        """Given an open operation that nobody drives, make ``owner`` its driver for ``ttl`` seconds; say whether that succeeded.

        Compare-and-set: of any number that try at once exactly one wins. Its own driver may claim again, which renews. An expired
        lease is anybody's. ``attempts`` counts the times that the driver changed.
        """
        lease = OPERATION.c
        free = or_(lease.lease_owner.is_(None), lease.lease_until <= now, lease.lease_owner == owner)
        same = and_(lease.lease_owner.is_not(None), lease.lease_owner == owner)
        statement = (
            update(OPERATION)
            .where(lease.id == id, lease.state == OperationState.OPEN.value, free)
            .values(lease_owner=owner, lease_until=now + ttl, attempts=case((same, lease.attempts), else_=lease.attempts + 1))
        )
        return self._changed(statement)

    def renew(self, id: str, owner: str, now: int, ttl: int) -> bool:
        """Given an operation that ``owner`` drives, prolong that to ``now`` + ``ttl``; False if it ended or was taken over."""
        mine = (OPERATION.c.id == id, OPERATION.c.lease_owner == owner, OPERATION.c.state == OperationState.OPEN.value)
        return self._changed(update(OPERATION).where(*mine).values(lease_until=now + ttl))

    def release(self, id: str, owner: str) -> bool:
        """Given an operation that ``owner`` drives, let anybody drive it; False if it was not its driver."""
        mine = (OPERATION.c.id == id, OPERATION.c.lease_owner == owner)
        return self._changed(update(OPERATION).where(*mine).values(lease_owner=None, lease_until=None))

    def advance(self, id: str, *, step: str, data: Mapping[str, object], at: int) -> None:
        """Given an open operation, record its next step and all its data. Raise OperationFailed if it has ended or never was."""
        self._change_open(id, {"step": step, "data": plain(data), "updated": at})

    def finish(self, id: str, state: OperationState, at: int, error: str | None = None) -> None:
        """Given an open operation, end it in ``state``, for ever, and free its lease. Raise OperationFailed if it is not open."""
        if state is OperationState.OPEN:
            raise ValueError("an operation cannot end in the state open")
        ended = {"state": state.value, "updated": at, "finished": at, "error": error}
        self._change_open(id, ended | {"lease_owner": None, "lease_until": None})

    def note(
        self, id: str, step: str, event: str, at: int, upid: str | None = None, detail: Mapping[str, object] | None = None
    ) -> Transition:
        """Given an operation, add one line to its history and return it. Raise OperationFailed if there is no such operation."""
        with self._database.write() as connection:
            # On PostgreSQL the lock on the operation's row makes two writers number their lines one after the other.
            if not connection.execute(select(OPERATION.c.id).where(OPERATION.c.id == id).with_for_update()).first():
                raise _unknown(id)
            last = connection.execute(select(func.max(TRANSITION.c.seq)).where(TRANSITION.c.operation == id)).scalar()
            written = Transition(id, (last or 0) + 1, step, event, at, upid, plain(detail or {}))
            row = {"operation": id, "seq": written.seq, "step": step, "event": event, "at": at, "upid": upid}
            connection.execute(insert(TRANSITION).values(row | {"detail": written.detail}))
        return written

    def transitions(self, id: str) -> list[Transition]:
        """Given an operation, return its history, oldest first."""
        query = select(TRANSITION).where(TRANSITION.c.operation == id).order_by(TRANSITION.c.seq)
        with self._database.read() as connection:
            return [transition_of(row) for row in connection.execute(query)]

    def _change_open(self, id: str, values: Mapping[str, Any]) -> None:
        is_open = (OPERATION.c.id == id, OPERATION.c.state == OperationState.OPEN.value)
        if self._changed(update(OPERATION).where(*is_open).values(values)):
            return
        if found := self.operation(id):
            raise OperationFailed(
                f"operation {id} has already ended ({found.state})", f"see `backupsvc operations show {id}`", operation=id
            )
        raise _unknown(id)

    def _changed(self, statement: Any) -> bool:
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount == 1)


class LeaseStore:
    """Which operation holds which scratch VMID (law 1)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lease_vmid(self, vmid: int, operation: str, at: int) -> bool:
        """Given a scratch VMID, give it to an operation; True also if that operation has it already, False if another has."""
        try:
            with self._database.write() as connection:
                connection.execute(insert(VMID_LEASE).values(vmid=vmid, operation=operation, at=at))
        except IntegrityError:
            return self.lease_holder(vmid) == operation
        return True

    def lease_holder(self, vmid: int) -> str | None:
        """Given a VMID, return the id of the operation that holds it, or None."""
        return self.leased_vmids().get(vmid)

    def leased_vmids(self) -> dict[int, str]:
        """Return every VMID that is held, with its holder."""
        with self._database.read() as connection:
            rows = connection.execute(select(VMID_LEASE.c.vmid, VMID_LEASE.c.operation).order_by(VMID_LEASE.c.vmid))
            return {row.vmid: row.operation for row in rows}

    def release_vmid(self, vmid: int, operation: str) -> bool:
        """Given a VMID that an operation holds, free it; False (and nothing is done) if that operation does not hold it."""
        mine = (VMID_LEASE.c.vmid == vmid, VMID_LEASE.c.operation == operation)
        with self._database.write() as connection:
            return connection.execute(delete(VMID_LEASE).where(*mine)).rowcount == 1


def _unknown(id: str) -> OperationFailed:
    return OperationFailed(
        f"there is no operation {id} in the catalog", "list them with `backupsvc operations list`", operation=id
    )
