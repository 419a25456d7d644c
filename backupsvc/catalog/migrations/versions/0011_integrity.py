"""When the bytes of an archive were last read whole, and what was wrong with them.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, empty. When an archive was read before stands nowhere: its rung may have
    come of a restore without a reading, so each counts as unread until it is read.
    """
    op.add_column("archive", sa.Column("damaged_at", sa.BigInteger(), nullable=True))
    op.add_column("archive", sa.Column("damaged", sa.Text(), nullable=True))
    op.add_column("archive", sa.Column("checked_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Remove them again."""
    for column in ("checked_at", "damaged", "damaged_at"):
        op.drop_column("archive", column)
