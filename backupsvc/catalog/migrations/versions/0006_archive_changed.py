"""When each archive's machine was created, and which archives were changed since they were
recorded.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

from policies import lineage

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and read from the configs that are known whose archives they are."""
    op.add_column("archive", sa.Column("born", sa.BigInteger(), nullable=True))
    op.add_column("archive", sa.Column("changed_at", sa.BigInteger(), nullable=True))
    op.add_column("archive", sa.Column("changed", sa.Text(), nullable=True))
    archive = sa.table(
        "archive", sa.column("id"), sa.column("config"), sa.column("uuid"), sa.column("born")
    )
    connection = op.get_bind()
    known = sa.select(archive.c.id, archive.c.config, archive.c.uuid).where(
        archive.c.config.is_not(None)
    )
    for id, config, uuid in connection.execute(known).all():
        found = lineage.read(config)
        # what an older version wrote need not be in lower case, and is compared letter by letter
        values = {"born": found.born, "uuid": found.uuid or (uuid.lower() if uuid else None)}
        connection.execute(sa.update(archive).where(archive.c.id == id).values(values))


def downgrade() -> None:
    """Remove them again."""
    for column in ("changed", "changed_at", "born"):
        op.drop_column("archive", column)
