"""Outcomes that nobody has heard of yet. What ended before this release is not told any more.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty."""
    op.create_table(
        "untold",
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("operation"),
    )
    op.create_index("ix_untold_due", "untold", ["due"])


def downgrade() -> None:
    """Remove it again."""
    op.drop_table("untold")
