"""That the removal of a copy was begun: from then on it is none, and what is left of it is ours to
remove.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty."""
    op.add_column("copy", sa.Column("removing_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Remove it again."""
    op.drop_column("copy", "removing_at")
