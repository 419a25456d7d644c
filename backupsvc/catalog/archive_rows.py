"""One row of the table archive inside a transaction: how it is found, and what is written where its
archive was proven, changed or lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, case, null, select, update

from backupsvc.catalog.tables import ARCHIVE
from backupsvc.errors import PveNotFound
from policies import whole
from policies.model import GuestType, Rung
from policies.pve import guest_config

UNPROVEN: dict[str, Any] = {"rung": Rung.RECORDED.value, "rung_at": None, "proven_at": None}
# decided in the database, so that a listing needs no configs; only those of small archives are
# looked at
_HOLDS_DISK = case(
    (ARCHIVE.c.type != GuestType.QEMU.value, null()),
    (ARCHIVE.c.size > whole.MAX_DISKLESS_BYTES, 1),
    (ARCHIVE.c.config.is_(None), null()),
    (ARCHIVE.c.config.contains(guest_config.DUMPED, autoescape=True), 1),
    else_=0,
).label("holds_disk")
# A storage that was made shared, or is shared no more, leaves rows of both places: what is there
# comes first.
THERE = (ARCHIVE.c.gone_at.is_not(None), ARCHIVE.c.place)
LIGHT = (
    *(column for column in ARCHIVE.c if column.name not in ("config", "excluded")),
    _HOLDS_DISK,
)


def is_archive(node: str, volid: str) -> ColumnElement[bool]:
    """Given a node and a volid, return the condition of its rows: on a shared storage every node
    names the same archive.
    """
    return (ARCHIVE.c.volid == volid) & ARCHIVE.c.place.in_((node, ""))


def find(connection: Connection, node: str, volid: str) -> Row[Any] | None:
    """Given an archive's node and volid, return its row, locked until the transaction ends, or
    None.
    """
    return connection.execute(
        select(*LIGHT).where(is_archive(node, volid)).order_by(*THERE).with_for_update()
    ).first()


def require(connection: Connection, node: str, volid: str) -> Row[Any]:
    """Given the same, return its row, locked. Raise PveNotFound if the archive was never seen."""
    if row := find(connection, node, volid):
        return row
    raise PveNotFound(
        f"archive {volid} on {node} is not in the catalog", "run `backupsvc catalog sync`"
    )


def lift(
    connection: Connection, row: Row[Any], rung: Rung, at: int, *, proven: bool = False
) -> None:
    """Given a row of the table archive, raise its rung if ``rung`` is higher and, if ``proven``,
    its date of proof to ``at``.

    One that was changed since it was recorded is proven no more, whatever came of it; nor is one
    that is damaged, until its bytes are read whole again.
    """
    if row.changed or row.damaged:
        return
    values: dict[str, Any] = {}
    if rung.height > Rung(row.rung).height:
        values |= {"rung": rung.value, "rung_at": at}
    if proven:
        values["proven_at"] = max(at, row.proven_at or 0)
    if values:
        connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(values))


def withdraw(connection: Connection, row: Row[Any], rung: Rung, at: int) -> None:
    """Given a row of the table archive whose newest restore test failed, let it stand no higher
    than ``rung``, and unproven.
    """
    values = {"rung": rung.value, "rung_at": at, "proven_at": None}
    connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(values))


def mark_changed(connection: Connection, row: Row[Any], differs: Sequence[str], at: int) -> None:
    """Let an archive stand changed from now on, and unproven; what was recorded of it stays. The
    first change dates it.
    """
    # each reading finds the same difference again, which is said once
    said = [text for text in differs if text not in (row.changed or "")]
    text = "; ".join(filter(None, [row.changed, *said]))
    values = UNPROVEN | {"rung_at": at, "changed": text, "changed_at": row.changed_at or at}
    connection.execute(update(ARCHIVE).where(ARCHIVE.c.id == row.id).values(values))


def mark_gone(connection: Connection, rows: Sequence[Row[Any]], at: int) -> None:
    """Given rows of archives that are no longer there, keep them, as gone at that time."""
    if rows:
        statement = update(ARCHIVE).where(ARCHIVE.c.id == bindparam("row")).values(gone_at=at)
        connection.execute(statement, [{"row": row.id} for row in rows])
