"""Which operation needs which archive to stay, and which one removes it.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "archive_pin",
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("volid", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("removes", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["operation"], ["operation.id"], name="fk_archive_pin_operation"),
        sa.PrimaryKeyConstraint("place", "volid", "operation"),
    )
    op.create_index("ix_archive_pin_operation", "archive_pin", ["operation"])


def downgrade() -> None:
    """Remove it again."""
    op.drop_index("ix_archive_pin_operation", "archive_pin")
    op.drop_table("archive_pin")
