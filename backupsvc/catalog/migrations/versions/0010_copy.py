"""Copies of archives at the targets of the policy, and what was tried at immutable ones.

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
    """Create the tables, empty."""
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
    op.create_table(
        "canary",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("overwritten", sa.Boolean(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_canary_folder", "canary", ["folder"])


def downgrade() -> None:
    """Remove them again."""
    op.drop_table("canary")
    op.drop_table("copy")
