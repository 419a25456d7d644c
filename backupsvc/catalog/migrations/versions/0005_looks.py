"""Since when the catalog looks at each storage, what was not there before, and who accepted what it
did not know.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. What an earlier version knew counts as known: else its site could prune
    nothing until it is accepted.
    """
    op.add_column("archive", sa.Column("not_before", sa.BigInteger(), nullable=True))
    op.create_table(
        "storage_look",
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("storage", sa.String(), nullable=False),
        sa.Column("first_look", sa.BigInteger(), nullable=False),
        sa.Column("last_look", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("place", "storage"),
    )
    acceptance = op.create_table(
        "acceptance",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("vmid", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("archives", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_acceptance_vmid", "acceptance", ["vmid"])
    # the first archive that was seen on a storage tells since when at least somebody looks there
    op.execute(
        "INSERT INTO storage_look (place, storage, first_look) SELECT place, storage, "
        "min(first_seen) FROM archive GROUP BY place, storage"
    )
    archive = sa.table("archive", sa.column("vmid"), sa.column("first_seen"))
    why = "known before revision 0005 of the catalog"
    # as if somebody had accepted each guest when its newest archive was first seen
    known = sa.select(
        archive.c.vmid,
        sa.func.max(archive.c.first_seen),
        sa.literal("backupsvc"),
        sa.literal(why),
        sa.literal([], sa.JSON()),
    )
    known = known.where(archive.c.vmid.is_not(None)).group_by(archive.c.vmid)
    op.execute(sa.insert(acceptance).from_select(["vmid", "at", "who", "why", "archives"], known))


def downgrade() -> None:
    """Remove them again."""
    op.drop_index("ix_acceptance_vmid", "acceptance")
    op.drop_table("acceptance")
    op.drop_table("storage_look")
    op.drop_column("archive", "not_before")
