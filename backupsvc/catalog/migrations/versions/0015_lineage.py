"""Each archive's MAC addresses, what people said of lineages, and the tombstones of guests that are
gone.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

from policies import lineage

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and the column, and read the MAC addresses from the configs that are known."""
    op.add_column("archive", sa.Column("macs", sa.String(), nullable=True))
    op.create_table(
        "lineage_decision",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("vmid", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("pieces", sa.JSON(), nullable=False),
    )
    op.create_index("ix_lineage_decision_vmid", "lineage_decision", ["vmid"])
    op.create_table(
        "tombstone",
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("vmid", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(), nullable=True),
        sa.Column("uuid", sa.String(), nullable=True),
        sa.Column("born", sa.BigInteger(), nullable=True),
        sa.Column("macs", sa.String(), nullable=False),
        sa.Column("cut", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("seen_last", sa.BigInteger(), nullable=True),
        sa.Column("missing_since", sa.BigInteger(), nullable=False),
        sa.Column("newest", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended", sa.Text(), nullable=False),
    )
    op.create_index("ix_tombstone_vmid", "tombstone", ["vmid"])
    op.create_table(
        "guest_seen",
        sa.Column("vmid", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    _read_macs(op.get_bind())


def _read_macs(connection: sa.Connection) -> None:
    archive = sa.table("archive", sa.column("id"), sa.column("config"), sa.column("macs"))
    found = connection.execute(sa.select(archive.c.id).where(archive.c.config.is_not(None)))
    # one config at a time: of a million, all at once would be gigabytes
    for (id,) in found.all():
        text = connection.execute(sa.select(archive.c.config).where(archive.c.id == id)).scalar()
        macs = " ".join(lineage.read(str(text)).macs)
        if macs:
            connection.execute(sa.update(archive).where(archive.c.id == id).values(macs=macs))


def downgrade() -> None:
    """Remove them again."""
    for table in ("guest_seen", "tombstone", "lineage_decision"):
        op.drop_table(table)
    op.drop_column("archive", "macs")
