"""What the bytes of archives look like, what was unusual of them, and who acknowledged it.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and the column of archives, empty: of what was read before, nothing is said
    until it is read again.
    """
    op.add_column("archive", sa.Column("suspicious", sa.Text(), nullable=True))
    op.create_table(
        "archive_signs",
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("volid", sa.String(), nullable=False),
        sa.Column("disk", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("archive_size", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("entropy", sa.Float(), nullable=True),
        sa.Column("places", sa.LargeBinary(), nullable=True),
        sa.Column("prints", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("place", "volid", "disk"),
    )
    op.create_table(
        "acknowledgement",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("volid", sa.String(), nullable=False),
        sa.Column("vmid", sa.Integer(), nullable=True),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_acknowledgement_vmid", "acknowledgement", ["vmid"])


def downgrade() -> None:
    """Remove them again."""
    op.drop_index("ix_acknowledgement_vmid", table_name="acknowledgement")
    op.drop_table("acknowledgement")
    op.drop_table("archive_signs")
    op.drop_column("archive", "suspicious")
