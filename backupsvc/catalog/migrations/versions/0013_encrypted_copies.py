"""Copies that are encrypted: to whom, in which segments; and when a person's key opened one last.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_COLUMNS = {"recipients": sa.Text(), "segments": sa.Text(), "rung": sa.String()}


def upgrade() -> None:
    """Add the columns, empty, and the table."""
    for name, kind in _COLUMNS.items():
        op.add_column("copy", sa.Column(name, kind, nullable=False, server_default=""))
    op.create_table(
        "rehearsal",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("vmid", sa.Integer(), nullable=True),
        sa.Column("volid", sa.String(), nullable=False),
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_rehearsal_folder", "rehearsal", ["folder"])


def downgrade() -> None:
    """Remove them again."""
    op.drop_table("rehearsal")
    for name in reversed(_COLUMNS):
        op.drop_column("copy", name)
