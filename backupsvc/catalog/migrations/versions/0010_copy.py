"""Copies of archives at the targets of the policy.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty."""
    op.create_table(
        "copy",
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("volid", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("vmid", sa.Integer(), nullable=True),
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("listed", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("folder", "place", "volid"),
    )
    op.create_index("ix_copy_vmid", "copy", ["vmid"])


def downgrade() -> None:
    """Remove it again."""
    op.drop_table("copy")
