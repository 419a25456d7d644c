"""What the engine keeps of an operation gets a column of its own; what is left is its kind's
memory, of version 0.

Revision ID: 0009
Revises: 0008
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TASKS = ("dump", "restore", "start", "stop", "destroy", "clear", "removing", "free")
SAME = ("asked_by", "deadline", "seconds", "tries", "backs", "waits", "said", "cancelled")
ERROR = ("step", "message", "hint", "kind", "exit_code")
CHUNK = 500  # rows that are rewritten at a time
NO_BOOT: tuple[float, str] = (0.0, "another boot")  # of what was remembered by the wall clock alone


def upgrade() -> None:
    """Split what each operation remembers in two."""
    op.add_column(
        "operation", sa.Column("book", sa.JSON(), nullable=False, server_default=sa.text("'{}'"))
    )
    table = sa.table(
        "operation",
        sa.column("number", sa.Integer),
        sa.column("data", sa.JSON),
        sa.column("book", sa.JSON),
    )
    connection, last = op.get_bind(), 0
    # in chunks by number: a catalog of years need not fit into memory
    query = sa.select(table.c.number, table.c.data).order_by(table.c.number).limit(CHUNK)
    while rows := connection.execute(query.where(table.c.number > last)).all():
        for row in rows:
            memory, book = split(row.data)
            connection.execute(
                sa.update(table).where(table.c.number == row.number).values(data=memory, book=book)
            )
        last = rows[-1].number


def downgrade() -> None:
    """There is no way back: what an older version would read is no longer kept in its form."""
    raise NotImplementedError(
        "an older version cannot read these operations; restore the catalog's backup"
    )


def split(data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Given what an older version remembered of an operation, return its kind's memory and the
    engine's bookkeeping.
    """
    rest = dict(data)
    book = {key: rest.pop(key) for key in SAME if key in rest}
    tasks: dict[str, Any] = {}
    for name in TASKS:
        upid, intent, asked = (
            rest.pop(f"{name}_{what}", None) for what in ("upid", "intent", "asked")
        )
        ticks, told, stopped = (
            rest.pop(f"{name}_{what}", None) for what in ("intent_ticks", "ended", "stopped")
        )
        task = {"upid": upid, "asked": asked, "told": told, "stopped": stopped}
        task |= {"intended": _moment(intent, ticks)} if intent is not None else {}
        if known := {key: value for key, value in task.items() if value is not None}:
            tasks[name] = known
    book["tasks"] = tasks
    book = {key: value for key, value in book.items() if value is not None}
    # a clock may have been set back meanwhile; the ticks since the boot have not
    ticks = rest.pop("ticks", {})
    book["entered"] = {
        step: _moment(wall, ticks.get(step)) for step, wall in rest.pop("entered", {}).items()
    }
    if (within := rest.pop("within", None)) is not None:
        book["timeout_s"] = within
    if "since" in rest:
        book["failing_since"] = _moment(rest.pop("since"), rest.pop("since_ticks", None))
    for key in ("error", "cleanup_error"):
        if found := rest.pop(key, None):
            book[key] = {name: found[name] for name in ERROR if name in found}
    asked, retry_of = rest.pop("asked", None), rest.pop("retry_of", None)
    if isinstance(asked, dict):
        book["asked"] = {"version": 0} | {
            key: value for key, value in asked.items() if key != "retry_of"
        }
    if retry_of:
        book["retry_of"] = retry_of
    return {"version": 0} | rest, book


def _moment(wall: float, ticks: Any) -> dict[str, Any]:
    passed, boot = ticks or NO_BOOT
    return {"wall": float(wall), "ticks": float(passed), "boot": str(boot)}
