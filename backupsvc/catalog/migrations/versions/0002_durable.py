"""When operations are due, what only one of them may be about, the lanes they wait in, and requests
to cancel.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_OPEN = sa.text("state = 'open'")


def upgrade() -> None:
    """Add the columns, their indexes and the lanes. What is open is due at once."""
    op.add_column(
        # 0 is long past: what is open is due at the next tick
        "operation",
        sa.Column("due", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.add_column("operation", sa.Column("alone", sa.String(), nullable=True))
    op.add_column("operation", sa.Column("lane", sa.String(), nullable=True))
    op.add_column("operation", sa.Column("rank", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("operation", sa.Column("cancel", sa.Text(), nullable=True))
    op.create_index("ix_operation_state_due", "operation", ["state", "due"], unique=False)
    op.create_index("ix_operation_lane", "operation", ["lane"], unique=False)
    op.create_index(
        "uq_operation_alone",
        "operation",
        ["alone"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_index("ix_transition_upid", "transition", ["upid"], unique=False)
    op.create_table(
        "lane",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["operation"], ["operation.id"], name="fk_lane_operation"),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Remove them again."""
    op.drop_table("lane")
    op.drop_index("ix_transition_upid", "transition")
    for index in ("uq_operation_alone", "ix_operation_lane", "ix_operation_state_due"):
        op.drop_index(index, "operation")
    for column in ("cancel", "rank", "lane", "alone", "due"):
        op.drop_column("operation", column)
